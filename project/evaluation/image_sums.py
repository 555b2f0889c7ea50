"""Metrics that are a sum over images divided by another: IoU, Dice, accuracy, means over images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class RatioOfSums:
    """A ratio of per-image sums, of each class, as a function of the images' weights.

    Pixel IoU is intersection over union, Dice is twice the intersection over the sum of both areas,
    accuracy is right over all pixels, recall is found over all objects: each summed over images
    before it is divided.

    Attributes:
        image_ids: [N], the images that weights stand for.
        class_names: K names; one name "" for a metric without classes.
        metrics: the metric's name.
        extent: [N, K], how much of a class an image holds.
        truth: ``extent`` where it was given, and so must be equal in runs that are compared.
    """

    def __init__(
        self,
        metric: str,
        image_ids: Sequence[int] | np.ndarray,
        class_names: Sequence[str],
        numerator: np.ndarray,
        denominator: np.ndarray,
        *,
        truth: np.ndarray | None = None,
    ):
        """Take sums [N, K] (or [N] for one column), finite and not negative.

        Args:
            truth: what the ground truth holds of each class in each image, in pixels or objects;
                it tells in how many images a class is. None counts the denominator.
        """
        self.metrics = (metric,)
        self.image_ids = np.asarray(image_ids)
        self.class_names = tuple(class_names)
        shape = (len(self.image_ids), len(self.class_names))
        self._numerator = _sums("numerator", numerator, shape)
        self._denominator = _sums("denominator", denominator, shape)
        self.truth = None if truth is None else _sums("truth", truth, shape)
        self.extent = self._denominator if truth is None else self.truth

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """The ratio of each class, as float64 [B, 1, K]; NaN without anything of the class."""
        weights = np.asarray(weights, np.float64)
        below = weights @ self._denominator
        known = (below > 0) & (weights @ self.extent > 0)
        ratio = weights @ self._numerator / np.where(known, below, 1)
        return np.where(known, ratio, np.nan)[:, None]


def mean_over_images(
    metric: str,
    image_ids: Sequence[int] | np.ndarray,
    class_names: Sequence[str],
    values: np.ndarray,
) -> RatioOfSums:
    """The mean of per-image values [N, K] (or [N]) as a ratio; NaN leaves an image out."""
    values = np.asarray(values, np.float64)
    known = np.isfinite(values)
    return RatioOfSums(metric, image_ids, class_names, np.where(known, values, 0), known)


def _sums(name: str, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    values = np.asarray(values, np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if values.shape != shape:
        raise ValueError(f"{name} must have shape {shape} (images, classes), got {values.shape}")
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError(f"{name} must hold finite numbers of at least 0")
    return values
