"""Which settings runs have: the keys in which they differ; runs that differ by seed only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from project.errors import UserError, unknown_name
from project.experiments.plan import short_keys, value_text
from project.experiments.runs import IGNORED, RunRecord

import numpy as np


@dataclass(frozen=True)
class Group:
    """The runs of one setting, by seed.

    Attributes:
        label: the setting in a few words, unique among the groups.
        values: varied key → this setting's value.
    """

    label: str
    values: Mapping[str, Any]
    runs: Sequence[RunRecord]

    def numbers(self, metric: str) -> np.ndarray:
        """The metric of each run, float64 [n], NaN where it has none."""
        return np.array([run.results.get(metric, math.nan) for run in self.runs], float)

    def mean(self, metric: str) -> float:
        """Mean over the runs that have the metric; NaN without any."""
        return mean_sd(self.numbers(metric))[0]


def mean_sd(numbers: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation (n - 1) of the numbers that are finite; NaN where undefined."""
    found = numbers[np.isfinite(numbers)]
    mean = float(found.mean()) if len(found) else math.nan
    return mean, float(found.std(ddof=1)) if len(found) > 1 else math.nan


def check_comparable(runs: Sequence[RunRecord]) -> None:
    """Raise a `UserError` for runs whose numbers don't mean the same."""
    first = runs[0]
    for run in runs:
        if run.data != first.data:
            raise UserError(
                f"{first.folder} is evaluated on {first.data} and {run.folder} on {run.data}; "
                f"metrics of different data can't be compared"
            )
        if (a := class_metrics(first.results)) != (b := class_metrics(run.results)):
            raise UserError(
                f"{first.folder} has results for {', '.join(a) or 'no class'} and {run.folder} for "
                f"{', '.join(b) or 'no class'}; runs on different classes can't be compared"
            )


def class_metrics(results: Mapping[str, float], task: str | None = None) -> list[str]:
    """The per-class metrics among the results, of one task ("segm") or of all."""
    return [
        key
        for key in results
        if key.split("/")[-1].startswith("AP-") and task in (None, key.split("/")[0])
    ]


def varied_keys(runs: Sequence[RunRecord]) -> list[str]:
    """The keys in which the runs differ: those that their sweep names, else of their configs."""
    if all(run.columns is not None for run in runs):
        keys = list(dict.fromkeys(key for run in runs for key in run.columns))
        return [k for k in keys if len({value_text(_value(run, k)) for run in runs}) > 1]
    known = dict.fromkeys(key for run in runs for key in run.config)
    return [
        key
        for key in known
        if not _is_ignored(key) and len({value_text(run.config.get(key)) for run in runs}) > 1
    ]


def _value(run: RunRecord, key: str) -> Any:
    """A varied key's value: what the run's config says, or its sweep of a named setting."""
    if key in run.config:
        return run.config[key]
    return (run.columns or {}).get(key)


def unlike_keys(group: Group) -> list[str]:
    """Keys in which the configs of a setting's runs differ: those of one sweep have none.

    Runs of two sweeps may bear one name and be different settings.
    """
    first, *others = [run.config for run in group.runs]
    keys = dict.fromkeys(key for config in (first, *others) for key in config)
    return [
        key
        for key in keys
        if not _is_ignored(key) and any(config.get(key) != first.get(key) for config in others)
    ]


def _is_ignored(key: str) -> bool:
    return any(key == ignored or key.startswith(f"{ignored}.") for ignored in IGNORED)


def group_runs(runs: Sequence[RunRecord]) -> list[Group]:
    """The runs grouped by setting, in the order of their first; seeds ascend.

    Raises:
        UserError: if two runs have the same setting and seed.
    """
    check_comparable(runs)
    keys = varied_keys(runs)
    short = short_keys(keys)
    grouped: dict[str, list[RunRecord]] = {}
    for run in runs:
        grouped.setdefault(value_text([_value(run, k) for k in keys]), []).append(run)
    groups = []
    for members in grouped.values():
        members.sort(key=lambda run: run.seed)
        for a, b in zip(members, members[1:], strict=False):
            if a.seed == b.seed:
                raise UserError(
                    f"{a.folder} and {b.folder} have the same setting and the same seed "
                    f"{a.seed}; leave one of them out"
                )
        values = {key: _value(members[0], key) for key in keys}
        groups.append(Group(_label(values, short, members[0]), values, members))
    return _sorted(groups, keys)


def _label(values: Mapping[str, Any], short: Mapping[str, str], run: RunRecord) -> str:
    """The setting in words; a name stands alone, a config key with its value."""
    if not values:
        return run.folder.name
    words = [
        f"{short[key]} {value_text(value)}" if key in run.config else value_text(value)
        for key, value in values.items()
    ]
    return ", ".join(words) if len(words) <= 4 else f"{run.folder.name}"


def _sorted(groups: list[Group], keys: Sequence[str]) -> list[Group]:
    """By the varied numbers, where all that varies are numbers; else in the order given."""
    if keys and all(is_number(g.values[k]) for g in groups for k in keys):
        return sorted(groups, key=lambda g: [g.values[k] for k in keys])
    return groups


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def find_group(groups: Sequence[Group], name: str) -> Group:
    """The group with a label, or whose setting has that name.

    Raises:
        UserError: if there is none.
    """
    for group in groups:
        if name == group.label or name in [run.folder.name for run in group.runs]:
            return group
    raise UserError(unknown_name("setting", name, [group.label for group in groups]))


@dataclass(frozen=True)
class Series:
    """The settings that differ in one number only.

    Attributes:
        label: what they have in common, "" where nothing else varies.
        x: the numbers, ascending.
        groups: their settings.
    """

    label: str
    x: Sequence[float]
    groups: Sequence[Group]


def series_over(groups: Sequence[Group], key: str, least: int = 2) -> list[Series]:
    """The settings as series over ``key``, those of at least ``least`` different numbers."""
    others: dict[str, list[Group]] = {}
    for group in groups:
        if is_number(group.values.get(key)):
            rest = {k: v for k, v in group.values.items() if k != key}
            others.setdefault(value_text(rest), []).append(group)
    found = []
    for members in others.values():
        members.sort(key=lambda g: g.values[key])
        if len(members) >= least:
            rest = {k: v for k, v in members[0].values.items() if k != key}
            label = ""
            if len(others) > 1:
                label = _label(rest, short_keys(list(rest)), members[0].runs[0]) if rest else ""
            found.append(Series(label, [g.values[key] for g in members], members))
    return found
