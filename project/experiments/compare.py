"""The comparison of runs: what is said, in charts, tables and words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from project.errors import UserError, unknown_name
from project.experiments.groups import (
    Group,
    Series,
    class_metrics,
    find_group,
    group_runs,
    series_over,
)
from project.experiments.paired import Difference, differences
from project.experiments.plan import short_keys
from project.experiments.power_law import PowerLaw, fit_power_law
from project.experiments.runs import RunRecord, find_runs, read_run

import numpy as np

SIZE_KEY = re.compile(r"(^|\.)num_images$")  # what a power law is fitted over


@dataclass(frozen=True)
class Trend:
    """A metric over one varied number.

    Attributes:
        fits: series' label → its power law, where the number is a data set size.
        problem: why there is no power law, or "".
    """

    key: str
    name: str
    series: Sequence[Series]
    fits: Mapping[str, PowerLaw] = field(default_factory=dict)
    problem: str = ""

    @property
    def log(self) -> bool:
        """Whether a logarithmic axis shows the numbers better."""
        numbers = [x for line in self.series for x in line.x]
        return min(numbers) > 0 and max(numbers) / min(numbers) >= 6


@dataclass(frozen=True)
class Comparison:
    """Runs grouped by setting, and what follows from them.

    Attributes:
        metric: what is compared.
        baseline: None where there is none to compare to.
        differences: of each other setting to the baseline: the metric, then each class's.
        unfinished: run folders without results, left out.
    """

    metric: str
    groups: Sequence[Group]
    keys: Sequence[str]
    baseline: Group | None
    differences: Sequence[Difference]
    trends: Sequence[Trend]
    unfinished: Sequence[Path]

    @property
    def runs(self) -> list[RunRecord]:
        return [run for group in self.groups for run in group.runs]

    @property
    def class_metrics(self) -> list[str]:
        """The per-class metrics of the metric's task."""
        return class_metrics(self.runs[0].results, self.metric.split("/")[0])

    @property
    def best(self) -> Group:
        """The setting of the best mean."""
        sign = -1 if is_loss(self.metric) else 1
        known = [g for g in self.groups if np.isfinite(g.mean(self.metric))]
        return max(known, key=lambda group: sign * group.mean(self.metric))

    @property
    def ranked(self) -> list[Group]:
        """The settings, best mean first; those without the metric last."""
        sign = 1 if is_loss(self.metric) else -1
        means = [sign * g.mean(self.metric) for g in self.groups]
        return [self.groups[i] for i in np.argsort(np.nan_to_num(means, nan=np.inf), kind="stable")]


def is_loss(metric: str) -> bool:
    """Whether less is better."""
    return "loss" in metric.lower()


def compare(
    paths: Sequence[str | Path],
    *,
    metric: str = "segm/AP",
    baseline: str = "",
    trust: bool = False,
) -> Comparison:
    """The comparison of the finished runs in ``paths``: run folders, or folders of them.

    Args:
        baseline: a setting's label, or one of its run folders' names; "" takes the first setting
            where all runs belong to a sweep of named settings, and none elsewhere.
        trust: see `project.engine.config.load_run`.

    Raises:
        UserError: if there is nothing to compare, or what there is can't be compared.
    """
    finished, unfinished = find_runs(paths)
    runs = [read_run(folder, trust=trust) for folder in finished]
    groups = group_runs(runs)
    known = sorted({name for run in runs for name in run.results})
    if metric not in known:
        raise UserError(unknown_name("metric", metric, known))
    if not any(np.isfinite(group.mean(metric)) for group in groups):
        raise UserError(f"metric {metric} is defined in no run; choose another with --metric")
    base = find_group(groups, baseline) if baseline else _first_named(groups)
    classes = class_metrics(runs[0].results, metric.split("/")[0])
    metrics = [metric, *(name for name in classes if name != metric)]
    return Comparison(
        metric=metric,
        groups=groups,
        keys=list(groups[0].values),
        baseline=base,
        differences=differences(groups, base, metrics) if base is not None else [],
        trends=find_trends(groups, metric),
        unfinished=unfinished,
    )


def _first_named(groups: Sequence[Group]) -> Group | None:
    """The first setting, where settings are named; their order is the sweep file's."""
    named = [key for key in groups[0].values if key not in groups[0].runs[0].config]
    return groups[0] if named and len(groups[0].values) == 1 and len(groups) > 1 else None


def find_trends(groups: Sequence[Group], metric: str) -> list[Trend]:
    """A trend for each varied key in whose numbers some settings differ, and in nothing else."""
    keys = list(groups[0].values)
    found = []
    for key in keys:
        series = [s for s in series_over(groups, key) if _known(s, metric)]
        if series and SIZE_KEY.search(key):
            found.append(Trend(key, "training images", series, *_fits(series, metric)))
        elif series:
            found.append(Trend(key, short_keys(keys)[key], series))
    return found


def _known(series: Series, metric: str) -> bool:
    return sum(bool(np.isfinite(group.mean(metric))) for group in series.groups) >= 2


def _fits(series: Sequence[Series], metric: str) -> tuple[dict[str, PowerLaw], str]:
    """Each series' power law, and why those without one have none."""
    fits, problem = {}, ""
    for line in series:
        numbers = [group.numbers(metric) for group in line.groups]
        sizes = np.repeat(line.x, [len(values) for values in numbers])
        values = np.concatenate(numbers)
        known = np.isfinite(values)
        try:
            fits[line.label] = fit_power_law(sizes[known], as_error(values[known], metric))
        except UserError as error:
            problem = str(error)
    return fits, problem


def as_error(values: np.ndarray, metric: str) -> np.ndarray:
    """A metric as what is missing to perfection: 100 - AP; a loss is one already."""
    return values if is_loss(metric) else 100 - values
