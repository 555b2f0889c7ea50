"""Pixels of each image and class: what truth and prediction share, and the metrics made of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from project.evaluation.image_sums import RatioOfSums, mean_over_images
from project.evaluation.overlap import PixelOverlap
from project.evaluation.paired import check_same_data
from project.evaluation.uncertainty import ImageStatistic
from project.experiments.models.footing import Footing, Predictions

import numpy as np

IOU, DICE, BOUNDARY, IMAGE_DICE = "IoU", "Dice", "boundary IoU", "image Dice"
METRICS = (IOU, DICE, BOUNDARY, IMAGE_DICE)


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """Counts of N images and K classes, int64 [N, K] each.

    Attributes:
        truth, found, both: pixels of a class in truth, in the prediction, in both.
        band_both, band_any: pixels in both boundaries of a class, in either.
    """

    truth: np.ndarray
    found: np.ndarray
    both: np.ndarray
    band_both: np.ndarray
    band_any: np.ndarray

    @property
    def image_dice(self) -> np.ndarray:
        """float64 [N, K], 0-1; NaN where truth and prediction have nothing of a class."""
        either = self.truth + self.found
        return np.where(either > 0, 2 * self.both / np.maximum(either, 1), np.nan)


def count_pixels(predictions: Predictions, footing: Footing) -> PixelCounts:
    """The counts of a run on the common images, in their order."""
    shape = len(footing.image_names), len(footing.class_names)
    place = {name: i for i, name in enumerate(footing.image_names)}
    columns = [np.zeros(shape, np.int64) for _ in range(5)]
    for maps in predictions.maps(footing.image_names):
        counter = PixelOverlap(len(footing.class_names))
        counter.update_maps(maps.truth, maps.found, maps.counts)
        matrix, i = counter.matrix, place[maps.name]
        rows = matrix.sum(1)[:-1], matrix.sum(0)[:-1], np.diag(matrix)[:-1]
        for column, row in zip(columns, (*rows, counter.band_both, counter.band_any), strict=True):
            column[i] = row
    return PixelCounts(*columns)


def statistics(counts: PixelCounts, footing: Footing) -> list[RatioOfSums]:
    """The metrics as functions of the images, in the order of `METRICS`.

    IoU, Dice and boundary IoU divide sums over all images; the image Dice is the mean of the
    images' own, those left out that have nothing of the class in truth and prediction.
    """
    where = footing.image_names, footing.class_names
    c, truth = counts, counts.truth
    return [
        RatioOfSums(IOU, *where, c.both, c.truth + c.found - c.both, truth=truth),
        RatioOfSums(DICE, *where, 2 * c.both, c.truth + c.found, truth=truth),
        RatioOfSums(BOUNDARY, *where, c.band_both, c.band_any, truth=truth),
        mean_over_images(IMAGE_DICE, *where, c.image_dice),
    ]


class Averaged:
    """The mean of one metric over runs that differ by seed, as a function of the images.

    Raises:
        UserError: if the runs weren't judged against the same labels.
    """

    def __init__(self, members: Sequence[ImageStatistic]) -> None:
        self.members = members
        first = members[0]
        for other in members[1:]:
            check_same_data(first, other)
        self.image_ids, self.class_names = first.image_ids, first.class_names
        self.metrics, self.truth = first.metrics, first.truth
        self.extent = np.mean([member.extent for member in members], axis=0)

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Values [B, M, K]: the mean of what is defined, NaN where nothing is."""
        values = np.stack([member(weights) for member in self.members])
        known = np.isfinite(values).sum(axis=0)
        total = np.where(np.isfinite(values), values, 0).sum(axis=0)
        return np.where(known > 0, total / np.maximum(known, 1), np.nan)
