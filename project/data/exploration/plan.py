"""What each class gets under each sampling scheme, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from project.data.sampler import EffectiveNumber, InverseFrequency, RepeatFactors, Scheme
from project.data.statistics import ClassStatistics

import numpy as np

# Named by what they do; None is plain sampling.
SCHEMES: dict[str, Scheme | None] = {
    "plain": None,
    "repeat factors": RepeatFactors(threshold=0.1),
    "square root": InverseFrequency(power=0.5),
    "effective number": EffectiveNumber(beta=0.999),
    "inverse": InverseFrequency(power=1.0),
}


@dataclass(frozen=True, eq=False)
class SamplingPlan:
    """S schemes beside each other.

    Attributes:
        schemes: their names.
        images: float64 [S, K], percent of the drawn images that show each class.
        instances: float64 [S, K], percent of the drawn objects that are of each class.
        most_repeated: float64 [S], how often a pass of N draws shows the image that comes most.
    """

    schemes: tuple[str, ...]
    images: np.ndarray
    instances: np.ndarray
    most_repeated: np.ndarray


def sampling_plan(
    statistics: ClassStatistics, schemes: Mapping[str, Scheme | None] = SCHEMES
) -> SamplingPlan:
    """The plan for labels with at least one image; images without objects count as images."""
    weights = np.stack(
        [np.ones(len(statistics.counts)) if s is None else s(statistics) for s in schemes.values()]
    )
    objects = weights @ statistics.counts
    return SamplingPlan(
        schemes=tuple(schemes),
        images=100 * (weights @ statistics.present) / weights.sum(1, keepdims=True),
        instances=100 * objects / np.maximum(objects.sum(1, keepdims=True), 1e-300),
        most_repeated=weights.max(1),
    )
