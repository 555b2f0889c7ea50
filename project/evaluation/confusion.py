"""Which class is taken for which: a confusion matrix of masks, with background."""

from __future__ import annotations

from collections.abc import Sequence

from project.evaluation.image_masks import ImageMasks, greedy_match

import numpy as np

SCORE_THRESHOLD = 0.5  # where no threshold of each class is given


class MaskConfusion:
    """Counts over images: rows are true classes, columns predicted ones, the last is background.

    Detections of at least their class's score threshold choose in turn, the highest score first:
    each takes the free object of largest mask IoU, whatever its class, if that is at least
    ``iou_threshold``. A pair counts at (class of the object, class of the detection), an object
    nobody took at (its class, background), a detection without object at (background, its class).
    A detection without object that lies in a crowd region, of any class, to ``iou_threshold`` of
    its area isn't counted.

    So the row of a class adds up to its objects, and each object and each detection counts once.

    Args:
        score_threshold: 0-1, one for all classes or one for each [K].
    """

    def __init__(
        self,
        num_classes: int,
        score_threshold: float | Sequence[float] = SCORE_THRESHOLD,
        iou_threshold: float = 0.5,
    ) -> None:
        self.matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
        self.score_threshold = np.broadcast_to(np.asarray(score_threshold, float), num_classes)
        self.iou_threshold = iou_threshold

    def update(self, image: ImageMasks) -> None:
        """Count one image."""
        order = image.by_score
        order = order[image.scores[order] >= self.score_threshold[image.classes[order]]]
        match = greedy_match(image.iou[order], self.iou_threshold)
        crowded = image.crowd_cover[order].max(1, initial=0) >= self.iou_threshold
        background = len(self.matrix) - 1
        truth = np.append(image.object_classes, background)[match]  # -1: the last
        counts = (match >= 0) | ~crowded
        np.add.at(self.matrix, (truth[counts], image.classes[order][counts]), 1)
        missed = np.ones(len(image.object_ids), bool)
        missed[match[match >= 0]] = False
        np.add.at(self.matrix, (image.object_classes[missed], background), 1)


def confusion(matrix: np.ndarray, class_names: Sequence[str]) -> dict:
    """A confusion matrix [K + 1, K + 1] as a plain dict.

    Returns:
        ``classes`` (K names), ``counts`` (rows of truth), ``percent_of_truth``: rows in percent of
        the objects of each class, NaN for a class without objects and for the background, which
        has no countable objects.
    """
    objects = np.append(matrix[:-1].sum(1), 0)
    share = 100 * matrix / np.where(objects, objects, np.nan)[:, None]
    return {
        "classes": list(class_names),
        "counts": matrix.tolist(),
        "percent_of_truth": share.tolist(),
    }
