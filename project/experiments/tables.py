"""A comparison's numbers as tables of the page and rows of CSV files."""

from __future__ import annotations

import math
from collections.abc import Sequence

from project.experiments.compare import Comparison
from project.experiments.groups import Group, mean_sd
from project.experiments.plan import short_keys, value_text
from project.experiments.words import class_name
from project.visualization.page import Column, Table

import numpy as np


def setting_table(found: Comparison) -> Table:
    """Every setting with the metric, each class's, and its cost; best first."""
    metrics = [found.metric, *(m for m in found.class_metrics if m != found.metric)]
    columns = [Column("setting"), Column("seeds"), Column(found.metric)]
    columns += [Column(class_name(m), m) for m in metrics[1:]]
    columns += [
        Column("s / iteration", "median of each run"),
        Column("s of training", "evaluations apart"),
    ]
    rows = []
    for group in found.ranked:
        row = [group.label, str(len(group.runs)), *(_mean_sd(group, m) for m in metrics)]
        speed = mean_sd(np.array([run.iteration_seconds for run in group.runs]))[0]
        cost = mean_sd(np.array([run.training_seconds for run in group.runs]))[0]
        rows.append([*row, _number(speed, ".3g"), _number(cost, ",.0f")])
    return Table("Mean ± standard deviation over seeds, best first", columns, rows)


def _mean_sd(group: Group, metric: str) -> str:
    mean, spread = mean_sd(group.numbers(metric))
    form = ".1f" if abs(mean) >= 1 or math.isnan(mean) else ".3g"
    text = _number(mean, form)
    return text if math.isnan(spread) else f"{text} ± {_number(spread, form)}"


def _number(value: float, form: str) -> str:
    return "–" if math.isnan(value) else format(value, form)


def difference_table(found: Comparison) -> Table:
    """Each setting's difference to the baseline, the interval below zero, above it, or around."""
    settings = list(dict.fromkeys(d.setting for d in found.differences))
    metrics = list(dict.fromkeys(d.metric for d in found.differences))
    cells = {(d.setting, d.metric): d for d in found.differences}
    columns = [Column("setting"), Column("seeds")]
    columns += [Column(m if m == found.metric else class_name(m), m) for m in metrics]
    rows = []
    for setting in settings:
        own = [cells[setting, metric] for metric in metrics]
        rows.append([setting, str(own[0].num_seeds), *map(_difference, own)])
    caption = (
        f"Difference to {found.baseline.label}, mean over common seeds ± half of the 95 % "
        f"interval; * leaves out zero"
    )
    return Table(caption, columns, rows)


def _difference(item) -> str:
    if math.isnan(item.mean):
        return "–"
    if math.isnan(item.half_width):
        return f"{item.mean:+.1f}"
    return f"{item.mean:+.1f} ± {item.half_width:.1f}{' *' * item.is_distinct}"


def run_table(found: Comparison) -> Table:
    """Every run."""
    columns = [Column("run"), Column("setting"), Column("seed"), Column("iterations")]
    columns.append(Column(found.metric))
    rows = [
        [
            run.folder.name,
            group.label,
            str(run.seed),
            f"{run.iterations:,}",
            _number(run.results.get(found.metric, math.nan), ".4g"),
        ]
        for group in found.groups
        for run in group.runs
    ]
    return Table("The runs", columns, rows)


def run_rows(found: Comparison) -> list[dict]:
    """Every run with all its metrics."""
    return [
        {
            "run": run.folder.name,
            "setting": group.label,
            **_values(group),
            "seed": run.seed,
            "iterations": run.iterations,
            "iteration_seconds": run.iteration_seconds,
            "training_seconds": run.training_seconds,
            **run.results,
        }
        for group in found.groups
        for run in group.runs
    ]


def _values(group: Group) -> dict[str, str]:
    """The varied config keys, with the names that tell them apart."""
    in_config = {k: v for k, v in group.values.items() if k in group.runs[0].config}
    short = short_keys(list(in_config))
    return {short[key]: value_text(value) for key, value in in_config.items()}


def setting_rows(found: Comparison) -> list[dict]:
    """Every setting: mean, standard deviation and number of each metric."""
    metrics = list(dict.fromkeys(name for run in found.runs for name in run.results))
    rows = []
    for group in found.groups:
        for metric in metrics:
            values = group.numbers(metric)
            mean, spread = mean_sd(values)
            count = int(np.isfinite(values).sum())
            row = {"setting": group.label, **_values(group), "metric": metric}
            rows.append({**row, "seeds": count, "mean": mean, "sd": spread})
    return rows


def difference_rows(found: Comparison) -> list[dict]:
    """Every paired difference to the baseline."""
    return [
        {
            "setting": d.setting,
            "baseline": found.baseline.label,
            "metric": d.metric,
            "seeds": d.num_seeds,
            "difference": d.mean,
            "low": d.low,
            "high": d.high,
            "distinct": int(d.is_distinct),
        }
        for d in found.differences
    ]


def power_law_rows(found: Comparison) -> list[dict]:
    """Every fitted curve: error = a + b * (images / scale)^-c, with 95 % intervals."""
    rows = []
    for trend in found.trends:
        for label, fit in trend.fits.items():
            row = {"setting": label, "metric": found.metric, "scale": fit.scale}
            for name in "abc":
                low, high = fit.interval(name) or (math.nan, math.nan)
                row |= {name: getattr(fit, name), f"{name}_low": low, f"{name}_high": high}
            rows.append({**row, "spread": fit.spread})
    return rows


def finite(rows: Sequence[dict]) -> list[dict]:
    """Rows for a CSV file: 6 digits, and nothing where there is no number."""
    return [{key: _cell(value) for key, value in row.items()} for row in rows]


def _cell(value):
    if not isinstance(value, float):
        return value
    return f"{value:.6g}" if math.isfinite(value) else ""
