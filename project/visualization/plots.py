"""The kinds of charts that pages draw: bars, histograms, number tables, curves, points, maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from project.visualization.charts import INK, MAIN, PAPER, WIDTH, Chart, Words, draw, draw_figure
from project.visualization.labels import printable

import numpy as np


def bars(
    words: Words,
    labels: Sequence[str],
    series: Mapping[str, Sequence[float]],
    colors: Sequence[Sequence[str] | str],
    *,
    unit: str = "",
    form: str = "{:,.0f}",
    log: bool = False,
) -> Chart:
    """Horizontal bars, one group for each label from the top down, each with its number.

    Args:
        colors: for each series one colour, or one for each label.
        form: of the numbers beside the bars; values that aren't numbers get none.
        log: a logarithmic axis that starts below 1; zero has no bar.
    """
    values = np.array([list(s) for s in series.values()], float).reshape(len(series), len(labels))
    step = 0.8 / len(series)
    low = 0.5 if log else 0.0

    def plot(ax) -> None:
        rows = np.arange(len(labels))
        for s, (name, color) in enumerate(zip(series, colors, strict=True)):
            place = rows + (s - (len(series) - 1) / 2) * step
            lengths = np.nan_to_num(np.maximum(values[s] - low, 0))
            ax.barh(place, lengths, 0.9 * step, left=low, color=color, label=name)
            for y, value in zip(place, values[s], strict=True):
                if np.isfinite(value):
                    at = (max(value, low), y)
                    ax.annotate(
                        form.format(value), at, (3, 0), textcoords="offset points",
                        va="center", fontsize=9 if len(series) > 1 else 10,
                    )  # fmt: skip
        ax.set_yticks(rows, [printable(label, 22) for label in labels])
        ax.tick_params(axis="y", length=0, labelcolor=INK)
        ax.invert_yaxis()
        ax.margins(y=0.02)
        top = float(np.nanmax(values, initial=1))
        if log:
            ax.set_xscale("log")
            ax.set_xlim(low, top**1.22 if top > 1 else 10)
        else:
            ax.set_xlim(0, 1.2 * max(top, 1e-9))
        if unit.startswith(
            "%"
        ):  # room for numbers beside the bars, but no tick beyond all there is
            ax.set_xticks([tick for tick in ax.get_xticks() if tick <= min(100, 1.2 * top)])
        ax.xaxis.set_major_formatter(_plain_ticks())
        ax.minorticks_off()
        ax.set_xlabel(unit)
        ax.grid(axis="x")
        if len(series) > 1:
            ax.figure.legend(loc="outside upper left", ncols=len(series))

    return draw(words, 70 + len(labels) * max(20, 15 * len(series)), plot)


def _plain_ticks():
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: f"{value:,.10g}")


def histogram(
    words: Words,
    edges: Sequence[float],
    series: Mapping[str, Sequence[float]],
    colors: Sequence[str],
    *,
    xlabel: str,
    ylabel: str,
    xlog: bool = False,
    ylog: bool = False,
    marks: Mapping[str, float] | None = None,
    ticks: Mapping[str, float] | None = None,
) -> Chart:
    """Stacked counts between ``edges`` (one more than counts); ``marks`` and ``ticks`` are named.

    Marks are vertical lines, left out beyond the edges; without ``ticks`` the axis chooses its own.
    """
    edges = np.asarray(edges, float)

    def plot(ax) -> None:
        base = np.zeros(len(edges) - 1)
        for (name, counts), color in zip(series.items(), colors, strict=True):
            ax.bar(
                edges[:-1], counts, np.diff(edges), base, align="edge", color=color, label=name,
                edgecolor=PAPER, linewidth=0.6,
            )  # fmt: skip
            base += np.asarray(counts, float)
        if xlog:
            ax.set_xscale("log")
        if ylog:
            ax.set_yscale("log")
            ax.set_ylim(0.6, 3 * max(base.max(initial=1), 1))
        else:
            ax.set_ylim(0, 1.13 * max(base.max(initial=1), 1))
        ax.xaxis.set_major_formatter(_plain_ticks())
        if ticks is not None:
            ax.set_xticks(list(ticks.values()), list(ticks))
        ax.minorticks_off()
        ax.yaxis.set_major_formatter(_plain_ticks())
        ax.set_xlim(edges[0], edges[-1])
        inside = {n: at for n, at in (marks or {}).items() if edges[0] <= at <= edges[-1]}
        for name, place in inside.items():
            ax.axvline(place, color=INK, linewidth=1, linestyle=(0, (4, 3)))
            ax.annotate(
                name, (place, 1), (3, -2), xycoords=("data", "axes fraction"),
                textcoords="offset points", va="top", fontsize=9.5,
            )  # fmt: skip
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        ax.grid(axis="y")
        if len(series) > 1:
            ax.figure.legend(loc="outside upper left", ncols=len(series))

    return draw(words, 230, plot)


def heat_table(
    words: Words,
    rows: Sequence[str],
    columns: Sequence[str],
    values: np.ndarray,
    *,
    form: str | Sequence[str] = "{:.0f}",
    xlabel: str = "",
    shades: np.ndarray | None = None,
) -> Chart:
    """A table of numbers [R, C], each cell shaded by its value, or by ``shades`` [R, C] (0-1).

    ``form`` is of all numbers, or one for each column. Cells that aren't numbers stay empty.
    """
    forms = [form] * len(columns) if isinstance(form, str) else form
    values = np.asarray(values, float)
    if shades is None:
        shades = values / max(float(np.nanmax(values, initial=0)), 1e-300)
    slanted = 6.5 * max(len(c) for c in columns) > (WIDTH - 75) / len(columns)

    def plot(ax) -> None:
        from matplotlib.patches import Rectangle

        for r, c in np.argwhere(np.isfinite(values)):
            shade = float(np.nan_to_num(shades[r, c]))
            ax.add_patch(
                Rectangle(
                    (c - 0.48, r - 0.46), 0.96, 0.92, color=MAIN, lw=0, alpha=0.06 + 0.5 * shade
                )
            )
            ax.text(
                c,
                r,
                forms[c].format(values[r, c]),
                ha="center",
                va="center",
                fontsize=10 if len(columns) < 9 else 8.5,
            )
        ax.set_xlim(-0.5, len(columns) - 0.5)
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.xaxis.tick_top()
        ax.xaxis.set_label_position("top")
        ax.set_xticks(
            range(len(columns)), [printable(c, 20) for c in columns],
            rotation=40 if slanted else 0, ha="left" if slanted else "center",
            rotation_mode="anchor",
        )  # fmt: skip
        ax.set_yticks(range(len(rows)), [printable(r, 20) for r in rows])
        ax.tick_params(length=0, labelcolor=INK)
        ax.spines[:].set_visible(False)
        ax.set_xlabel(xlabel)

    return draw(words, 64 + 23 * len(rows) + (55 if slanted else 0), plot)


def lines(
    words: Words,
    x: Sequence[float],
    series: Mapping[str, Sequence[float]],
    colors: Sequence[str],
    *,
    xlabel: str,
    ylabel: str,
) -> Chart:
    """Curves over ``x``, told apart by colour and by dash, named in a legend."""
    dashes = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))

    def plot(ax) -> None:
        for i, (name, y) in enumerate(series.items()):
            ax.plot(x, y, color=colors[i], label=name, linestyle=dashes[i % 4], linewidth=1.6)
        ax.set_xlim(min(x), max(x))
        ax.set_ylim(0)
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        ax.grid(axis="y")
        ax.figure.legend(loc="outside upper left", ncols=len(series))

    return draw(words, 230, plot)


def scatter(
    words: Words,
    groups: Mapping[str, tuple[np.ndarray, np.ndarray]],
    colors: Sequence[str],
    *,
    xlabel: str,
    ylabel: str,
    sizes: Sequence[np.ndarray | float] | None = None,
    ylog: bool = False,
    equal: bool = False,
) -> Chart:
    """Points x, y of named groups; ``sizes`` are areas, ``equal`` gives both axes one scale."""
    markers = ("o", "D", "s", "^", "v")

    def plot(ax) -> None:
        for i, (name, (x, y)) in enumerate(groups.items()):
            size = 14 if sizes is None else sizes[i]
            ax.scatter(x, y, size, colors[i], marker=markers[i % 5], alpha=0.55, label=name, lw=0)
        if ylog:
            ax.set_yscale("log")
            ax.minorticks_off()
        ax.xaxis.set_major_formatter(_plain_ticks())
        ax.yaxis.set_major_formatter(_plain_ticks())
        if equal:
            ax.set_aspect("equal")
            ax.set_xlim(0)
            ax.set_ylim(0)
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        ax.grid()
        if len(groups) > 1:
            ax.figure.legend(loc="outside upper left", ncols=2, handletextpad=0.2)

    return draw(words, 300 if equal else 240, plot)


def heat_map(words: Words, values: np.ndarray, *, label: str, aspect: float = 0.75) -> Chart:
    """An array [H, W] as a picture ``aspect`` times as high as wide, with a scale from 0."""

    def plot(ax) -> None:
        top = max(float(values.max(initial=0)), 1e-9)
        shown = ax.imshow(values, cmap="viridis", vmin=0, vmax=top, extent=(0, 1, aspect, 0))
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(True)
        bar = ax.figure.colorbar(shown, shrink=0.8, label=label)
        bar.outline.set_visible(False)

    return draw(words, 230, plot)


def picture_grid(words: Words, names: Sequence[str], pictures: Sequence[np.ndarray]) -> Chart:
    """Small arrays [h, w] of 0-1, four in a row, each with its name."""
    rows = -(-len(names) // 4)

    def paint(figure) -> None:
        axes = figure.subplots(rows, 4, squeeze=False)
        for ax in axes.flat:
            ax.set_axis_off()
        for ax, name, picture in zip(axes.flat, names, pictures, strict=False):
            ax.imshow(picture, cmap="viridis", vmin=0, vmax=1)
            ax.set_title(printable(name, 14), fontsize=10)

    return draw_figure(words, 100 * rows, paint)
