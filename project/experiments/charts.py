"""The charts of a comparison: curves with bands, means over a number, intervals, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from project.experiments.curves import Curve
from project.experiments.groups import Group, Series, mean_sd
from project.experiments.paired import Difference
from project.experiments.power_law import PowerLaw
from project.visualization.charts import INK, MAIN, MUTED, Chart, Words, css_color, draw
from project.visualization.labels import printable
from project.visualization.palette import class_color

import numpy as np

MAX_LINES = 7  # more can't be told apart
_HUES = (1, 0, 6, 3, 5, 4, 7)  # the palette's colours that are seen as lines on white and on black
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
_MARKERS = ("o", "D", "s", "^", "v", "P", "X")


def line_color(number: int) -> str:
    return css_color(class_color(_HUES[number % len(_HUES)]))


def curve_chart(words: Words, curves: Sequence[Curve], ylabel: str) -> Chart:
    """Lines over iterations with their bands."""

    def plot(ax) -> None:
        for i, curve in enumerate(curves):
            color = line_color(i)
            ax.fill_between(curve.iterations, curve.low, curve.high, color=color, alpha=0.18, lw=0)
            ax.plot(
                curve.iterations, curve.mean, color=color, linestyle=_DASHES[i % 4], linewidth=1.6,
                marker="o" if len(curve.iterations) <= 12 else None, markersize=3,
                label=printable(curve.label, 40),
            )  # fmt: skip
        ax.set_xlabel("iterations")
        ax.set_ylabel(ylabel)
        ax.set_xlim(0)
        ax.grid(axis="y")
        _legend(ax, len(curves))

    return draw(words, 230 + _legend_height(curves), plot)


def trend_chart(
    words: Words,
    series: Sequence[Series],
    metric: str,
    *,
    xlabel: str,
    log: bool,
    fits: Mapping[str, PowerLaw] | None = None,
    best: float | None = None,
) -> Chart:
    """Mean and standard deviation over a varied number; fitted curves with their 95 % band.

    Args:
        fits: series' label → its curve of ``best - metric``, where ``best`` is what an error of 0
            stands for; of the metric itself where ``best`` is None.
    """

    def plot(ax) -> None:
        for i, line in enumerate(series):
            color = line_color(i)
            fit = (fits or {}).get(line.label)
            numbers = [group.numbers(metric) for group in line.groups]
            for x, values in zip(line.x, numbers, strict=True):
                ax.scatter([x] * len(values), values, 7, color=color, alpha=0.45, lw=0)
            means, spreads = np.array([mean_sd(values) for values in numbers]).T
            ax.errorbar(
                line.x, means, np.nan_to_num(spreads), color=color, capsize=3, markersize=5,
                marker=_MARKERS[i % 7], linestyle="none" if fit else _DASHES[i % 4], linewidth=1.4,
                label=printable(line.label, 40),
            )  # fmt: skip
            if fit is not None:
                _draw_fit(ax, fit, line.x, color, _DASHES[i % 4], best)
        if log:
            ax.set_xscale("log")
        _number_ticks(ax, sorted({x for line in series for x in line.x}))
        ax.set_xlabel(xlabel)
        ax.set_ylabel(metric)
        ax.grid(axis="y")
        _legend(ax, len(series))

    return draw(words, 240 + _legend_height(series), plot)


def _draw_fit(ax, fit: PowerLaw, sizes, color: str, dash, best: float | None) -> None:
    x = np.geomspace(min(sizes), max(sizes), 60)
    shown = (lambda error: error) if best is None else (lambda error: best - error)
    ax.plot(x, shown(fit.at(x)), color=color, linewidth=1.4, linestyle=dash)
    if (band := fit.band(x)) is not None:
        ax.fill_between(x, shown(band[0]), shown(band[1]), color=color, alpha=0.14, lw=0)


def _number_ticks(ax, numbers: Sequence[float]) -> None:
    """Ticks at the numbers that were run, left out where they would touch."""
    ax.minorticks_off()
    low, high = numbers[0], numbers[-1]
    transform = np.log if ax.get_xscale() == "log" else np.asarray
    places = transform(np.array(numbers, float))
    kept = [numbers[0]]
    for number, place in zip(numbers[1:], places[1:], strict=True):
        gap = (place - transform(np.array(float(kept[-1])))) / max(places[-1] - places[0], 1e-300)
        if gap > 0.12:
            kept.append(number)
    ax.set_xticks(kept, [f"{number:g}" for number in kept])
    pad = 0.06 * (places[-1] - places[0])
    if ax.get_xscale() == "log":
        ax.set_xlim(low / np.exp(pad), high * np.exp(pad))
    else:
        ax.set_xlim(low - pad, high + pad)


def interval_chart(words: Words, found: Sequence[Difference], unit: str, reach: float) -> Chart:
    """One row for each setting: the difference as a dot, its interval as a bar, zero as a line.

    Args:
        reach: the axis goes from ``-reach`` to ``reach``, so that charts can be held beside
            each other.
    """

    def plot(ax) -> None:
        ax.axvline(0, color=MUTED, linewidth=1)
        for row, item in enumerate(found):
            if not np.isfinite(item.mean):
                continue
            color = MAIN if item.is_distinct else MUTED
            width = 0 if np.isnan(item.half_width) else item.half_width
            ax.errorbar(
                item.mean, row, xerr=width, color=color, marker="o", markersize=6, capsize=4,
                linewidth=2 if item.is_distinct else 1.2,
                markerfacecolor=color if item.is_distinct else "none",
            )  # fmt: skip
        ax.set_yticks(range(len(found)), [printable(item.setting, 26) for item in found])
        ax.tick_params(axis="y", length=0, labelcolor=INK)
        ax.set_ylim(len(found) - 0.5, -0.5)
        ax.set_xlim(-reach, reach)
        ax.set_xlabel(unit)
        ax.grid(axis="x")

    return draw(words, 64 + 24 * len(found), plot)


def setting_chart(words: Words, groups: Sequence[Group], metric: str) -> Chart:
    """One row for each setting: its runs as small dots, their mean and standard deviation."""

    def plot(ax) -> None:
        for row, group in enumerate(groups):
            values = group.numbers(metric)
            ax.scatter(values, [row] * len(values), 12, color=MUTED, alpha=0.6, lw=0)
            mean, spread = mean_sd(values)
            ax.errorbar(
                mean, row, xerr=np.nan_to_num(spread), color=MAIN, marker="o", markersize=6,
                capsize=4, linewidth=1.6,
            )  # fmt: skip
        ax.set_yticks(range(len(groups)), [printable(group.label, 26) for group in groups])
        ax.tick_params(axis="y", length=0, labelcolor=INK)
        ax.set_ylim(len(groups) - 0.5, -0.5)
        ax.margins(x=0.08)
        ax.set_xlabel(metric)
        ax.grid(axis="x")

    return draw(words, 64 + 22 * len(groups), plot)


def cost_chart(
    words: Words, groups: Sequence[Group], seconds: Sequence[np.ndarray], metric: str, xlabel: str
) -> Chart:
    """What each setting costs (seconds of its runs) against what it reaches, both mean and sd."""

    def plot(ax) -> None:
        for i, (group, cost) in enumerate(zip(groups, seconds, strict=True)):
            (x, x_sd), (y, y_sd) = mean_sd(cost), mean_sd(group.numbers(metric))
            ax.errorbar(
                x, y, np.nan_to_num(y_sd), np.nan_to_num(x_sd), color=line_color(i), capsize=3,
                marker=_MARKERS[i % 7], markersize=6, linewidth=1, linestyle="none",
                label=printable(group.label, 40),
            )  # fmt: skip
        ax.set_xlabel(xlabel)
        ax.set_ylabel(metric)
        ax.margins(0.1)
        ax.grid()
        _legend(ax, len(groups))

    return draw(words, 240 + _legend_height(groups), plot)


def _legend(ax, lines: int) -> None:
    if lines > 1:
        ax.figure.legend(loc="outside upper left", ncols=1 if lines > 3 else 2, fontsize=9.5)


def _legend_height(lines: Sequence) -> int:
    return 16 * len(lines) if len(lines) > 3 else 0
