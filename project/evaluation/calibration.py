"""Does a score of 0.8 mean that 8 of 10 such detections are right?"""

from __future__ import annotations

from dataclasses import dataclass

from project.errors import UserError
from project.evaluation.matches import Matches
from project.evaluation.precision_recall import threshold_index

import numpy as np

NUM_BINS = 10


@dataclass(frozen=True, eq=False)
class Reliability:
    """Detections in bins of score: [i / B, (i + 1) / B), the last one with its end.

    Attributes:
        counts: int64 [B], detections.
        confidence: float64 [B], 0-1, their mean score; NaN for empty bins.
        precision: float64 [B], 0-1, the share of true ones; NaN for empty bins.
    """

    counts: np.ndarray
    confidence: np.ndarray
    precision: np.ndarray

    @property
    def expected_error(self) -> float:
        """Detection ECE, 0-1: mean |precision - confidence| over detections; NaN without any.

        Küppers et al., "Multivariate Confidence Calibration for Object Detection", 2020, for the
        confidence alone: right is a detection that matches an object.
        """
        return self._mean(np.abs(self.precision - self.confidence))

    @property
    def overconfidence(self) -> float:
        """Mean confidence minus mean precision, -1 to 1: positive for scores that promise more."""
        return self._mean(self.confidence - self.precision)

    @property
    def largest_error(self) -> float:
        """The largest |precision - confidence| of a bin, 0-1; NaN without detections."""
        filled = self.counts > 0
        gaps = np.abs(self.precision - self.confidence)[filled]
        return float(gaps.max()) if filled.any() else float("nan")

    def _mean(self, of_bins: np.ndarray) -> float:
        filled = self.counts > 0
        if not filled.any():
            return float("nan")
        return float(np.average(of_bins[filled], weights=self.counts[filled]))


def reliability(score: np.ndarray, true: np.ndarray, num_bins: int = NUM_BINS) -> Reliability:
    """Bins of detections by ``score`` [P], 0-1; ``true`` bool [P].

    Raises:
        UserError: if a score is outside 0-1.
    """
    score = np.asarray(score, float)
    outside = ~((score >= 0) & (score <= 1))
    if outside.any():
        raise UserError(f"score {score[outside][0]:g} is no probability; scores must be 0-1")
    bins = np.minimum((score * num_bins).astype(np.int64), num_bins - 1)
    counts = np.bincount(bins, minlength=num_bins)
    filled = np.where(counts, counts, np.nan)
    return Reliability(
        counts=counts,
        confidence=np.bincount(bins, score, num_bins) / filled,
        precision=np.bincount(bins, np.asarray(true, float), num_bins) / filled,
    )


def calibration(matches: Matches, iou_threshold: float = 0.5, num_bins: int = NUM_BINS) -> dict:
    """Reliability of all detections and of each class as a plain dict, percent.

    Detections that match a crowd count neither as right nor as wrong. A detector that returns 100
    detections an image has most of them in the lowest bin: read ``counts`` beside the error.

    Returns:
        ``iou_threshold``, ``edges`` of the bins (percent), ``all`` and ``classes`` (name →):
        ``counts``, ``confidence``, ``precision`` of the bins, ``expected_error``,
        ``largest_error``, ``overconfidence``.
    """
    t = threshold_index(matches, iou_threshold)
    counts = ~matches.ignored[t]

    def of(rows: np.ndarray) -> dict:
        return _summary(reliability(matches.score[rows], matches.matched[t, rows], num_bins))

    return {
        "iou_threshold": float(matches.iou_thresholds[t]),
        "edges": (100 * np.arange(num_bins + 1) / num_bins).tolist(),
        "all": of(counts),
        "classes": {
            name: of(counts & (matches.category == k)) for k, name in enumerate(matches.class_names)
        },
    }


def _summary(found: Reliability) -> dict:
    return {
        "counts": found.counts.tolist(),
        "confidence": (100 * found.confidence).tolist(),
        "precision": (100 * found.precision).tolist(),
        "expected_error": 100 * found.expected_error,
        "largest_error": 100 * found.largest_error,
        "overconfidence": 100 * found.overconfidence,
    }
