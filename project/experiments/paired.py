"""Differences to a baseline over the seeds that both have, with Student's t interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from project.experiments.groups import Group

import numpy as np


@dataclass(frozen=True)
class Difference:
    """How far a setting's metric lies from the baseline's, seed by seed.

    Attributes:
        num_seeds: seeds for which both have the metric.
        mean: NaN without a common seed.
        half_width: of the interval; NaN with fewer than two seeds.
    """

    setting: str
    metric: str
    num_seeds: int
    mean: float
    half_width: float

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width

    @property
    def is_distinct(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def difference(group: Group, baseline: Group, metric: str, level: float = 0.95) -> Difference:
    """The paired difference of a setting to the baseline.

    Pairing takes out what a seed does to both alike: initial weights, order of the images.
    """
    ours, theirs = _by_seed(group, metric), _by_seed(baseline, metric)
    seeds = sorted(ours.keys() & theirs.keys())
    gaps = np.array([ours[seed] - theirs[seed] for seed in seeds])
    mean = float(gaps.mean()) if len(gaps) else math.nan
    return Difference(group.label, metric, len(gaps), mean, half_width(gaps, level))


def half_width(numbers: np.ndarray, level: float = 0.95) -> float:
    """Half of the t interval of the mean of independent numbers; NaN for fewer than two."""
    count = len(numbers)
    if count < 2:
        return math.nan
    return t_quantile((1 + level) / 2, count - 1) * float(numbers.std(ddof=1)) / math.sqrt(count)


def _by_seed(group: Group, metric: str) -> dict[int, float]:
    numbers = zip(group.runs, group.numbers(metric).tolist(), strict=True)
    return {run.seed: number for run, number in numbers if math.isfinite(number)}


def differences(
    groups: Sequence[Group], baseline: Group, metrics: Sequence[str]
) -> list[Difference]:
    """Every other setting's difference to the baseline, in each metric."""
    others = [group for group in groups if group is not baseline]
    return [difference(group, baseline, metric) for group in others for metric in metrics]


def t_cdf(t: float, freedom: int) -> float:
    """P(T <= t) of Student's distribution for whole degrees of freedom, in closed form.

    Abramowitz and Stegun (1964), 26.7.3 and 26.7.4: a finite sum in the powers of cos² of
    theta = atan(t / sqrt(freedom)).
    """
    if freedom < 1:
        raise ValueError(f"degrees of freedom must be at least 1, got {freedom}")
    theta = math.atan(t / math.sqrt(freedom))
    square = math.cos(theta) ** 2
    odd = freedom % 2
    term, total = 1.0, 0.0
    for k in range(odd, freedom - 1, 2):
        total += term
        term *= square * (k + 1) / (k + 2)
    if odd:
        central = 2 / math.pi * (theta + math.sin(theta) * math.cos(theta) * total)
    else:
        central = math.sin(theta) * total
    return 0.5 + 0.5 * central


def t_quantile(probability: float, freedom: int) -> float:
    """The t that `t_cdf` maps to ``probability`` (between 0 and 1), to 1e-10."""
    if not 0 < probability < 1:
        raise ValueError(f"probability must lie between 0 and 1, got {probability}")
    if probability < 0.5:
        return -t_quantile(1 - probability, freedom)
    low, high = 0.0, 1.0
    while t_cdf(high, freedom) < probability:
        high *= 2
    while high - low > 1e-10 * max(high, 1):
        middle = (low + high) / 2
        if t_cdf(middle, freedom) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2
