"""How many images would settle a difference, and what several seeds say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from project.evaluation.student_t import NORMAL, t_quantile

import numpy as np


def images_needed(
    difference: float,
    standard_error: float,
    num_images: int,
    *,
    power: float = 0.8,
    level: float = 0.95,
) -> int | None:
    """Images on which a test at 1 - ``level`` finds a difference as large as this one.

    If the true difference is the observed one, as many images of the same kind show it with
    probability ``power``: standard errors shrink with the square root of their number. An observed
    difference tends to be larger than the true one where it was looked for, so take it as the
    least. None for no difference, which no number of images settles.

    Args:
        difference, standard_error: of ``num_images`` images, in one unit.
    """
    if not 0 < power < 1 or not 0 < level < 1:
        raise ValueError(f"power and level must lie between 0 and 1, got {power} and {level}")
    if not math.isfinite(difference) or not math.isfinite(standard_error) or difference == 0:
        return None
    wanted = NORMAL.inv_cdf((1 + level) / 2) + NORMAL.inv_cdf(power)
    return max(1, math.ceil(num_images * (wanted * standard_error / difference) ** 2))


def half_width_at(half_width: float, num_images: int, images: int) -> float:
    """Half of an interval's width on ``images`` images, given it on ``num_images``."""
    if num_images < 1 or images < 1:
        raise ValueError(f"numbers of images must be at least 1, got {num_images} and {images}")
    return half_width * math.sqrt(num_images / images)


@dataclass(frozen=True)
class SeedSummary:
    """A metric over seeds, in the metric's unit; NaN where there are too few.

    Attributes:
        sd: standard deviation of single runs.
        low, high: Student's t interval of the mean, for training anew on the same data; which
            images were evaluated is not in it.
    """

    mean: float
    sd: float
    low: float
    high: float
    num_seeds: int

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return "–"
        if math.isnan(self.sd):
            return f"{self.mean:.1f} (one seed)"
        return f"{self.mean:.1f} ± {self.sd:.1f} ({self.num_seeds} seeds)"


def over_seeds(values: Sequence[float], *, level: float = 0.95) -> SeedSummary:
    """Mean, standard deviation and interval of one metric's values, NaN ones left out."""
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    count = len(known)
    if count < 2:
        mean = float(known[0]) if count else math.nan
        return SeedSummary(mean, math.nan, math.nan, math.nan, count)
    mean, sd = float(known.mean()), float(known.std(ddof=1))
    half = t_quantile((1 + level) / 2, count - 1) * sd / math.sqrt(count)
    return SeedSummary(mean, sd, mean - half, mean + half, count)
