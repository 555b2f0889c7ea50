"""Precision at COCO's recall points and recall, from matched detections.

The arrays equal those of pycocotools' ``COCOeval.accumulate`` to the last bit. Precision, made
falling, changes at true detections only: so only they are looked at, a few per cent of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from project.evaluation.matching import Outcome

import numpy as np

RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class Curves:
    """What average precision and recall are means of; -1 where there is no object.

    Attributes:
        precision: float64 [T, R, K, A], 0-1, at the largest number of detections.
        recall: float64 [T, K, A, M], 0-1, for each number of detections.
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
    """Curves of an outcome.

    Args:
        category, rank, score: [D], of its detections; rank counts within image and category.
        limits: M numbers of detections.
    """
    order = np.lexsort((-score, category))
    category, rank = category[order], rank[order]
    totals = outcome.num_objects.sum(axis=1)
    num_areas, num_thresholds, _ = outcome.true.shape
    num_categories = totals.shape[1]
    precision = np.full((num_thresholds, len(RECALLS), num_categories, num_areas), -1.0)
    recall = np.full((num_thresholds, num_categories, num_areas, len(limits)), -1.0)
    firsts = np.searchsorted(category, np.arange(num_categories))
    for a, t in np.ndindex(num_areas, num_thresholds):
        some = np.flatnonzero(totals[a])
        true = np.flatnonzero(outcome.true[a, t, order])
        counted = np.concatenate([[0], np.cumsum(~outcome.ignored[a, t, order])])
        # Counted detections of the category up to each true one, which is among them.
        judged = counted[true + 1] - counted[firsts[category[true]]]
        bounds = np.searchsorted(category[true], np.arange(num_categories + 1))
        for k in some:
            inside = slice(bounds[k], bounds[k + 1])
            precision[t, :, k, a] = _precision(judged[inside], totals[a, k])
        for m, limit in enumerate(limits):
            hits = np.bincount(category[true[rank[true] < limit]], minlength=num_categories)
            recall[t, some, a, m] = hits[some] / totals[a, some]
    return Curves(precision, recall)


def _precision(judged: np.ndarray, num_objects: int) -> np.ndarray:
    """Precision [R] at the recall points.

    Args:
        judged: ascending, the number of detections up to each true one.
    """
    hits = np.arange(1, len(judged) + 1, dtype=np.float64)
    precision = hits / (judged + np.spacing(1))
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    # Where the recall isn't reached, precision is 0.
    places = np.searchsorted(hits / num_objects, RECALLS, side="left")
    return np.append(falling, 0.0)[places]


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
    metrics = {name: _percent(precision[at, ..., 0]) for name, at in places.items()}
    for a, size in enumerate(sizes, 1):
        metrics[f"AP{size}"] = _percent(precision[..., a])
    for m, limit in enumerate(limits):
        metrics[f"AR@{limit}"] = _percent(recall[..., 0, m])
    for a, size in enumerate(sizes, 1):
        metrics[f"AR{size}"] = _percent(recall[..., a, -1])
    if len(class_names) > 1:
        for k, name in enumerate(class_names):
            for metric, at in places.items():
                metrics[f"{metric}-{name}"] = _percent(precision[at, :, k, 0])
            metrics[f"AR-{name}"] = _percent(recall[:, k, 0, -1])
    return metrics


def _percent(values: np.ndarray) -> float:
    valid = values[values > -1]
    return 100 * float(valid.mean()) if valid.size else float("nan")
