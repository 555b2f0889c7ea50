"""COCO's average precision: of one ranking, of many, and of images with weights.

COCO's matching looks at one image at a time, so a dataset that holds some images twice and others
not at all has the same matches, counted differently. `AveragePrecision` computes AP from the
records and the counts, for many sets of counts at once, exactly as pycocotools would on the copied
images: what resampling needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from project.evaluation.matches import Matches

import numpy as np

RECALLS = np.linspace(0, 1, 101)  # pycocotools' points
_BLOCK = 1 << 16  # weights gathered at once: they stay in the processor's cache


def recall_steps(
    precision: np.ndarray, recall: np.ndarray, bounds: Sequence[int] = (0, None)
) -> tuple[np.ndarray, np.ndarray]:
    """What each true detection adds to its curve: interpolated precision, at how many recalls.

    Only true detections raise precision and recall, so only they are given, [B, P]. Each stands for
    those of `RECALLS` that it is the first to reach; there the best precision at it or further on
    counts. A true detection of any weight is one step (copies of an image share a score), whose end
    has the best precision, so that steps of any height are exact.

    Args:
        precision: float64 [B, P]; overwritten by the first result.
        recall: float64 [B, P], 0-1, rising within a curve.
        bounds: [S + 1], where each of S curves begins, and the end.

    Returns:
        float64 [B, P] and int32 [B, P]; their products sum up to `len(RECALLS)` times AP.
    """
    for start, end in zip(bounds[:-1], bounds[1:], strict=True):
        backwards = precision[:, start:end][:, ::-1]
        np.maximum.accumulate(backwards, axis=1, out=backwards)
    nearest = (recall * 100 + 0.5).astype(np.int32)
    reached = nearest + (RECALLS.take(nearest) <= recall)
    points = reached.copy()
    points[:, 1:] -= reached[:, :-1]
    starts = np.asarray(bounds[:-1])
    starts = starts[starts < points.shape[1]]
    points[:, starts] = reached[:, starts]
    return precision, points


def precision_at_recalls(true: np.ndarray, num_objects: int) -> np.ndarray:
    """float64 [101], 0-1: the best precision at each of `RECALLS` or beyond, 0 where none gets.

    ``true`` is bool [P], in order of falling score. NaN without objects.
    """
    if not num_objects:
        return np.full(len(RECALLS), np.nan)
    places = np.flatnonzero(true)
    found = np.arange(1, len(places) + 1)[None]
    best, points = recall_steps(found / (places + 1), found / num_objects)
    curve = np.repeat(best[0], points[0])
    return np.pad(curve, (0, len(RECALLS) - len(curve)))


def average_precision(score: np.ndarray, true: np.ndarray, num_objects: int) -> float:
    """COCO's AP, 0-1, of detections with ``score`` [P] in any order; equal ones stay in it.

    Args:
        true: bool [P].

    Returns:
        NaN without objects, 0 without detections.
    """
    true = true[np.argsort(-score, kind="stable")]
    return float(precision_at_recalls(true, num_objects).mean())


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
        steps = recall_steps(found / np.maximum(seen, 1), reached)
        precision[:, t] = np.einsum("bp,bp->b", *steps) / len(RECALLS)
        recall[:, t] = reached[:, -1]
    precision[~present] = recall[~present] = np.nan
    return precision, recall


def _before(weights: np.ndarray, positions: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Summed weights [B, P] of the given positions that lie before each position of ``at``."""
    sums = np.zeros((len(weights), len(positions) + 1), np.int32)
    weights.cumsum(axis=1, dtype=np.int32, out=sums[:, 1:])
    return sums.take(np.searchsorted(positions, at), axis=1)
