"""Everything that a report leaves behind: the page, charts, pictures, numbers, thresholds."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from project.errors import UserError
from project.evaluation.uncertainty import plain
from project.visualization.files import check_output_folder, make_folder, write_png
from project.visualization.report import tables
from project.visualization.report.charts import report_charts
from project.visualization.report.gallery import gallery
from project.visualization.report.judged import NUM_RESAMPLES, Judged, compare_runs, judge_run
from project.visualization.report.page import Shown, report_page
from project.visualization.report.pictures import Pictures
from project.visualization.report.run_files import RunFiles, read_run
from project.visualization.report.shared import run_names
from project.visualization.report.training import timings
from project.visualization.report.whole_images import changed_images, extreme_images, image_pictures
from project.visualization.report.words import Paired, headline, sentences

import numpy as np

PAGE = "index.html"
NUMBERS = "results.json"
THRESHOLDS = "thresholds.json"  # in the run's folder, `tools/predict.py` takes them from there
NUM_IMAGES = 6


def write_report(
    run: Path,
    other: Path | None = None,
    folder: Path | None = None,
    *,
    root: Path | None = None,
    num_resamples: int = NUM_RESAMPLES,
    num_images: int = NUM_IMAGES,
) -> tuple[Path, str]:
    """Judge a run, or one against another, and write all of it.

    Args:
        folder: default ``report`` in the run's folder; for two runs ``report-against-<other>``.
        root: folder of the subsets; None takes the configs'.
        num_resamples: that intervals are made of.
        num_images: best and worst whole images each.

    Returns:
        The page, and what became of the thresholds.

    Raises:
        UserError: for a run's folder that is none, an output folder that is one or can't be
            written, for missing predictions, and for runs of different datasets.
    """
    files = [read_run(path, root) for path in (run, other) if path is not None]
    if other is not None:
        check_same_dataset(*files)
    folder = folder or default_folder(files)
    check_output_folder(folder)
    make_folder(folder / "charts")
    runs = [judge_run(entry, num_resamples=num_resamples) for entry in files]
    paired = compare_runs(*runs) if other is not None else None
    charts = report_charts(runs, paired)
    for chart in (chart for section in charts.values() for chart in section):
        (folder / "charts" / f"{chart.name}.png").write_bytes(chart.png)
    sources = [Pictures(entry) for entry in runs]
    sheets = _sheets(runs, sources, folder, num_images)
    note = "" if paired is not None else write_thresholds(runs[0], folder)
    csv_files = write_numbers(runs, paired, folder)
    shown = Shown(
        charts,
        sheets,
        gallery(sources[0]) if paired is None else (),
        sorted(set().union(*(source.unreadable for source in sources))),
        note,
        csv_files,
    )
    title = " against ".join(run_names(runs)[::-1])
    (folder / PAGE).write_text(report_page(runs, paired, shown, title=title), "utf-8")
    return folder / PAGE, note


def default_folder(files: Sequence[RunFiles]) -> Path:
    """Where a report goes that nobody placed."""
    if len(files) == 1:
        return files[0].folder / "report"
    return files[0].folder / f"report-against-{files[1].name}"


def check_same_dataset(first: RunFiles, second: RunFiles) -> None:
    """Raise a `UserError` unless both runs were evaluated on one annotation file."""
    if first.annotations.resolve() != second.annotations.resolve():
        raise UserError(
            f"{first.name} was evaluated on {first.dataset} ({first.annotations}) and "
            f"{second.name} on {second.dataset} ({second.annotations}); compare runs on one dataset"
        )


def _sheets(
    runs: Sequence[Judged], sources: Sequence[Pictures], folder: Path, number: int
) -> dict[str, list]:
    """Title → embedded pictures; the same as PNGs in ``images/``."""
    chosen = extreme_images(runs[0], number) if len(runs) == 1 else changed_images(*runs, number)
    names = run_names(runs) if len(runs) > 1 else [""]
    sheets = {}
    for title, image_ids in chosen.items():
        made = image_pictures(sources, image_ids, names)
        slug = re.sub(r"\W+", "-", title.lower()).removeprefix("the-")
        for place, (drawn, _) in enumerate(made, 1):
            write_png(folder / "images" / f"{slug}-{place}.png", drawn)
        sheets[title] = [picture for _, picture in made]
    return sheets


def write_thresholds(run: Judged, folder: Path) -> str:
    """Write each class's best score, for prediction, too; returns what was done, for people.

    Null stands for a class without one. A file in the run's folder that no report wrote stays.
    """
    # Rounded down: the detection that has the very score counts.
    chosen = {
        name: None if score is None else math.floor(1e6 * score) / 1e6
        for name, score in run.best_scores.items()
    }
    text = json.dumps(chosen, indent=1, ensure_ascii=False) + "\n"
    target, before = run.files.folder / THRESHOLDS, folder / THRESHOLDS
    ours = before.read_text("utf-8") if before.is_file() else None
    before.write_text(text, "utf-8")
    if target.is_file() and target.read_text("utf-8") not in (ours, text):
        return (
            f"{target} was left as it is, for somebody may have chosen it; this report's "
            f"thresholds are in {before}: delete the former to have them written there, too"
        )
    part = target.with_name(f".{THRESHOLDS}.part")  # a prediction never reads half a file
    try:
        part.write_text(text, "utf-8")
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        return f"{target} can't be written ({error.strerror}); the thresholds are in {before}"
    return f"tools/predict.py takes the classes' thresholds from {target}"


def write_numbers(runs: Sequence[Judged], paired: Paired | None, folder: Path) -> list[str]:
    """Write ``results.json`` and the CSV files; returns their names."""
    names = run_names(runs)
    content = {
        "headline": headline(runs, paired),
        "sentences": [asdict(sentence) for sentence in sentences(runs, paired)],
        "runs": {name: _run_numbers(run) for name, run in zip(names, runs, strict=True)},
    }
    rows = {}
    for run, suffix in zip(runs, ("",) if len(runs) == 1 else ("-a", "-b"), strict=True):
        rows |= {
            f"metrics{suffix}": tables.estimate_rows(run),
            f"errors{suffix}": tables.error_rows(run),
            f"slices{suffix}": tables.slice_rows(run),
            f"confusion{suffix}": tables.confusion_rows(run),
        }
    if paired is not None:
        rows["differences"] = content["differences"] = tables.difference_rows(paired)
    (folder / NUMBERS).write_text(json.dumps(_finite(content), indent=1) + "\n", "utf-8")
    for name, table in rows.items():
        (folder / f"{name}.csv").write_text(tables.csv_text(table), "utf-8")
    return [NUMBERS, *(f"{name}.csv" for name in rows)]


def _run_numbers(run: Judged) -> dict:
    return {
        "folder": str(run.files.folder),
        "dataset": run.files.dataset,
        "coco": run.metrics,
        "estimates": [{"kind": kind, **plain(e)} for (kind, _, _), e in run.estimates.items()],
        "thresholds": run.best_scores,
        **run.figures,
        "slice_estimates": {
            question: {name: [plain(e) for e in found.values()] for name, found in slices.items()}
            for question, slices in run.slices.items()
        },
        "image_quality": {
            str(i): 100 * q
            for i, q in zip(run.matches.image_ids.tolist(), run.quality.tolist(), strict=True)
        },
        "timings": timings(run.files),
        "environment": dict(run.files.environment),
        "sampling": run.files.sampling,
    }


def _finite(value):
    """``value`` with None for every number that JSON can't write."""
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
