"""Metrics beside AP as ratios of per-image sums, so that they get intervals and comparisons too."""

from __future__ import annotations

from collections.abc import Sequence

from project.evaluation.image_sums import RatioOfSums
from project.evaluation.matches import Matches
from project.evaluation.precision_recall import threshold_index

import numpy as np


def pixel_metrics(
    image_ids: Sequence[int] | np.ndarray, class_names: Sequence[str], confusion: np.ndarray
) -> list[RatioOfSums]:
    """Pixel IoU and Dice of the classes, and the accuracy, as `overlap` defines them.

    Args:
        confusion: [N, K + 1, K + 1], pixels of each image by true class (row) and predicted one;
            background last.
    """
    both = np.diagonal(confusion, axis1=1, axis2=2)[:, :-1]
    truth, found = confusion.sum(axis=2)[:, :-1], confusion.sum(axis=1)[:, :-1]
    right = np.trace(confusion, axis1=1, axis2=2)
    where = image_ids, class_names
    return [
        RatioOfSums("IoU", *where, both, truth + found - both, truth=truth),
        RatioOfSums("Dice", *where, 2 * both, truth + found, truth=truth),
        RatioOfSums("pixel accuracy", image_ids, ("",), right, confusion.sum(axis=(1, 2))),
    ]


def matched_iou_metric(matches: Matches, min_score: float = 0.0) -> RatioOfSums:
    """The mean IoU of matched detections of each class, as `overlap.matched_iou` defines it."""
    counts = matches.matched[0] & (matches.score >= min_score)
    total, number = _per_image(matches, counts, matches.iou), _per_image(matches, counts)
    return _ratio("matched IoU", matches, total, number)


def detection_metrics(
    matches: Matches, min_score: float | Sequence[float] = 0.5, iou_threshold: float = 0.5
) -> list[RatioOfSums]:
    """Precision, recall and F1 of the detections of at least a score, one or one for each class."""
    t = threshold_index(matches, iou_threshold)
    least = np.broadcast_to(np.asarray(min_score, np.float64), len(matches.class_names))
    kept = ~matches.ignored[t] & (matches.score >= least[matches.category])
    true, kept = _per_image(matches, kept & matches.matched[t]), _per_image(matches, kept)
    objects = matches.num_objects
    return [
        _ratio("precision", matches, true, kept),
        _ratio("recall", matches, true, objects),
        _ratio("F1", matches, 2 * true, kept + objects),
    ]


def _ratio(
    metric: str, matches: Matches, numerator: np.ndarray, denominator: np.ndarray
) -> RatioOfSums:
    where = matches.image_ids, matches.class_names
    return RatioOfSums(metric, *where, numerator, denominator, truth=matches.num_objects)


def _per_image(
    matches: Matches, chosen: np.ndarray, values: np.ndarray | None = None
) -> np.ndarray:
    """How many chosen detections (bool [D]) each image and class has, or their summed values."""
    num_images, num_classes = matches.num_objects.shape
    cells = matches.image[chosen].astype(np.int64) * num_classes + matches.category[chosen]
    values = None if values is None else values[chosen]
    sums = np.bincount(cells, values, minlength=num_images * num_classes)
    return sums.reshape(num_images, num_classes)
