"""AP and recall of all classes, area ranges and thresholds, and COCO's metrics from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from project.evaluation.average_precision import RECALLS, recall_steps
from project.evaluation.matching import Outcome

import numpy as np


@dataclass(frozen=True)
class Curves:
    """What COCO's metrics are means of, 0-1; NaN where there is no object.

    Attributes:
        precision: float64 [T, K, A], average precision, at the largest number of detections.
        recall: float64 [T, K, A, M], for each number of detections.
    """

    precision: np.ndarray
    recall: np.ndarray


def make_curves(
    outcome: Outcome,
    category: np.ndarray,
    rank: np.ndarray,
    score: np.ndarray,
    limits: Sequence[int],
) -> Curves:
    """Average precision and recall of an outcome.

    Args:
        category, rank, score: [D], of its detections; rank counts within image and category.
        limits: M numbers of detections.
    """
    order = np.lexsort((-score, category))
    category, rank = category[order], rank[order]
    num_objects = outcome.num_objects.sum(axis=1)
    num_areas, num_thresholds, _ = outcome.true.shape
    shape = num_thresholds, num_objects.shape[1], num_areas
    curves = Curves(np.empty(shape), np.empty((*shape, len(limits))))
    for a, t in np.ndindex(num_areas, num_thresholds):
        true, counts = outcome.true[a, t, order], ~outcome.ignored[a, t, order]
        curves.precision[t, :, a] = _precision(true, counts, category, num_objects[a])
        for m, limit in enumerate(limits):
            hits = np.bincount(category[true & (rank < limit)], minlength=shape[1])
            curves.recall[t, :, a, m] = _share(hits, num_objects[a])
    return curves


def _precision(
    true: np.ndarray, counts: np.ndarray, category: np.ndarray, num_objects: np.ndarray
) -> np.ndarray:
    """Average precision [K] of detections by category and falling score.

    Args:
        true, counts: bool [D]: matched to an object that counts; true or false, not ignored.
    """
    places = np.flatnonzero(true)
    of = category[places]
    ends = np.arange(len(num_objects) + 1)
    judged = np.concatenate([[0], np.cumsum(counts)])
    bounds = np.searchsorted(of, ends)
    # Of its category up to each true detection, which is among them.
    found = np.arange(1, len(places) + 1) - bounds[of]
    seen = judged[places + 1] - judged[np.searchsorted(category, ends)[of]]
    best, points = recall_steps((found / seen)[None], (found / num_objects[of])[None], bounds)
    area = np.bincount(of, (best * points)[0], minlength=len(num_objects))
    return _share(area / len(RECALLS), np.minimum(num_objects, 1))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return part / np.where(whole > 0, whole, np.nan)


def summarize(
    curves: Curves,
    class_names: tuple[str, ...],
    thresholds: np.ndarray,
    sizes: tuple[str, ...],
    limits: tuple[int, ...],
) -> dict[str, float]:
    """Metrics in percent (0-100), NaN where there is no object to find.

    Returns:
        AP, AP50, AP75 (NaN without such a threshold), AP and the ending of each size (APs, ...),
        AR@1, AR@10, ... for each number of detections, AR and the ending of each size; then for
        each class (if there are several) AP-, AP50-, AP75- and AR- and its name. AR without a
        number is that at the largest.
    """
    precision, recall = curves.precision, curves.recall
    places = {"AP": slice(None)}
    for percent in (50, 75):
        places[f"AP{percent}"] = np.flatnonzero(np.isclose(thresholds, percent / 100))
    metrics = {name: _percent(precision[at, :, 0]) for name, at in places.items()}
    for a, size in enumerate(sizes, 1):
        metrics[f"AP{size}"] = _percent(precision[..., a])
    for m, limit in enumerate(limits):
        metrics[f"AR@{limit}"] = _percent(recall[..., 0, m])
    for a, size in enumerate(sizes, 1):
        metrics[f"AR{size}"] = _percent(recall[..., a, -1])
    if len(class_names) > 1:
        for k, name in enumerate(class_names):
            for metric, at in places.items():
                metrics[f"{metric}-{name}"] = _percent(precision[at, k, 0])
            metrics[f"AR-{name}"] = _percent(recall[:, k, 0, -1])
    return metrics


def _percent(values: np.ndarray) -> float:
    valid = values[~np.isnan(values)]
    return 100 * float(valid.mean()) if valid.size else float("nan")
