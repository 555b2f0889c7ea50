"""Precision, recall and F1 against the score, and the score that serves each class best."""

from __future__ import annotations

from dataclasses import dataclass

from project.evaluation.average_precision import RECALLS, precision_at_recalls
from project.evaluation.matches import Matches

import numpy as np

SCORES = np.linspace(0, 1, 101)  # where curves against the score are read


@dataclass(frozen=True, eq=False)
class Curve:
    """What is left when detections below a score are dropped, for each score that occurs.

    Attributes:
        score: float64 [P], falling, each once.
        precision: float64 [P], 0-1: true among the detections of at least this score.
        recall: float64 [P], 0-1: objects found by them; NaN without objects.
        num_objects: objects that count.
    """

    score: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    num_objects: int

    @property
    def f1(self) -> np.ndarray:
        """float64 [P], 0-1: harmonic mean of precision and recall, 0 where both are."""
        total = self.precision + self.recall
        product = 2 * self.precision * self.recall
        return np.divide(
            product, total, out=np.where(np.isnan(total), np.nan, 0.0), where=total > 0
        )


@dataclass(frozen=True)
class BestThreshold:
    """The score from which on to keep detections, where F1 is largest; the highest of equal ones.

    ``precision``, ``recall`` and ``f1`` are those at it, 0-1. Without objects all are NaN; with
    objects and no true detection ``f1`` is 0 and no threshold is best (NaN).
    """

    score: float
    precision: float
    recall: float
    f1: float


def threshold_index(matches: Matches, iou_threshold: float) -> int:
    """The row of ``matches.matched`` for an IoU threshold.

    Raises:
        ValueError: if the matches don't have it.
    """
    found = np.flatnonzero(np.isclose(matches.iou_thresholds, iou_threshold))
    if not len(found):
        known = ", ".join(f"{t:g}" for t in matches.iou_thresholds)
        raise ValueError(f"no matches at IoU {iou_threshold:g}; they have {known}")
    return int(found[0])


def counted(matches: Matches, category: int, t: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores, falling, and bool, true or false, of the detections of a class that count.

    Both are [P]; ``t`` is the row of the IoU threshold. Equal scores keep the order of the rows.
    """
    rows = np.flatnonzero((matches.category == category) & ~matches.ignored[t])
    rows = rows[np.argsort(-matches.score[rows], kind="stable")]
    return matches.score[rows], matches.matched[t, rows]


def curve(score: np.ndarray, true: np.ndarray, num_objects: int) -> Curve:
    """The `Curve` of detections of falling ``score`` [P], ``true`` bool [P]."""
    # Detections of one score are kept or dropped together.
    last = np.flatnonzero(np.diff(score, append=-np.inf) != 0)
    hits = np.cumsum(true)[last]
    recall = hits / num_objects if num_objects else np.full(len(last), np.nan)
    return Curve(score[last], hits / (last + 1), recall, int(num_objects))


def class_curve(matches: Matches, category: int, iou_threshold: float = 0.5) -> Curve:
    """The `Curve` of one class; ``matches`` must have ``iou_threshold``."""
    score, true = counted(matches, category, threshold_index(matches, iou_threshold))
    return curve(score, true, int(matches.num_objects[:, category].sum()))


def best_threshold(curve: Curve) -> BestThreshold:
    """Where F1 is largest."""
    if not curve.num_objects:
        return BestThreshold(*[float("nan")] * 4)
    f1 = curve.f1
    if not f1.max(initial=0) > 0:
        return BestThreshold(float("nan"), float("nan"), 0.0, 0.0)
    best = int(f1.argmax())  # scores fall: the first is the highest
    values = curve.score, curve.precision, curve.recall, f1
    return BestThreshold(*(float(v[best]) for v in values))


def at_scores(curve: Curve, scores: np.ndarray = SCORES) -> tuple[np.ndarray, ...]:
    """Precision, recall and F1 (float64 [S] each, 0-1) of the detections of at least each score.

    Precision is NaN where none is left, and so is all without objects but precision.
    """
    kept = np.searchsorted(-curve.score, -np.asarray(scores), side="right")
    none_left = (np.nan, 0.0, 0.0) if curve.num_objects else (np.nan,) * 3
    values = curve.precision, curve.recall, curve.f1
    return tuple(np.append(empty, v)[kept] for empty, v in zip(none_left, values, strict=True))


def precision_recall(matches: Matches, iou_threshold: float = 0.5) -> dict:
    """Curves and best thresholds of all classes as a plain dict; percent, scores 0-1.

    Returns:
        ``iou_threshold``, ``scores`` and ``recalls`` (the axes, 101 values each), ``classes`` (name
        → ``objects``, ``ap``, ``best``, precision at each of ``recalls``, and precision, recall and
        F1 against the score), and ``overall``: the mean over the classes with objects of F1
        against the score and the one threshold where that is largest.
    """
    classes, f1s = {}, []
    t = threshold_index(matches, iou_threshold)
    for k, name in enumerate(matches.class_names):
        score, true = counted(matches, k, t)
        num_objects = int(matches.num_objects[:, k].sum())
        found = curve(score, true, num_objects)
        classes[name] = _class_summary(found, precision_at_recalls(true, num_objects))
        if num_objects:
            f1s.append(at_scores(found)[2])
    return {
        "iou_threshold": float(matches.iou_thresholds[t]),
        "scores": SCORES.tolist(),
        "recalls": (100 * RECALLS).tolist(),
        "classes": classes,
        "overall": _overall(f1s),
    }


def _class_summary(found: Curve, at_recalls: np.ndarray) -> dict:
    best = best_threshold(found)
    precision, recall, f1 = at_scores(found)
    return {
        "objects": found.num_objects,
        "ap": 100 * float(at_recalls.mean()),
        "best": {
            "score": best.score,
            "precision": 100 * best.precision,
            "recall": 100 * best.recall,
            "f1": 100 * best.f1,
        },
        "precision_at_recall": (100 * at_recalls).tolist(),
        "precision": (100 * precision).tolist(),
        "recall": (100 * recall).tolist(),
        "f1": (100 * f1).tolist(),
    }


def _overall(f1s: list[np.ndarray]) -> dict:
    """The mean F1 curve and the highest score where it is largest; NaN without objects."""
    nan = float("nan")
    if not f1s:
        return {"f1": [nan] * len(SCORES), "best": {"score": nan, "f1": nan}}
    mean = 100 * np.mean(f1s, axis=0)
    best = int(np.flatnonzero(mean == mean.max())[-1])
    score = float(SCORES[best]) if mean[best] > 0 else nan
    return {"f1": mean.tolist(), "best": {"score": score, "f1": float(mean[best])}}
