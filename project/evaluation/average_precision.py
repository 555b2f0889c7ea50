"""AP and AR from matching records with a weight for each image: what resampling needs.

COCO's matching looks at one image at a time, so a dataset that holds some images twice and others
not at all has the same matches, counted differently. This computes AP from the records and the
counts, for many sets of counts at once, exactly as pycocotools would on the copied images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from project.evaluation.matches import Matches

import numpy as np

RECALLS = np.linspace(0, 1, 101)  # pycocotools' points
_BLOCK = 1 << 16  # weights gathered at once: they stay in the processor's cache


@dataclass(frozen=True)
class _ClassRecords:
    """Detections of a class over all images, best score first.

    Attributes:
        image: [D], index of the image.
        true: for each IoU threshold, positions of the true detections.
        ignored: for each IoU threshold, positions of the detections that don't count.
        num_objects: [N].
    """

    image: np.ndarray
    true: Sequence[np.ndarray]
    ignored: Sequence[np.ndarray]
    num_objects: np.ndarray


class AveragePrecision:
    """AP, AP50, AP75 and AR of all classes and of each, as a function of the images' weights.

    AP50 and AP75 are there where the matches have these thresholds. The mean over classes takes in
    the classes that have objects, as pycocotools does; in a resample, those that have some there.

    Attributes:
        image_ids: [N], the images that weights stand for.
        class_names: K names.
        metrics: M names.
        extent, truth: [N, K], objects that count in each image.
    """

    def __init__(self, matches: Matches):
        self.image_ids = matches.image_ids
        self.class_names = tuple(matches.class_names)
        self.truth = self.extent = np.asarray(matches.num_objects, np.float64)
        self._thresholds = matches.iou_thresholds
        at = {f"AP{round(100 * t)}": i for i, t in enumerate(self._thresholds)}
        self._single = {name: at[name] for name in ("AP50", "AP75") if name in at}
        self.metrics = ("AP", *self._single, "AR")
        self._records = [_class_records(matches, k) for k in range(len(self.class_names))]

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Each metric of each class, 0-1, as float64 [B, M, K]; NaN without objects.

        Args:
            weights: whole numbers [B, N]: how often each image counts, in B datasets.
        """
        precision, recall = self.by_threshold(weights)
        single = [precision[:, i] for i in self._single.values()]
        return np.stack([precision.mean(axis=1), *single, recall.mean(axis=1)], axis=1)

    def by_threshold(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Average precision and recall, 0-1, each as float64 [B, T, K]; NaN without objects."""
        weights = np.ascontiguousarray(weights, np.int32)
        shape = (len(weights), len(self._thresholds), len(self._records))
        precision, recall = np.empty(shape), np.empty(shape)
        for k, records in enumerate(self._records):
            rows = max(1, _BLOCK // max(len(records.image), 1))
            for start in range(0, len(weights), rows):
                block = slice(start, start + rows)
                precision[block, :, k], recall[block, :, k] = _evaluate(records, weights[block])
        return precision, recall


def _class_records(matches: Matches, category: int) -> _ClassRecords:
    rows = np.flatnonzero(matches.category == category)
    rows = rows[np.argsort(-matches.score[rows], kind="stable")]
    return _ClassRecords(
        image=matches.image[rows],
        true=[np.flatnonzero(matched[rows]) for matched in matches.matched],
        ignored=[np.flatnonzero(ignored[rows]) for ignored in matches.ignored],
        num_objects=matches.num_objects[:, category].astype(np.int64),
    )


def _evaluate(records: _ClassRecords, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average precision and recall of a class, each [B, T]."""
    num_objects = weights @ records.num_objects
    present = num_objects > 0
    divisor = np.maximum(num_objects, 1)[:, None]
    counts = weights.take(records.image, axis=1).cumsum(axis=1, dtype=np.int32)
    precision = np.zeros((len(weights), len(records.true)))
    recall = np.zeros_like(precision)
    for t, (true, ignored) in enumerate(zip(records.true, records.ignored, strict=True)):
        if not len(true):
            continue
        found = weights.take(records.image[true], axis=1).cumsum(axis=1, dtype=np.int32)
        seen = counts.take(true, axis=1)
        if len(ignored):
            seen -= _before(weights.take(records.image[ignored], axis=1), ignored, true)
        reached = found / divisor
        precision[:, t] = _area(found / np.maximum(seen, 1), reached)
        recall[:, t] = reached[:, -1]
    precision[~present] = recall[~present] = np.nan
    return precision, recall


def _before(weights: np.ndarray, positions: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Summed weights [B, P] of the given positions that lie before each position of ``at``."""
    sums = np.zeros((len(weights), len(positions) + 1), np.int32)
    weights.cumsum(axis=1, dtype=np.int32, out=sums[:, 1:])
    return sums.take(np.searchsorted(positions, at), axis=1)


def _area(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Mean of the interpolated precision over 101 recalls, [B].

    Only true detections raise precision and recall, so only they are given, [B, P]. Each stands for
    the recall points that it is the first to reach; at one, the best precision there or further on
    counts. Copies of an image share a score: a true detection's weight is one step whose end has
    the best precision, so that steps of any height are exact.
    """
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    nearest = (recall * 100 + 0.5).astype(np.int32)
    points = nearest + (RECALLS.take(nearest) <= recall)  # how many recalls are reached
    points[:, 1:] -= points[:, :-1].copy()
    return np.einsum("bp,bp->b", best, points) / len(RECALLS)
