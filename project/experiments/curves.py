"""How metrics went during training: mean over seeds, band of one standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from project.experiments.groups import Group
from project.experiments.runs import RunRecord

import numpy as np

MAX_POINTS = 120  # a chart of 330 units shows no more


@dataclass(frozen=True)
class Curve:
    """A setting's metric over the iterations, arrays of one length.

    ``low`` and ``high`` are the mean less and plus one standard deviation; of one seed, the mean.
    """

    label: str
    iterations: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def run_curve(run: RunRecord, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """(iterations done, values) at which a run wrote the metric as a number."""
    rows = [(row["iteration"] + 1, row[metric]) for row in run.metrics if _has(row, metric)]
    pairs = np.array(rows, float).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _has(row, metric: str) -> bool:
    value = row.get(metric)
    return isinstance(value, int | float) and bool(np.isfinite(value))


def learning_curve(group: Group, metric: str) -> Curve | None:
    """The setting's curve at the iterations that all its runs wrote; None where there is none.

    A curve of many points is averaged in bins, as single batches' losses say little.
    """
    curves = [run_curve(run, metric) for run in group.runs]
    shared = set(curves[0][0].tolist()).intersection(*(set(x.tolist()) for x, _ in curves))
    if not shared:
        return None
    x = np.array(sorted(shared))
    values = np.stack([y[np.isin(steps, x)] for steps, y in curves])  # [runs, points]
    x, values = _binned(x, values)
    mean = values.mean(0)
    spread = values.std(0, ddof=1) if len(values) > 1 else np.zeros_like(mean)
    return Curve(group.label, x, mean, mean - spread, mean + spread)


def _binned(x: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(x) <= MAX_POINTS:
        return x, values
    edges = np.linspace(0, len(x), MAX_POINTS + 1).astype(int)[:-1]
    counts = np.diff(np.append(edges, len(x)))
    return (
        np.add.reduceat(x, edges) / counts,
        np.add.reduceat(values, edges, axis=1) / counts,
    )


def curve_metrics(groups: Sequence[Group], metric: str) -> list[str]:
    """What there are curves of: the compared metric, the training losses, the validation losses."""
    written = dict.fromkeys(k for g in groups for r in g.runs for row in r.metrics for k in row)
    losses = [k for k in written if "loss" in k.lower()]
    totals = [k for k in losses if "total" in k.lower()]
    return [metric] * (metric in written) + (totals or losses[:4])
