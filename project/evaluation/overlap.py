"""Pixel by pixel: IoU, Dice, accuracy and boundary IoU of instances flattened to a map of classes.

The rule of flattening:

- truth: objects are painted from the largest to the smallest (pixels of the mask; of equal ones the
  later annotation last), so a small object in front of a large one stays visible;
- predictions: detections of at least their class's score threshold are painted by rising score, so
  the highest score wins;
- what nothing paints is background, the class after the last;
- pixels that a crowd region claims and no object does are left out of every count: what should be
  predicted there isn't known.

All counts are sums over images, so an image weighs as much as its pixels, and an object as its
area. AP is the opposite: there a large object counts as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from project.data.exploration.masks import CroppedMask
from project.evaluation.boundary import boundary_pixels, mask_boundary
from project.evaluation.confusion import SCORE_THRESHOLD
from project.evaluation.image_masks import ImageMasks, pixels
from project.evaluation.matches import Matches

import numpy as np


def paint(
    masks: Iterable[CroppedMask | None],
    classes: Iterable[int],
    size: tuple[int, int],
    background: int,
) -> np.ndarray:
    """int32 [H, W]: the class of each pixel; later masks lie over earlier ones."""
    labels = np.full(size, background, np.int32)
    for mask, k in zip(masks, classes, strict=True):
        if mask is not None:
            labels[mask.window][mask.pixels] = k
    return labels


def truth_map(
    masks: Sequence[CroppedMask | None],
    classes: Sequence[int],
    crowds: Iterable[CroppedMask | None],
    size: tuple[int, int],
    background: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The map of the objects, int32 [H, W], and which of its pixels count, bool [H, W]."""
    areas = [0 if mask is None else int(mask.pixels.sum()) for mask in masks]
    order = sorted(range(len(masks)), key=lambda i: -areas[i])
    labels = paint([masks[i] for i in order], [classes[i] for i in order], size, background)
    claimed, crowded = np.zeros(size, bool), np.zeros(size, bool)
    for mask in masks:
        if mask is not None:
            claimed[mask.window] |= mask.pixels
    for mask in crowds:
        if mask is not None:
            crowded[mask.window] |= mask.pixels
    return labels, claimed | ~crowded


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
    """

    def __init__(
        self, num_classes: int, score_threshold: float | Sequence[float] = SCORE_THRESHOLD
    ) -> None:
        self.num_classes = num_classes
        self.score_threshold = np.broadcast_to(np.asarray(score_threshold, float), num_classes)
        self.matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
        self.band_both = np.zeros(num_classes, np.int64)
        self.band_any = np.zeros(num_classes, np.int64)

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
