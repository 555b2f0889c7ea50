"""Pixel by pixel: IoU, Dice, accuracy and boundary IoU of instances flattened to a map of classes.

The rule of flattening:

- truth: by the rule of `project.data.semantic_labels`; pixels that a crowd region claims and no
  object does are left out of every count;
- predictions: detections of at least their class's score threshold are painted by rising score, so
  the highest score wins; what nothing paints is background, the class after the last.

All counts are sums over images, so an image weighs as much as its pixels, and an object as its
area. AP is the opposite: there a large object counts as one.
"""

from __future__ import annotations

from collections.abc import Sequence

from project.data.semantic_labels import paint, truth_map
from project.evaluation.boundary import boundary_pixels, mask_boundary
from project.evaluation.confusion import SCORE_THRESHOLD
from project.evaluation.image_masks import ImageMasks, pixels
from project.evaluation.matches import Matches

import numpy as np


def band(labels: np.ndarray, k: int) -> np.ndarray:
    """bool [H, W]: the boundary of class ``k``, as `project.evaluation.boundary` has it."""
    mask = (labels == k).astype(np.uint8)
    return mask_boundary(mask, boundary_pixels(*labels.shape)).view(bool)


class PixelOverlap:
    """Pixel counts of flattened truth and predictions, image by image.

    Args:
        score_threshold: 0-1, one for all classes or one for each [K].

    Attributes:
        matrix: int64 [K + 1, K + 1], pixels by true class (row) and predicted one; background last.
        band_both, band_any: int64 [K], pixels in both boundary bands of a class, in either.
        dice_sum: float64 [K], percent, over the images below.
        dice_images: int64 [K], images that have the class in truth or prediction.
    """

    def __init__(
        self, num_classes: int, score_threshold: float | Sequence[float] = SCORE_THRESHOLD
    ) -> None:
        self.num_classes = num_classes
        self.score_threshold = np.broadcast_to(np.asarray(score_threshold, float), num_classes)
        self.matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
        self.band_both = np.zeros(num_classes, np.int64)
        self.band_any = np.zeros(num_classes, np.int64)
        self.dice_sum = np.zeros(num_classes)
        self.dice_images = np.zeros(num_classes, np.int64)

    def update(self, image: ImageMasks) -> None:
        """Count one image."""
        classes, crowds = image.object_classes.tolist(), map(pixels, image.crowds)
        truth, counts = truth_map(
            image.object_pixels, classes, crowds, image.size, self.num_classes
        )
        order = image.by_score[::-1]
        order = order[image.scores[order] >= self.score_threshold[image.classes[order]]]
        masks = [image.detection_pixels[i] for i in order]
        found = paint(masks, image.classes[order].tolist(), image.size, self.num_classes)
        self.update_maps(truth, found, counts)

    def update_maps(self, truth: np.ndarray, found: np.ndarray, counts: np.ndarray) -> None:
        """Count two maps of classes [H, W], 0 to K, where ``counts`` (bool [H, W])."""
        side = self.num_classes + 1
        pairs = np.bincount((truth * side + found)[counts], minlength=side**2).reshape(side, side)
        self.matrix += pairs
        for k in np.flatnonzero(pairs.any(0)[:-1] | pairs.any(1)[:-1]):
            bands = band(truth, k) & counts, band(found, k) & counts
            self.band_both[k] += np.count_nonzero(bands[0] & bands[1])
            self.band_any[k] += np.count_nonzero(bands[0] | bands[1])
        both, either = np.diag(pairs)[:-1], (pairs.sum(0) + pairs.sum(1))[:-1]
        self.dice_sum += np.nan_to_num(_percent(2 * both, either, True))
        self.dice_images += either > 0

    def merge(self, other: PixelOverlap) -> None:
        """Count what ``other`` has counted in other images."""
        self.matrix += other.matrix
        self.band_both += other.band_both
        self.band_any += other.band_any
        self.dice_sum += other.dice_sum
        self.dice_images += other.dice_images

    def image_dice(self) -> np.ndarray:
        """float64 [K], percent: the mean over images of each class's Dice in them.

        Images without the class in truth and prediction are left out; NaN if none is left.
        """
        return _percent(self.dice_sum / 100, self.dice_images, True)

    def result(self, class_names: Sequence[str]) -> dict:
        """`overlap` of the counts so far."""
        return overlap(self.matrix, self.band_both, self.band_any, class_names)


def overlap(
    matrix: np.ndarray, band_both: np.ndarray, band_any: np.ndarray, class_names: Sequence[str]
) -> dict:
    """Shares of pixel counts as a plain dict, percent.

    Args:
        matrix, band_both, band_any: as in `PixelOverlap`.

    Returns:
        ``classes`` (name → ``iou``, ``dice``, ``boundary_iou``, ``pixels`` of truth),
        ``background`` (``iou``, ``dice``), ``mean`` (over the classes that have pixels, background
        left out) and ``pixel_accuracy`` (background included). A class without true pixels has NaN.
    """
    both, truth, found = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    iou = _percent(both, truth + found - both, truth > 0)
    dice = _percent(2 * both, truth + found, truth > 0)
    boundary = _percent(band_both, band_any, truth[:-1] > 0)
    per_class = {"iou": iou[:-1], "dice": dice[:-1], "boundary_iou": boundary}
    return {
        "classes": {
            name: {key: float(values[k]) for key, values in per_class.items()}
            | {"pixels": int(truth[k])}
            for k, name in enumerate(class_names)
        },
        "background": {"iou": float(iou[-1]), "dice": float(dice[-1])},
        "mean": {key: _mean(values) for key, values in per_class.items()},
        "pixel_accuracy": float(_percent(both.sum(), matrix.sum(), True)),
    }


def matched_iou(matches: Matches, min_score: float = 0.0) -> dict:
    """Mean mask IoU of detections with the objects they match at the lowest IoU threshold, percent.

    This is what many projects report as IoU. It leaves out what wasn't found, so it tells how well
    masks fit, not how many there are; ``found`` stands beside it.

    Args:
        min_score: detections below it don't count.

    Returns:
        ``iou_threshold``, ``classes`` (name → ``iou``; ``matched``, how many; ``found``, in percent
        of the objects) and ``mean`` over the classes that have the value.
    """
    counts = matches.matched[0] & ~matches.ignored[0] & (matches.score >= min_score)
    num_classes = len(matches.class_names)
    category = matches.category[counts]
    matched = np.bincount(category, minlength=num_classes)
    total = np.bincount(category, matches.iou[counts], num_classes)
    objects = matches.num_objects.sum(0)
    iou, found = _percent(total, matched, objects > 0), _percent(matched, objects, objects > 0)
    return {
        "iou_threshold": float(matches.iou_thresholds[0]),
        "classes": {
            name: {"iou": float(iou[k]), "matched": int(matched[k]), "found": float(found[k])}
            for k, name in enumerate(matches.class_names)
        },
        "mean": {"iou": _mean(iou), "found": _mean(found)},
    }


def _percent(part, whole, where) -> np.ndarray:
    """100 * part / whole; NaN outside ``where`` and where there is no whole."""
    whole = np.asarray(whole, float)
    return 100 * part / np.where(where & (whole > 0), whole, np.nan)


def _mean(values: np.ndarray) -> float:
    """The mean of what isn't NaN; NaN if nothing is left."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
