"""The charts of a report, of one run or of two beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from project.evaluation.paired import Difference
from project.visualization.charts import INK, MUTED, Chart, Words, draw
from project.visualization.labels import printable
from project.visualization.report.error_charts import (
    calibration_charts,
    confusion_chart,
    error_charts,
    score_charts,
    slice_charts,
)
from project.visualization.report.judged import MASKS, PIXELS, Judged
from project.visualization.report.shared import (
    COLORS,
    MAX_CLASSES,
    commonest,
    interval,
    left_out,
    legend,
    named,
    run_names,
)
from project.visualization.report.training_charts import curve_charts, sampling_chart

import numpy as np


def report_charts(
    runs: Sequence[Judged], paired: Mapping[tuple[str, str, str], Difference] | None = None
) -> dict[str, list[Chart]]:
    """Section → its charts."""
    return {
        "classes": _class_charts(runs),
        "differences": [] if paired is None else _difference_charts(runs, paired),
        "curves": curve_charts(runs),
        "scores": score_charts(runs),
        "confusion": [confusion_chart(*one) for one in named(runs)],
        "errors": error_charts(runs),
        "slices": slice_charts(runs),
        "calibration": calibration_charts(runs),
        "sampling": [c for one in named(runs) if (c := sampling_chart(*one)) is not None],
    }


def _class_charts(runs: Sequence[Judged]) -> list[Chart]:
    what = {
        "class-ap": (MASKS, "AP", "Mask AP"),
        "class-iou": (PIXELS, "IoU", "Pixel IoU"),
        "class-recall": (MASKS, "recall", "Objects found, percent"),
        "class-precision": (MASKS, "precision", "Detections that are right, percent"),
    }
    return [_interval_bars(slug, *entry, runs) for slug, entry in what.items()]


def _interval_bars(slug: str, kind: str, metric: str, title: str, runs: Sequence[Judged]) -> Chart:
    """A bar for each class and run, with its interval or why there is none."""
    shown = commonest(runs[0], MAX_CLASSES)
    names = [runs[0].class_names[k] for k in shown]
    found = [[run.estimates[kind, metric, name] for name in names] for run in runs]
    step = 0.8 / len(runs)

    def plot(ax) -> None:
        rows = np.arange(len(names))
        for i, (label, color) in enumerate(zip(run_names(runs), COLORS, strict=False)):
            places = rows + (i - (len(runs) - 1) / 2) * step
            values = np.nan_to_num([e.value for e in found[i]])
            ax.barh(places, values, 0.9 * step, color=color, alpha=0.75, label=printable(label, 40))
            for y, estimate in zip(places, found[i], strict=True):
                interval(ax, y, estimate)
        ax.set_yticks(rows, [printable(name, 20) for name in names])
        ax.tick_params(axis="y", length=0, labelcolor=INK)
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.set_xlim(0, 118)
        ax.set_xticks(range(0, 101, 20))
        ax.grid(axis="x")
        if len(runs) > 1:
            legend(ax)

    alt = ", ".join(f"{n} {e}" for n, e in zip(names, found[0], strict=True))
    caption = "Lines: 95 % intervals." + left_out(runs[0], len(shown))
    height = 62 + len(names) * (24 if len(runs) == 1 else 36) + 18 * (len(runs) - 1)
    return draw(Words(slug, title, alt, caption), height, plot)


def _difference_charts(
    runs: Sequence[Judged], paired: Mapping[tuple[str, str, str], Difference]
) -> list[Chart]:
    names = run_names(runs)
    classes = ["", *(runs[0].class_names[k] for k in commonest(runs[0], MAX_CLASSES))]
    charts = []
    for slug, kind, metric, title in (
        ("difference-ap", MASKS, "AP", "Mask AP"),
        ("difference-iou", PIXELS, "IoU", "Pixel IoU"),
    ):
        rows = [paired[kind, metric, name] for name in classes]
        told = "; ".join(f"{row.class_name or 'mean'} {row}" for row in rows)
        words = Words(
            slug,
            f"{title}: {names[1]} minus {names[0]}",
            told,
            "Lines: 95 % intervals. Where one leaves out zero, it is filled in the colour of the"
            " better run (by chance for one class in twenty: the table's p allows for that). Hollow"
            " without a line: too few images.",
        )
        charts.append(_difference_chart(words, rows))
    return charts


def _difference_chart(words: Words, rows: Sequence[Difference]) -> Chart:
    def plot(ax) -> None:
        ax.axvline(0, color=MUTED, linewidth=1)
        for y, row in enumerate(rows):
            if not np.isfinite(row.difference):
                continue
            sure = np.isfinite(row.low) and (row.low > 0 or row.high < 0)
            color = COLORS[int(row.difference > 0)] if sure else MUTED
            if np.isfinite(row.low):
                ax.plot([row.low, row.high], [y, y], color=color, lw=2 if sure else 1.3)
            ax.plot(row.difference, y, "o", color=color, mfc=color if sure else "none", ms=6)
        labels = ["mean of classes", *(printable(row.class_name, 20) for row in rows[1:])]
        ax.set_yticks(range(len(rows)), labels)
        ax.tick_params(axis="y", length=0, labelcolor=INK)
        ax.set_ylim(len(rows) - 0.5, -0.5)
        reach = max([1.0, *(abs(v) for row in rows for v in (row.low, row.high) if v == v)])
        ax.set_xlim(-1.1 * reach, 1.1 * reach)
        ax.set_xlabel("percentage points")
        ax.grid(axis="x")

    return draw(words, 74 + 24 * len(rows), plot)
