"""How sure a metric is: intervals from resampling images.

The images are the sample: what is in one image is alike, so objects and detections are not
independent draws. A resample takes as many images as there are, with replacement, and counts their
matching records; nothing is matched again.

The interval is the expanded percentile interval (Hesterberg, "What teachers should know about the
bootstrap", 2015, section 5.4): the percentiles of the resampled metric, pushed out as Student's t
is against the normal distribution, and by sqrt(n / (n - 1)). Its n is not the number of images but
how many equal ones would tell as much (Kish's effective sample size of the objects or pixels that
images hold): one image may hold half of a class. It stays between 0 and 100 and needs no model.
`python tools/benchmark.py coverage` measures that it covers what it promises.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from project.evaluation.student_t import NORMAL, t_quantile

import numpy as np

MIN_IMAGES = 10  # with fewer, a class gets no interval
TOO_FEW = "too few images"
NO_OBJECTS = "no objects"
_BLOCK = 1 << 20  # images drawn at once, to bound memory


class ImageStatistic(Protocol):
    """Metrics as a function of how often each image counts.

    Attributes:
        image_ids: [N].
        class_names: K names; one name "" where there are no classes.
        metrics: M names.
        extent: [N, K], how much of a class an image holds, 0 for nothing.
        truth: [N, K], what must be equal in runs that are compared, or None.
    """

    image_ids: np.ndarray
    class_names: tuple[str, ...]
    metrics: tuple[str, ...]
    extent: np.ndarray
    truth: np.ndarray | None

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Values [B, M, K], 0-1, NaN where undefined, for weights [B, N]."""
        ...


@dataclass(frozen=True)
class Estimate:
    """A metric with its interval, in percent; NaN where there is none.

    Attributes:
        class_name: "" for the mean over classes (those that have objects).
        standard_error: standard deviation over the resamples.
        num_images: that hold something of the class, or of any class.
        note: "too few images" or "no objects" where there is no interval; for a mean, what limits
            its interval.
    """

    metric: str
    class_name: str
    value: float
    low: float
    high: float
    standard_error: float
    num_images: int
    note: str = ""

    def __str__(self) -> str:
        return format_interval(self.value, self.low, self.high, self.note)


@dataclass(frozen=True)
class Resampled:
    """The values of a statistic on the data and on resamples; the mean over classes comes first.

    Attributes:
        values: [M, 1 + K], or [M, 1] without classes, 0-1.
        samples: [B, M, 1 + K].
        seed: of the resamples: two runs resampled with the same seed hold the same images.
    """

    statistic: ImageStatistic
    values: np.ndarray
    samples: np.ndarray
    seed: int

    @property
    def columns(self) -> tuple[str, ...]:
        """Class names of the columns, "" for the mean."""
        names = self.statistic.class_names
        return ("",) if names == ("",) else ("", *names)


def resample(statistic: ImageStatistic, *, num_resamples: int = 1000, seed: int = 0) -> Resampled:
    """The statistic on the data, and on ``num_resamples`` (at least 2) resamples of its images.

    A class that a resample lacks has no value there; the resample's mean is over the others, as the
    metric itself would be on such a dataset.
    """
    if num_resamples < 2:
        raise ValueError(f"num_resamples must be at least 2, got {num_resamples}")
    num_images = len(statistic.image_ids)
    weights = draw_weights(num_images, num_resamples, seed)
    values = with_mean(statistic, statistic(np.ones((1, num_images), np.int32)))[0]
    return Resampled(statistic, values, with_mean(statistic, statistic(weights)), seed)


def draw_weights(num_images: int, num_resamples: int, seed: int) -> np.ndarray:
    """How often each image comes in each resample: int32 [B, N], rows that sum to N."""
    generator = np.random.default_rng(seed)
    weights = np.empty((num_resamples, num_images), np.int32)
    block = max(1, _BLOCK // max(num_images, 1))
    for start in range(0, num_resamples, block):
        rows = weights[start : start + block]
        drawn = generator.integers(num_images, size=rows.shape)
        drawn += num_images * np.arange(len(rows))[:, None]  # a range of its own for each resample
        rows[:] = np.bincount(drawn.ravel(), minlength=rows.size).reshape(rows.shape)
    return weights


def with_mean(statistic: ImageStatistic, values: np.ndarray) -> np.ndarray:
    """Values [B, M, K] with the mean over defined classes before them; alone without classes."""
    if statistic.class_names == ("",):
        return values
    known = np.isfinite(values)
    count = known.sum(axis=2, keepdims=True)
    total = np.where(known, values, 0).sum(axis=2, keepdims=True)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return np.concatenate([mean, values], axis=2)


def estimate(
    statistic: ImageStatistic, *, num_resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> list[Estimate]:
    """Every metric's mean over classes, then each class's, with intervals of the given level."""
    return estimates(resample(statistic, num_resamples=num_resamples, seed=seed), level=level)


def estimates(resampled: Resampled, *, level: float = 0.95) -> list[Estimate]:
    """`estimate` of what is resampled already."""
    counts = image_counts(resampled)
    effective = effective_counts(resampled.statistic.extent, resampled.samples)
    notes = _notes(resampled, counts)
    found = []
    for m, metric in enumerate(resampled.statistic.metrics):
        for k, class_name in enumerate(resampled.columns):
            samples = resampled.samples[:, m, k]
            low = high = error = math.nan
            if notes[k] not in (TOO_FEW, NO_OBJECTS):
                low, high = percentile_interval(samples, effective[m, k], level)
                error = standard_error(samples)
            value = float(resampled.values[m, k])
            numbers = [100 * number for number in (value, low, high, error)]
            found.append(Estimate(metric, class_name, *numbers, counts[k], notes[k]))
    return found


def image_counts(resampled: Resampled) -> list[int]:
    """In how many images each column has something: any class for the mean."""
    present = resampled.statistic.extent > 0
    anything = int(present.any(axis=1).sum())
    return [anything, *present.sum(axis=0).tolist()][: len(resampled.columns)]


def _notes(resampled: Resampled, counts: Sequence[int]) -> list[str]:
    notes = [NO_OBJECTS if n == 0 else TOO_FEW if n < MIN_IMAGES else "" for n in counts]
    rare = sum(note == TOO_FEW for note in notes[1:])
    if rare and not notes[0]:
        classes = "class is" if rare == 1 else "classes are"
        notes[0] = f"{rare} {classes} in fewer than {MIN_IMAGES} images"
    return notes


def effective_counts(extent: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """How many equal images would tell as much: [M, 1 + K] for samples of that many columns.

    A class's is Kish's (sum of extents)² / (sum of their squares). The mean's follows from the
    variances of the classes, by Satterthwaite's degrees of freedom. At least 2, so that the
    interval exists.
    """
    largest = np.maximum(extent.max(axis=0, initial=0), 1)
    share = extent / largest  # pixels squared and summed would be large numbers
    square = np.maximum((share**2).sum(axis=0), 1e-300)
    classes = np.maximum(share.sum(axis=0) ** 2 / square, 2.0)
    if samples.shape[2] == extent.shape[1]:  # no classes, no mean
        return np.tile(classes, (samples.shape[1], 1))
    defined = np.isfinite(samples[:, :, 1:]).sum(axis=0) > 1
    variance = np.zeros(defined.shape)
    variance[defined] = np.nanvar(samples[:, :, 1:][:, defined], axis=0, ddof=1)
    total = variance.sum(axis=1) ** 2
    parts = (variance**2 / (classes - 1)).sum(axis=1)
    mean = np.where(parts > 0, 1 + total / np.where(parts > 0, parts, 1), classes.sum())
    return np.column_stack([np.maximum(mean, 2.0), np.tile(classes, (len(mean), 1))])


def percentile_interval(
    samples: np.ndarray, effective_count: float, level: float = 0.95
) -> tuple[float, float]:
    """The expanded percentile interval of resampled values [B]; undefined ones (NaN) are left out.

    Ends further out than the resamples reach are the outermost resamples.
    """
    samples = samples[np.isfinite(samples)]
    if not len(samples):
        return math.nan, math.nan
    tail = NORMAL.cdf(-widening(effective_count) * t_quantile((1 + level) / 2, effective_count - 1))
    # Weibull's positions: a new draw lies below the estimated quantile with the asked probability.
    low, high = np.quantile(samples, [tail, 1 - tail], method="weibull")
    return float(low), float(high)


def standard_error(samples: np.ndarray) -> float:
    """Standard deviation of the resampled values that are defined; NaN for fewer than two."""
    samples = samples[np.isfinite(samples)]
    return float(samples.std(ddof=1)) if len(samples) > 1 else math.nan


def widening(effective_count: float) -> float:
    """What a bootstrap's standard deviation lacks: it divides by n, not by n - 1."""
    return math.sqrt(effective_count / (effective_count - 1))


def format_interval(value: float, low: float, high: float, note: str = "") -> str:
    """ "32.1 [29.8, 34.6]", "32.1 (too few images)", or "–" for a metric that isn't defined."""
    if math.isnan(value):
        return "–"
    if math.isnan(low):
        return f"{value:.1f} ({note})" if note else f"{value:.1f}"
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def plain(record: object) -> dict:
    """A result's fields for JSON: what isn't a number becomes None."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in asdict(record).items()
    }
