"""Charts of training: losses, learning rate, validation metrics, what was drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from project.visualization.charts import MAIN, MUTED, Chart, Words, draw
from project.visualization.labels import printable
from project.visualization.plots import bars
from project.visualization.report.judged import Judged
from project.visualization.report.shared import (
    COLORS,
    DASHES,
    MAX_LINES,
    commonest,
    legend,
    legend_height,
    line_color,
    run_names,
)

import numpy as np

MAX_POINTS = 120  # a chart of 330 units shows no more


def curve_charts(runs: Sequence[Judged]) -> list[Chart]:
    """Losses, learning rate and validation metrics over the iterations, where they were written."""
    files = [run.files for run in runs]
    written = dict.fromkeys(key for run in files for row in run.metrics for key in row)
    charts = []
    losses = [k for k in written if k.startswith("loss_")][:MAX_LINES]
    if len(runs) == 1 and losses:
        series = [(k.removeprefix("loss_"), files[0].curve(k)) for k in losses]
        charts.append(_lines("curve-losses", "Losses", series, "loss", smooth=True))
    shown = {
        "total_loss": ("Total loss", "loss", True),
        "validation_loss": ("Validation loss", "loss", False),
        "lr": ("Learning rate", "learning rate", False),
        "segm/AP": ("Mask AP on the validation images", "AP", False),
        "bbox/AP": ("Box AP on the validation images", "AP", False),
    }
    for key, (title, ylabel, smooth) in shown.items():
        if key in written:
            series = [(n, r.curve(key)) for n, r in zip(run_names(files), files, strict=True)]
            slug = "curve-" + key.replace("/", "-").replace("_", "-").lower()
            charts.append(_lines(slug, title, series, ylabel, smooth=smooth))
    if len(runs) == 1:
        charts += _class_curves(runs[0], written)
    return [chart for chart in charts if chart is not None]


def _class_curves(run: Judged, written: Mapping[str, None]) -> list[Chart | None]:
    shown = [run.class_names[k] for k in commonest(run, MAX_LINES)]
    found = []
    for slug, title, ylabel, key in (
        ("curve-class-ap", "Mask AP of each class", "AP", "segm/AP-{}"),
        ("curve-seen", "Objects seen in training", "objects", "seen/{}"),
    ):
        series = [(n, run.files.curve(key.format(n))) for n in shown if key.format(n) in written]
        colors = [line_color(run.class_names.index(name)) for name, _ in series]
        found.append(_lines(slug, title, series, ylabel, colors=colors))
    return found


def _lines(
    slug: str,
    title: str,
    series: Sequence[tuple[str, tuple[np.ndarray, np.ndarray]]],
    ylabel: str,
    *,
    smooth: bool = False,
    colors: Sequence[str] | None = None,
) -> Chart | None:
    """Curves over iterations; None where none has two points."""
    series = [(name, thinned(*xy, smooth=smooth)) for name, xy in series]
    if not any(len(x) > 1 for _, (x, _) in series):
        return None
    colors = colors or (COLORS if len(series) < 3 else [line_color(i) for i in range(7)])

    def plot(ax) -> None:
        for i, (name, (x, y)) in enumerate(series):
            ax.plot(
                x, y, color=colors[i % len(colors)], label=printable(name, 30), linewidth=1.6,
                linestyle=DASHES[i % 4], marker="o" if len(x) <= 12 else None, markersize=3,
            )  # fmt: skip
        ax.set_xlim(0)
        if all(np.min(y, initial=0) >= 0 for _, (_, y) in series):
            ax.set_ylim(0)
        ax.set_xlabel("iterations")
        ax.set_ylabel(ylabel)
        ax.grid(axis="y")
        if len(series) > 1:
            legend(ax)

    ends = ", ".join(f"{name} ends at {y[-1]:.4g}" for name, (_, y) in series if len(y))
    return draw(Words(slug, title, ends), 230 + legend_height(len(series)), plot)


def thinned(x: np.ndarray, y: np.ndarray, *, smooth: bool) -> tuple[np.ndarray, np.ndarray]:
    """At most `MAX_POINTS` points: means of runs of points, or every so manieth and the last."""
    if len(x) <= MAX_POINTS:
        return x, y
    edges = np.linspace(0, len(x), MAX_POINTS + 1).astype(int)
    if not smooth:
        kept = np.append(edges[1:-1] - 1, len(x) - 1)
        return x[kept], y[kept]
    counts = np.diff(edges)
    return np.add.reduceat(x, edges[:-1]) / counts, np.add.reduceat(y, edges[:-1]) / counts


def sampling_chart(run: Judged, suffix: str, end: str) -> Chart | None:
    """Which share of images showed each class, in the data and as drawn; None if not recorded."""
    files = run.files
    classes = files.sampling.get("classes")
    if not isinstance(classes, dict) or not classes:
        return None
    series = {
        "in the data": [_share(entry, "plain") for entry in classes.values()],
        "as drawn": [_share(entry, "drawn") for entry in classes.values()],
    }
    told = ", ".join(
        f"{name} {drawn:.1f} % instead of {plain:.1f} %"
        for name, plain, drawn in zip(classes, *series.values(), strict=True)
    )
    words = Words(
        "sampling" + end,
        "Images that show each class, percent" + suffix,
        told,
        f"{files.sampling.get('num_drawn', 0):,} times an image was drawn, of "
        f"{files.sampling.get('num_images', 0):,} images.",
    )
    return bars(words, list(classes), series, (MUTED, MAIN), unit="%", form="{:.1f}")


def _share(entry, key: str) -> float:
    found = (entry.get("images") or {}).get(key) if isinstance(entry, dict) else None
    return float("nan") if found is None else float(found)
