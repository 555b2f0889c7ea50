"""The tables of a report, and the rows of its CSV files."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from project.evaluation.errors import TYPES
from project.evaluation.paired import Difference
from project.evaluation.uncertainty import Estimate, plain
from project.visualization.charts import css_color
from project.visualization.files import csv_cell
from project.visualization.page import Column, Table
from project.visualization.palette import class_color
from project.visualization.report.error_charts import ERROR_NAMES, SLICE_TITLES
from project.visualization.report.judged import BOUNDARIES, BOXES, MASKS, PIXELS, Judged
from project.visualization.report.run_files import RunFiles
from project.visualization.report.shared import run_names
from project.visualization.report.training import timings
from project.visualization.report.words import Paired, p_words, rounded

import numpy as np

NBSP = "\N{NO-BREAK SPACE}"
HEADLINE = {
    "mask AP": ((MASKS, "AP"), "COCO's: mean over IoU 50 to 95 %, and over the classes"),
    "mask AP50": ((MASKS, "AP50"), "at IoU 50 %"),
    "mask AP75": ((MASKS, "AP75"), "at IoU 75 %"),
    "mask AR": (
        (MASKS, "AR"),
        "recall, 100 detections of a class and image; mean over IoU 50 to 95 %",
    ),
    "box AP": ((BOXES, "AP"), "boxes instead of masks"),
    "box AP50": ((BOXES, "AP50"), "boxes, at IoU 50 %"),
    "boundary AP": (
        (BOUNDARIES, "AP"),
        "overlap of the outlines alone: sees what the inside of large masks hides",
    ),
    "pixel IoU": ((PIXELS, "IoU"), "masks from the best scores on, flattened; mean over classes"),
    "pixel Dice": ((PIXELS, "Dice"), "of the same pixels: twice the overlap over both areas"),
    "pixel accuracy": ((PIXELS, "pixel accuracy"), "background included"),
    "IoU of found masks": (
        (MASKS, "matched IoU"),
        "of detections of any score that match; misses don't count",
    ),
    "precision": ((MASKS, "precision"), "from the best scores on, at IoU 50 %"),
    "recall": ((MASKS, "recall"), "from the best scores on, at IoU 50 %"),
    "F1": ((MASKS, "F1"), "from the best scores on, at IoU 50 %"),
}


def figure(found: Estimate) -> str:
    """ "32.6 [30.0, 35.8]", or why there is no interval; a narrow cell breaks before either."""
    number, _, interval = str(found).partition(" ")
    return f"{number} {interval.replace(' ', NBSP)}".strip()


def headline_table(run: Judged) -> Table:
    rows = [
        [name, _value(e), _span(e), meaning]
        for name, ((kind, metric), meaning) in HEADLINE.items()
        for e in [run.estimates[kind, metric, ""]]
    ]
    columns = [Column("metric"), Column("percent"), Column("95 % interval"), Column("what it is")]
    return Table("All metrics, means over the classes", columns, rows)


def _value(found: Estimate) -> str:
    return "–" if np.isnan(found.value) else f"{found.value:.1f}"


def _span(found: Estimate) -> str:
    return found.note or "–" if np.isnan(found.low) else f"{found.low:.1f} to {found.high:.1f}"


def paired_table(runs: Sequence[Judged], paired: Paired) -> Table:
    rows = [
        [name, *_paired_cells(paired[kind, metric, ""])]
        for name, ((kind, metric), _) in HEADLINE.items()
    ]
    return Table("Both runs, means over the classes", _paired_columns("metric", runs), rows)


def paired_class_table(runs: Sequence[Judged], paired: Paired) -> Table:
    names = _class_order(runs[0])
    rows = [[name, *_paired_cells(paired[MASKS, "AP", name])] for name in names]
    colors = _colors(runs[0], names)
    caption = "Mask AP of each class; p adjusted for looking at all of them (Holm)"
    return Table(caption, _paired_columns("class", runs), rows, colors)


def _paired_columns(first: str, runs: Sequence[Judged]) -> list[Column]:
    return [
        Column(first),
        Column("difference", "percentage points, second minus first"),
        Column("95 % interval", "from resampling images, the same for both runs"),
        Column("p", "of such a difference if there were none"),
        *map(Column, run_names(runs)),
        Column("images to settle", "on which four tests of five would show it, if it is real"),
    ]


def _paired_cells(found: Difference) -> list[str]:
    if np.isnan(found.difference):
        return ["–"] * 6
    values = [f"{found.first:.1f}", f"{found.second:.1f}"]
    gap = f"{found.difference:+.1f}"
    if np.isnan(found.low):
        return [gap, found.note or "–", "–", *values, "–"]
    settled = found.adjusted_p < 0.05
    needed = "–" if found.images_needed is None else f"{rounded(found.images_needed):,}"
    p = p_words(found.adjusted_p).removeprefix("p ").removeprefix("= ")
    span = f"{found.low:+.1f} to {found.high:+.1f}"
    return [gap, span, p, *values, "settled" if settled else needed]


def _class_order(run: Judged) -> list[str]:
    objects = run.matches.num_objects.sum(0)
    return [run.class_names[k] for k in np.argsort(-objects, kind="stable")]


def _colors(run: Judged, names: Sequence[str]) -> list[str]:
    return [css_color(class_color(run.class_names.index(name))) for name in names]


def class_table(run: Judged, caption: str) -> Table:
    names = _class_order(run)
    best = run.figures["precision_recall"]["classes"]
    rows = []
    for name in names:
        k = run.class_names.index(name)
        found = {key: run.estimates[(*what, name)] for key, what in _PER_CLASS.items()}
        chosen = "–" if np.isnan(best[name]["best"]["score"]) else f"{run.thresholds[k]:.2f}"
        rows.append(
            [
                name,
                f"{run.matches.num_objects[:, k].sum():,}",
                f"{found['mask AP'].num_images:,}",
                *map(figure, found.values()),
                chosen,
            ]
        )
    columns = [Column("class"), Column("objects"), Column("images", "with at least one object")]
    columns += [Column(key, f"percent; {HEADLINE[key][1]}") for key in _PER_CLASS]
    columns.append(Column("best score", "from which on F1 is largest"))
    return Table(caption, columns, rows, _colors(run, names))


_PER_CLASS = {
    name: HEADLINE[name][0]
    for name in ("mask AP", "mask AP50", "box AP", "pixel IoU", "IoU of found masks", "precision",
                 "recall", "F1")
}  # fmt: skip


def error_table(run: Judged, caption: str) -> Table:
    found = run.figures["errors"]["classes"]
    names = _class_order(run)
    columns = [Column("class"), Column("AP50")]
    columns += [
        Column(f"{ERROR_NAMES[t]}, {what}", hint)
        for t in TYPES
        for what, hint in (("points", "what AP50 gains without"), ("count", ""))
    ]
    rows = []
    for name in names:
        entry = found[name]
        cells = [
            cell for t in TYPES for cell in (_number(entry["dap"][t]), f"{entry['counts'][t]:,}")
        ]
        rows.append([name, _number(entry["ap"]), *cells])
    return Table(caption, columns, rows, _colors(run, names))


def slice_table(run: Judged, caption: str) -> Table:
    columns = [
        Column("slice"), Column("objects"), Column("AP"), Column("AP50"),
        Column("found", "recall at IoU 50 %, percent, of detections of any score"),
    ]  # fmt: skip
    rows = [
        [
            f"{SLICE_TITLES[question]}: {name}",
            f"{run.figures['slices'][question][name]['objects']:,}",
            *map(figure, found.values()),
        ]
        for question, slices in run.slices.items()
        for name, found in slices.items()
    ]
    return Table(caption, columns, rows)


def _number(value: float) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.1f}"


# -- about the runs -------------------------------------------------------------------------------


def timing_table(runs: Sequence[RunFiles]) -> Table | None:
    found = [timings(run) for run in runs]
    names = dict.fromkeys(name for entry in found for name in entry)
    rows = [[n, *(f"{e[n]:,.4g}" if n in e else "–" for e in found)] for n in names]
    return Table("Time and memory", _value_columns(runs), rows) if rows else None


def environment_table(runs: Sequence[RunFiles]) -> Table | None:
    names = dict.fromkeys(name for run in runs for name in run.environment)
    rows = [[n, *(run.environment.get(n, "–") for run in runs)] for n in names]
    return Table("The machine and its software", _value_columns(runs), rows) if rows else None


def config_table(runs: Sequence[RunFiles]) -> Table:
    """Every key of one run; those in which two differ."""
    keys = dict.fromkeys(key for run in runs for key in run.config)
    if len(runs) > 1:
        differing = [k for k in keys if len({str(run.config.get(k)) for run in runs}) > 1]
        keys = [key for key in differing if key != "train.output_dir"]
    rows = [[key, *(_setting(run.config, key) for run in runs)] for key in keys]
    caption = "config.yaml" if len(runs) == 1 else "Settings in which the runs differ"
    return Table(caption, _value_columns(runs), rows)


def _setting(config: Mapping, key: str) -> str:
    if key not in config:
        return "–"
    return str(config[key]) if config[key] != "" else "''"


def _value_columns(runs: Sequence[RunFiles]) -> list[Column]:
    heads = ["value"] if len(runs) == 1 else run_names(runs)
    return [Column(""), *map(Column, heads)]


# -- CSV ------------------------------------------------------------------------------------------


def estimate_rows(run: Judged) -> list[dict]:
    return [{"kind": kind, **plain(found)} for (kind, _, _), found in run.estimates.items()]


def difference_rows(paired: Paired) -> list[dict]:
    return [{"kind": kind, **plain(found)} for (kind, _, _), found in paired.items()]


def error_rows(run: Judged) -> list[dict]:
    """One row for each class and type of error."""
    return [
        {"class": name, "type": kind, "ap50_gained": entry["dap"][kind],
         "count": entry["counts"].get(kind)}
        for name, entry in run.figures["errors"]["classes"].items()
        for kind in entry["dap"]
    ]  # fmt: skip


def slice_rows(run: Judged) -> list[dict]:
    """One row for each slice that has objects, and metric."""
    return [
        {"question": question, "slice": name,
         "objects": run.figures["slices"][question][name]["objects"], **plain(found)}
        for question, slices in run.slices.items()
        for name, by_metric in slices.items()
        for found in by_metric.values()
    ]  # fmt: skip


def confusion_rows(run: Judged) -> list[dict]:
    found = run.figures["confusion"]
    names = [*found["classes"], "(nothing)"]
    return [
        {"labelled": name, **dict(zip(names, counts, strict=True))}
        for name, counts in zip(names, found["counts"], strict=True)
    ]


def csv_text(rows: Sequence[Mapping]) -> str:
    """Rows with one head; what isn't a number is empty; what a spreadsheet would run is quoted."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = list(rows[0])
    writer.writerow(map(_cell, heads))
    writer.writerows([_cell(row[head]) for head in heads] for row in rows)
    return text.getvalue()


def _cell(value) -> object:
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return ""
    return csv_cell(value) if isinstance(value, str) else value
