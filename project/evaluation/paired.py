"""Two runs on the same images: is the difference more than which images happened to be there?

Both runs are resampled with the same images, so that what makes an image hard for both drops out.
The interval is `uncertainty`'s, and the p-value belongs to it: it is below 5 % where the 95 %
interval leaves out zero (to within one resample).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from project.errors import UserError
from project.evaluation.sample_size import images_needed
from project.evaluation.student_t import NORMAL, t_cdf
from project.evaluation.uncertainty import (
    MIN_IMAGES,
    NO_OBJECTS,
    TOO_FEW,
    ImageStatistic,
    Resampled,
    effective_counts,
    image_counts,
    percentile_interval,
    resample,
    standard_error,
    widening,
)

import numpy as np


@dataclass(frozen=True)
class Difference:
    """How much higher the second run lies, in percentage points; NaN where there is no figure.

    Attributes:
        class_name: "" for the mean over classes.
        first, second: the metric in each run, percent.
        p_value: 0-1, of a difference at least this far from zero if there were none; it can't fall
            below what the number of resamples tells apart.
        adjusted_p: Holm's, over the classes of a metric: one of twenty classes would look
            different by chance. A mean's is its p-value.
        images_needed: see `sample_size.images_needed`; None where the runs don't differ.
        num_images: that hold something of the class, or of any class.
        note: "too few images" or "no objects" where there is no interval.
    """

    metric: str
    class_name: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    standard_error: float
    p_value: float
    adjusted_p: float
    images_needed: int | None
    num_images: int
    note: str = ""

    def __str__(self) -> str:
        if math.isnan(self.difference):
            return "–"
        if math.isnan(self.low):
            return f"{self.difference:+.1f} ({self.note})"
        return f"{self.difference:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


def compare(
    first: ImageStatistic,
    second: ImageStatistic,
    *,
    num_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> list[Difference]:
    """Every metric's difference, second minus first: the mean over classes, then each class.

    Raises:
        UserError: if the runs weren't evaluated on the same images, classes and objects.
    """
    check_same_data(first, second)
    runs = [resample(run, num_resamples=num_resamples, seed=seed) for run in (first, second)]
    return differences(*runs, level=level)


def differences(first: Resampled, second: Resampled, *, level: float = 0.95) -> list[Difference]:
    """`compare` of what is resampled already, with one seed and as many resamples.

    Raises:
        UserError: see `compare`.
    """
    check_same_data(first.statistic, second.statistic)
    if first.seed != second.seed or first.samples.shape != second.samples.shape:
        raise ValueError("the runs were resampled with different seeds or numbers of resamples")
    samples = second.samples - first.samples
    extent = (first.statistic.extent + second.statistic.extent) / 2
    effective = effective_counts(extent, samples)
    found = []
    for m, metric in enumerate(first.statistic.metrics):
        rows = [
            _difference(first, second, samples[:, m, k], effective[m, k], (m, k), level)
            for k in range(len(first.columns))
        ]
        adjusted = holm([row.p_value for row in rows[1:]])
        found.append(replace(rows[0], metric=metric))
        found += [
            replace(row, metric=metric, adjusted_p=p)
            for row, p in zip(rows[1:], adjusted, strict=True)
        ]
    return found


def _difference(
    first: Resampled,
    second: Resampled,
    samples: np.ndarray,
    effective: float,
    at: tuple[int, int],
    level: float,
) -> Difference:
    """One row, its metric's name and adjusted p-value left to the caller."""
    count = min(image_counts(run)[at[1]] for run in (first, second))
    note = NO_OBJECTS if count == 0 else TOO_FEW if count < MIN_IMAGES else ""
    ours, theirs = float(first.values[at]), float(second.values[at])
    gap = theirs - ours
    low = high = error = p_value = math.nan
    needed = None
    if not note:
        low, high = percentile_interval(samples, effective, level)
        error = standard_error(samples)
        p_value = percentile_p_value(samples, effective)
        needed = images_needed(gap, error, len(first.statistic.image_ids), level=level)
    percent = (100 * number for number in (ours, theirs, gap, low, high, error))
    return Difference("", first.columns[at[1]], *percent, p_value, p_value, needed, count, note)


def percentile_p_value(samples: np.ndarray, effective_count: float) -> float:
    """The level at which the expanded percentile interval of differences [B] just reaches zero.

    Differences of exactly zero count half on either side: identical runs have p = 1. NaN without a
    difference that is defined, as of the precision of a class that nothing was taken for.
    """
    samples = samples[np.isfinite(samples)]
    if not len(samples):
        return math.nan
    above = np.count_nonzero(samples > 0) + np.count_nonzero(samples == 0) / 2
    beyond = min(above, len(samples) - above)
    # Weibull's positions, as for the interval: zero lies between two of the samples.
    tail = (beyond + 0.5) / (len(samples) + 1)
    t = NORMAL.inv_cdf(tail) / widening(effective_count)
    return min(1.0, 2 * t_cdf(t, effective_count - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values; NaN stays NaN and counts for nothing."""
    values = np.asarray(p_values, np.float64)
    adjusted = np.full(len(values), np.nan)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    scaled = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return adjusted.tolist()


def check_same_data(first: ImageStatistic, second: ImageStatistic) -> None:
    """Raise `UserError` that names the first image, class or count in which the runs differ."""
    if first.metrics != second.metrics:
        raise UserError(f"the runs have different metrics: {first.metrics} and {second.metrics}")
    if first.class_names != second.class_names:
        raise UserError(
            f"the runs have different classes: {', '.join(first.class_names)} and "
            f"{', '.join(second.class_names)}; compare runs on one dataset"
        )
    ids = [run.image_ids for run in (first, second)]
    for here, there, name in ((*ids, "first"), (*ids[::-1], "second")):
        lone = here[~np.isin(here, there)]
        if len(lone):
            raise UserError(
                f"the runs were evaluated on different images: image {lone[0]} is in the {name} "
                f"run only (the runs have {len(ids[0])} and {len(ids[1])} images); "
                f"evaluate both on one dataset"
            )
    if len(ids[0]) != len(ids[1]) or (unequal := np.flatnonzero(ids[0] != ids[1])).size:
        at = unequal[0] if len(ids[0]) == len(ids[1]) else min(map(len, ids))
        raise UserError(
            f"the runs list their images in different order, first at place {at + 1}; "
            f"evaluate both on one annotation file"
        )
    if first.truth is not None and second.truth is not None:
        _check_same_truth(first, second)


def _check_same_truth(first: ImageStatistic, second: ImageStatistic) -> None:
    unequal = np.argwhere(np.asarray(first.truth) != np.asarray(second.truth))
    if len(unequal):
        image, k = unequal[0]
        raise UserError(
            f"the runs were evaluated against different labels: image {first.image_ids[image]} "
            f"has {first.truth[image, k]:g} of class {first.class_names[k]!r} in the first run "
            f"and {second.truth[image, k]:g} in the second; evaluate both on one annotation file"
        )
