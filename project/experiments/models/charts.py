"""The charts of a comparison of models: figures and differences with intervals, cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from project.experiments.charts import line_color
from project.experiments.models.compare import JudgedModel, ModelComparison
from project.experiments.models.cost import Costs
from project.experiments.models.counts import BOUNDARY, IMAGE_DICE, IOU
from project.experiments.models.words import three_digits
from project.visualization.charts import INK, MAIN, MUTED, Chart, Words, draw
from project.visualization.labels import printable

import numpy as np

MAX_CLASSES = 12
MAX_LINES = 7
_MARKERS = ("o", "D", "s", "^", "v", "P", "X")


@dataclass(frozen=True)
class Bar:
    """A row of an interval chart: NaN in ``low`` and ``high`` where there is no interval."""

    label: str
    value: float
    low: float
    high: float
    dots: Sequence[float] = ()
    strong: bool = True


def model_charts(found: ModelComparison, costs: Costs | None) -> dict[str, list[Chart]]:
    """Section → its charts."""
    return {
        "figures": [_figures(found, metric) for metric in (IOU, BOUNDARY, IMAGE_DICE)],
        "differences": [_differences(found, metric) for metric in (IOU, BOUNDARY, IMAGE_DICE)],
        "classes": _classes(found),
        "cost": _cost(found, costs) if costs is not None and len(costs.models) > 1 else [],
    }


def _figures(found: ModelComparison, metric: str, class_name: str = "") -> Chart:
    bars = [_bar(model, metric, class_name) for model in found.ranked]
    best = max(bars, key=lambda bar: np.nan_to_num(bar.value, nan=-1))
    slug, title, caption = f"figure-{_slug(metric)}", _upper(metric), ""
    if class_name:
        slug += f"-{found.class_names.index(class_name)}"
        title += f" of {class_name}"
    elif metric == IOU:
        caption = "Dot: figure on these images; bar: 95 % interval over images."
        caption += " Grey: single runs." * any(bar.dots for bar in bars)
    known = np.isfinite(best.value)
    alt = f"Highest: {best.label}, {best.value:.1f}" if known else "Not defined on these images"
    words = Words(slug, title, alt, caption)
    return interval_chart(words, bars, f"{metric}, percent")


def _bar(model: JudgedModel, metric: str, class_name: str) -> Bar:
    estimate = model.estimates[metric, class_name]
    seeds = model.seed_values[metric, class_name]
    dots = seeds[np.isfinite(seeds)].tolist() if len(seeds) > 1 else ()
    return Bar(model.label, estimate.value, estimate.low, estimate.high, dots)


def _differences(found: ModelComparison, metric: str) -> Chart:
    bars = []
    for (label, own, name), item in found.differences.items():
        if own == metric and not name:
            distinct = item.low > 0 or item.high < 0
            bars.append(Bar(label, item.difference, item.low, item.high, strong=distinct))
    distinct = [bar.label for bar in bars if bar.strong]
    words = Words(
        f"difference-{_slug(metric)}",
        f"{_upper(metric)}: difference",
        f"Intervals without zero: {', '.join(distinct) or 'none'}",
        "Right of zero: better than the baseline. Filled: the interval leaves out zero."
        if metric == IOU
        else "",
    )
    return interval_chart(words, bars, "points", zero=True)


def _classes(found: ModelComparison) -> list[Chart]:
    """A chart for each class, none where the mean is that of one class."""
    if len(found.class_names) == 1:
        return []
    return [_figures(found, IOU, name) for name in found.class_names[:MAX_CLASSES]]


def interval_chart(words: Words, bars: Sequence[Bar], unit: str, zero: bool = False) -> Chart:
    """One row for each bar: a dot, its interval, single runs in grey; zero as a line if asked."""

    def plot(ax) -> None:
        if zero:
            ax.axvline(0, color=MUTED, linewidth=1)
        for row, bar in enumerate(bars):
            color = MAIN if bar.strong else MUTED
            ax.scatter(bar.dots, [row] * len(bar.dots), 12, color=MUTED, alpha=0.7, lw=0, zorder=3)
            if np.isfinite(bar.low):
                ax.plot(
                    [bar.low, bar.high], [row, row], color=color, linewidth=2, marker="|",
                    markersize=8,
                )  # fmt: skip
            face = color if bar.strong else "none"
            ax.plot(bar.value, row, marker="o", markersize=7, color=color, markerfacecolor=face)
        ax.set_yticks(range(len(bars)), [printable(bar.label, 22) for bar in bars])
        ax.tick_params(axis="y", length=0, labelcolor=INK)
        ax.set_ylim(len(bars) - 0.5, -0.5)
        ax.margins(x=0.08)
        ax.set_xlabel(unit)
        ax.grid(axis="x")

    return draw(words, 64 + 26 * len(bars), plot)


def _cost(found: ModelComparison, costs: Costs) -> list[Chart]:
    shown = [model for model in found.ranked if model.label in costs.models][:MAX_LINES]
    speed = {m.label: costs.models[m.label].median for m in shown}
    flops = {m.label: costs.models[m.label].flops / 1e9 for m in shown}
    alt = ", ".join(f"{label} {three_digits(ms)} ms" for label, ms in speed.items())
    caption = "Up is better, left is cheaper. Bars: 95 % interval over images."
    words = Words("cost-time", "IoU against time", alt, caption)
    alt = ", ".join(f"{label} {three_digits(value)} GFLOPs" for label, value in flops.items())
    other = Words("cost-flops", "IoU against arithmetic", alt, "Multiply-adds count as two.")
    return [
        cost_chart(words, shown, speed, "milliseconds an image"),
        cost_chart(other, shown, flops, "GFLOPs an image"),
    ]


def cost_chart(
    words: Words, models: Sequence[JudgedModel], cost: dict[str, float], xlabel: str
) -> Chart:
    """IoU over cost, one marker for each model; a logarithmic axis from a factor of five on."""

    def plot(ax) -> None:
        for i, model in enumerate(models):
            item = model.estimates[IOU, ""]
            ends = np.nan_to_num([[item.value - item.low], [item.high - item.value]])
            ax.errorbar(
                cost[model.label], item.value, np.maximum(ends, 0), color=line_color(i), capsize=3,
                marker=_MARKERS[i % 7], markersize=7, linestyle="none",
                label=printable(model.label, 30),
            )  # fmt: skip
        values = [value for value in cost.values() if value > 0]
        if values and max(values) > 5 * min(values):
            _log_axis(ax, min(values), max(values))
        ax.set_xlabel(xlabel)
        ax.set_ylabel("IoU, percent")
        ax.margins(0.12)
        ax.grid()
        ax.figure.legend(loc="outside upper left", ncols=1, fontsize=9.5)

    return draw(words, 230 + 18 * len(models), plot)


def _log_axis(ax, low: float, high: float) -> None:
    """A logarithmic axis with ticks at 1, 2, 5, 10, ..., which are read as plain numbers."""
    ax.set_xscale("log")
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    inside = [tick for tick in ticks if low / 1.6 <= tick <= high * 1.6]
    if len(inside) > 7:
        inside = [tick for tick in inside if np.isclose(np.log10(tick) % 1, 0)]
    ax.minorticks_off()
    ax.set_xticks(inside, [f"{tick:g}" for tick in inside])


def _slug(metric: str) -> str:
    return metric.replace(" ", "-")


def _upper(metric: str) -> str:
    return metric[0].upper() + metric[1:]
