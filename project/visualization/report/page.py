"""The page of a report: words, figures, charts, pictures put together."""

from __future__ import annotations

import base64
import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from project.visualization.charts import Chart, css_color
from project.visualization.page import Picture, Tile, render_page
from project.visualization.page.parts import HERE
from project.visualization.palette import class_color
from project.visualization.report import tables
from project.visualization.report.error_charts import ERROR_NAMES
from project.visualization.report.gallery import Item
from project.visualization.report.judged import MASKS, PIXELS, Judged
from project.visualization.report.shared import commonest, run_names
from project.visualization.report.words import Paired, headline, not_shown, sentences

import numpy as np
from markupsafe import Markup

SECTIONS = {
    "short": "In short",
    "metrics": "Metrics",
    "classes": "Classes",
    "images": "Images",
    "gallery": "Errors one by one",
    "errors": "Types of errors",
    "scores": "Scores",
    "slices": "Hard objects",
    "curves": "Training",
    "sampling": "Sampling",
    "about": "Config and machine",
}
MAX_LEGEND = 30
_POLICY = "style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Shown:
    """What a page shows beside figures.

    Attributes:
        charts: section → charts.
        sheets: title → whole images.
        items: of the gallery; none for two runs.
        unreadable: names of images that couldn't be read.
        threshold_note: what became of the thresholds' file.
        files: names of the files with numbers.
    """

    charts: Mapping[str, Sequence[Chart]]
    sheets: Mapping[str, Sequence[Picture]]
    items: Sequence[Item] = ()
    unreadable: Sequence[str] = ()
    threshold_note: str = ""
    files: Sequence[str] = ()


def report_page(
    runs: Sequence[Judged],
    paired: Paired | None,
    shown: Shown,
    *,
    title: str,
    date: datetime.date | None = None,
) -> str:
    """The HTML text of the page."""
    files = [run.files for run in runs]
    there = {key: bool(shown.charts[key]) for key in ("curves", "sampling")}
    there |= {"images": any(shown.sheets.values()), "gallery": bool(shown.items)}
    sections = {key: name for key, name in SECTIONS.items() if there.get(key, True)}
    names = run_names(runs)
    captions = [f"{name}: " if len(runs) > 1 else "" for name in names]
    script = (HERE / "report.js").read_text("utf-8")
    page = render_page(
        "report.html.j2",
        kind="What a run can do" if paired is None else "How two runs differ",
        title=title,
        sections=sections,
        headline=headline(runs, paired),
        date=(date or datetime.date.today()).isoformat(),
        tiles=_tiles(runs, paired),
        sentences=sentences(runs, paired),
        unreadable=list(shown.unreadable),
        not_shown=not_shown(runs),
        metric_table=tables.headline_table(runs[0])
        if paired is None
        else tables.paired_table(runs, paired),
        class_tables=[
            *([] if paired is None else [tables.paired_class_table(runs, paired)]),
            *(
                tables.class_table(run, _title(at, "every class, percent with 95 % intervals"))
                for run, at in zip(runs, captions, strict=True)
            ),
        ],
        error_tables=[
            tables.error_table(run, _title(at, "errors of each class"))
            for run, at in zip(runs, captions, strict=True)
        ],
        slice_tables=[
            tables.slice_table(run, _title(at, "every slice in numbers"))
            for run, at in zip(runs, captions, strict=True)
        ],
        charts=shown.charts,
        sheets={name: pictures for name, pictures in shown.sheets.items() if pictures},
        legend=_legend(runs[0]),
        items=shown.items,
        item_kinds=_present([item.kind for item in shown.items], ERROR_NAMES),
        item_classes=_present([item.class_name for item in shown.items], None),
        error_names=ERROR_NAMES,
        num_errors=_num_errors(runs[0]),
        threshold_note=shown.threshold_note,
        timing_table=tables.timing_table(files),
        environment_table=tables.environment_table(files),
        config_table=tables.config_table(files),
        files=files,
        csv_files=shown.files,
        report_style=Markup((HERE / "report.css").read_text("utf-8")),
        script=Markup(script),
    )
    return _allow(page, script)


def _title(run: str, text: str) -> str:
    return f"{run}{text}" if run else text[0].upper() + text[1:]


def _legend(run: Judged) -> list[tuple[str, str]]:
    """CSS colour and name of the classes in pictures."""
    return [
        (css_color(class_color(k)), run.class_names[k]) for k in sorted(commonest(run, MAX_LEGEND))
    ]


def _allow(page: str, script: str) -> str:
    """The page with a policy that lets this one script run and no other."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return page.replace(_POLICY, f"{_POLICY}; script-src 'sha256-{digest}'", 1)


def _tiles(runs: Sequence[Judged], paired: Paired | None) -> list[Tile]:
    shown = (("mask AP", MASKS, "AP"), ("mask AP50", MASKS, "AP50"), ("pixel IoU", PIXELS, "IoU"))
    run = runs[0]
    tiles = (
        [
            Tile(
                f"{found.difference:+.1f}",
                f"{label}, {_ends(found)}; "
                f"{found.first:.1f}\N{NO-BREAK SPACE}→\N{NO-BREAK SPACE}{found.second:.1f}",
            )
            for label, kind, metric in shown
            for found in [paired[kind, metric, ""]]
        ]
        if paired is not None
        else [
            Tile(f"{found.value:.1f}", f"{label}, {_ends(found)}")
            for label, kind, metric in shown
            for found in [run.estimates[kind, metric, ""]]
        ]
    )
    counts = {
        "images judged": len(run.quality),
        "objects": int(run.matches.num_objects.sum()),
    }
    if paired is None:
        counts["detections"] = len(run.matches.score)
    return tiles + [Tile(f"{number:,}", label) for label, number in counts.items()]


def _ends(found) -> str:
    if np.isnan(found.low):
        return found.note or "no interval"
    sign = "+" if hasattr(found, "difference") else ""
    return f"{found.low:{sign}.1f}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{found.high:{sign}.1f}"


def _present(values: Sequence[str], order: Mapping[str, str] | None) -> dict[str, int]:
    """Value → how many, in the order of ``order``, else by name."""
    keys = sorted(set(values)) if order is None else [key for key in order if key in values]
    return {key: values.count(key) for key in keys}


def _num_errors(run: Judged) -> int:
    return sum(run.figures["errors"]["counts"].values())
