"""A comparison's folder: one page to read, its charts as PNGs, its numbers as CSV files."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

from project.errors import UserError
from project.experiments import charts, tables
from project.experiments.compare import Comparison, Trend, is_loss
from project.experiments.curves import curve_metrics, learning_curve
from project.experiments.store import csv_text, write_text
from project.experiments.words import class_name, headline, number, sentences
from project.visualization.charts import Chart, Words
from project.visualization.page import Tile, render_page

import numpy as np

PAGE = "index.html"
MAX_CLASS_CHARTS = 12


def write_comparison(found: Comparison, folder: Path, *, title: str) -> Path:
    """Write page, charts and tables to ``folder``; returns the page.

    Raises:
        UserError: if the folder can't be written.
    """
    try:
        (folder / "charts").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output folder {folder} can't be made: {error.strerror}") from None
    drawn = comparison_charts(found)
    for chart in (chart for section in drawn.values() for chart in section):
        (folder / "charts" / f"{chart.name}.png").write_bytes(chart.png)
    rows = {
        "runs": tables.run_rows(found),
        "settings": tables.setting_rows(found),
        "differences": tables.difference_rows(found),
        "power_laws": tables.power_law_rows(found),
    }
    for name, content in rows.items():
        if content:
            write_text(folder / f"{name}.csv", csv_text(tables.finite(content)))
    write_text(folder / PAGE, comparison_page(found, drawn, title=title))
    return folder / PAGE


def comparison_charts(found: Comparison) -> dict[str, list[Chart]]:
    """Section → its charts."""
    return {
        "settings": [_settings(found)] if len(found.groups) > 1 else [],
        "baseline": _intervals(found),
        "trends": [_trend(found, trend, i) for i, trend in enumerate(found.trends)],
        "curves": _curves(found),
        "cost": _cost(found),
    }


def comparison_page(
    found: Comparison,
    drawn: dict[str, Sequence[Chart]],
    *,
    title: str,
    date: datetime.date | None = None,
) -> str:
    """The HTML text of the page."""
    sections = {"short": "In short", "settings": "Settings"}
    if found.baseline is not None:
        sections["baseline"] = f"Against {found.baseline.label}"
    names = {"trends": "What varies", "curves": "Learning curves", "cost": "Cost"}
    sections |= {key: name for key, name in names.items() if drawn[key]}
    sections["runs"] = "Runs"
    return render_page(
        "comparison.html.j2",
        kind="How runs compare",
        title=title,
        sections=sections,
        headline=headline(found),
        date=(date or datetime.date.today()).isoformat(),
        tiles=_tiles(found),
        sentences=sentences(found),
        charts=drawn,
        setting_table=tables.setting_table(found),
        difference_table=tables.difference_table(found) if found.differences else None,
        run_table=tables.run_table(found),
        with_fits=any(trend.fits for trend in found.trends),
    )


def _tiles(found: Comparison) -> list[Tile]:
    counts = [len(group.runs) for group in found.groups]
    seeds = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)}–{max(counts)}"
    return [
        Tile(f"{len(found.runs):,}", "runs"),
        Tile(f"{len(found.groups):,}", "settings"),
        Tile(seeds, "seeds of a setting"),
        Tile(f"{found.best.mean(found.metric):.4g}", f"best mean {found.metric}"),
    ]


def _settings(found: Comparison) -> Chart:
    shown = found.ranked[:24]
    alt = f"Highest: {shown[0].label}" if not is_loss(found.metric) else f"Lowest: {shown[0].label}"
    caption = "Small dots: runs. Large: mean and standard deviation."
    if len(shown) < len(found.groups):
        caption += f" The best {len(shown)} of {len(found.groups)}."
    words = Words("settings", f"{found.metric} of each setting", alt, caption)
    return charts.setting_chart(words, shown, found.metric)


def _intervals(found: Comparison) -> list[Chart]:
    """One chart for the metric and one for each class, all on one scale."""
    if not found.differences:
        return []
    reach = _reach(found)
    drawn = []
    for metric in list(dict.fromkeys(d.metric for d in found.differences))[: MAX_CLASS_CHARTS + 1]:
        own = [d for d in found.differences if d.metric == metric]
        distinct = [d.setting for d in own if d.is_distinct]
        name = metric if metric == found.metric else class_name(metric)
        words = Words(
            f"difference-{len(drawn)}",
            f"{name}: difference to {found.baseline.label}",
            f"Distinguishable from zero: {', '.join(distinct) or 'none'}",
            "Dot: mean over common seeds; bar: 95 % interval; filled where it leaves out zero."
            if not drawn
            else "",
        )
        drawn.append(charts.interval_chart(words, own, f"{metric}, difference", reach))
    return drawn


def _reach(found: Comparison) -> float:
    """Half the axis of the differences: the widest interval, but no more than thrice the median."""
    ends = [abs(d.mean) + np.nan_to_num(d.half_width) for d in found.differences]
    ends = [end for end in ends if np.isfinite(end)]
    return 1.05 * min(max(ends), 3 * float(np.median(ends))) if any(ends) else 1.0


def _trend(found: Comparison, trend: Trend, place: int) -> Chart:
    shown = trend.series[: charts.MAX_LINES]
    caption = "Small dots: runs. Large: mean and standard deviation over seeds."
    if trend.fits:
        caption += " Curve: power law with the 95 % band of the curve."
    elif trend.problem:
        caption += f" No power law: {trend.problem}."
    if len(shown) < len(trend.series):
        caption += f" {len(shown)} of {len(trend.series)} series."
    words = Words(
        f"trend-{place}",
        f"{found.metric} against {trend.name}",
        f"{found.metric} over {number(len(shown[0].x), 'value')} of {trend.name}",
        caption,
    )
    return charts.trend_chart(
        words,
        shown,
        found.metric,
        xlabel=trend.key,
        log=trend.log,
        fits=trend.fits,
        best=None if is_loss(found.metric) else 100.0,
    )


def _curves(found: Comparison) -> list[Chart]:
    """Curves of the best settings, the baseline among them."""
    shown = found.ranked[: charts.MAX_LINES]
    if found.baseline is not None and found.baseline not in shown:
        shown = [*shown[:-1], found.baseline]
    caption = "Mean over seeds, band of one standard deviation."
    if len(shown) < len(found.groups):
        caption += f" {len(shown)} of {len(found.groups)} settings, the best."
    drawn = []
    for metric in curve_metrics(shown, found.metric):
        curves = [c for group in shown if (c := learning_curve(group, metric)) is not None]
        if any(len(curve.iterations) > 1 for curve in curves):
            ends = ", ".join(f"{c.label} ends at {c.mean[-1]:.4g}" for c in curves)
            words = Words(f"curve-{len(drawn)}", f"{metric} during training", ends, caption)
            drawn.append(charts.curve_chart(words, curves, metric))
    return drawn


def _cost(found: Comparison) -> list[Chart]:
    shown = found.ranked[: charts.MAX_LINES]
    per_run = [np.array([run.training_seconds for run in group.runs]) for group in shown]
    per_step = [np.array([run.iteration_seconds for run in group.runs]) for group in shown]
    if not np.isfinite(np.concatenate(per_run)).any():
        return []
    alt = ", ".join(
        f"{group.label} {np.nanmean(cost):.3g} s"
        for group, cost in zip(shown, per_run, strict=True)
        if np.isfinite(cost).any()
    )
    caption = "Means and standard deviations; evaluations apart. Other work on the machine counts."
    runs = Words("cost-run", f"{found.metric} against training time", alt, caption)
    steps = Words("cost-iteration", f"{found.metric} against the time of an iteration", alt, "")
    return [
        charts.cost_chart(runs, shown, per_run, found.metric, "seconds of training"),
        charts.cost_chart(steps, shown, per_step, found.metric, "seconds an iteration"),
    ]
