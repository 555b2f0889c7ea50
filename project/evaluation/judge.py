"""Everything beyond AP of one set of mask results, in one pass over the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from project.errors import UserError
from project.evaluation.calibration import calibration
from project.evaluation.confusion import SCORE_THRESHOLD, MaskConfusion, confusion
from project.evaluation.errors import ErrorRecords, ErrorTypes, errors
from project.evaluation.evaluate import match
from project.evaluation.ground_truth import GroundTruth, load_ground_truth
from project.evaluation.image_masks import MAX_DETECTIONS, image_masks
from project.evaluation.matches import Matches
from project.evaluation.overlap import PixelOverlap, matched_iou
from project.evaluation.precision_recall import precision_recall
from project.evaluation.results import Results, load_results
from project.evaluation.slices import InstanceMeasures, Instances, check_same, slices

import numpy as np


@dataclass(frozen=True, eq=False)
class Examination:
    """What the figures of `summary` are computed from, and galleries chosen by.

    Attributes:
        score_threshold: float64 [K], from which on detections are painted and confused.
        matches: of detections with objects of their class, by COCO's rule.
        records: the error type of every detection; rows as in ``matches``.
        instances: size, place, cover of every object; rows as in ``records``.
        confusion, pixels: the counts.
    """

    score_threshold: np.ndarray
    matches: Matches
    records: ErrorRecords
    instances: Instances
    confusion: MaskConfusion
    pixels: PixelOverlap


def judge(
    annotations: str | Path | dict | GroundTruth,
    results: str | Path | Sequence[dict] | Results,
    *,
    score_threshold: float | Sequence[float] = SCORE_THRESHOLD,
    matches: Matches | None = None,
    max_detections: int = MAX_DETECTIONS,
    backend: str = "hotcoco",
) -> dict:
    """`summary` of `examine`, whose arguments these are."""
    return summary(
        examine(
            annotations,
            results,
            score_threshold=score_threshold,
            matches=matches,
            max_detections=max_detections,
            backend=backend,
        )
    )


def examine(
    annotations: str | Path | dict | GroundTruth,
    results: str | Path | Sequence[dict] | Results,
    *,
    score_threshold: float | Sequence[float] = SCORE_THRESHOLD,
    matches: Matches | None = None,
    max_detections: int = MAX_DETECTIONS,
    backend: str = "hotcoco",
) -> Examination:
    """Matches, error types, confusion, pixel counts and measures of instances.

    Args:
        annotations: a COCO instances file, or what it holds.
        results: a COCO results file with masks, or what it holds.
        score_threshold: 0-1, from which on detections count for confusion and pixels: one for all
            classes, or one for each in the order of category ids (NaN keeps none). Thresholds
            that were chosen on the same images flatter.
        matches: of the same files for masks, where there are some; None makes them.
        max_detections: of one class in one image.
        backend: "hotcoco" or "pycocotools", whose overlaps are taken.

    Raises:
        UserError: if a file can't be read, the files don't belong together, or the number of
            thresholds isn't that of the classes.
    """
    truth = load_ground_truth(annotations).with_masks
    found = load_results(results, truth)
    thresholds = _thresholds(score_threshold, truth.class_names)
    if matches is None:
        matches = match(truth, found, max_detections=max_detections, backend=backend)
    types, measures = ErrorTypes(), InstanceMeasures()
    confused = MaskConfusion(len(thresholds), thresholds)
    pixels = PixelOverlap(len(thresholds), thresholds)
    for image in image_masks(truth, found, max_detections, backend):
        for collector in (types, measures, confused, pixels):
            collector.update(image)
    instances = measures.instances()
    check_same(matches, instances)
    return Examination(thresholds, matches, types.records(), instances, confused, pixels)


def summary(found: Examination) -> dict:
    """All figures as one plain dict for JSON; percent 0-100, scores 0-1, NaN for what is empty.

    Returns:
        ``images``, ``objects``, ``detections``, ``score_threshold`` (class → score), ``overlap``,
        ``matched_iou``, ``precision_recall``, ``confusion``, ``calibration``, ``errors``,
        ``slices``: each as the function of that name has it.
    """
    names = found.matches.class_names
    return {
        "images": len(found.matches.image_ids),
        "objects": int(found.matches.num_objects.sum()),
        "detections": len(found.matches.score),
        "score_threshold": dict(zip(names, found.score_threshold.tolist(), strict=True)),
        "overlap": found.pixels.result(names),
        "matched_iou": matched_iou(found.matches),
        "precision_recall": precision_recall(found.matches),
        "confusion": confusion(found.confusion.matrix, names),
        "calibration": calibration(found.matches),
        "errors": errors(found.records, names),
        "slices": slices(found.matches, found.instances),
    }


def _thresholds(score_threshold: float | Sequence[float], names: Sequence[str]) -> np.ndarray:
    thresholds = np.asarray(score_threshold, float)
    if thresholds.ndim and thresholds.shape != (len(names),):
        raise UserError(
            f"{thresholds.size} score thresholds for {len(names)} classes ({', '.join(names)}); "
            f"give one, or one for each"
        )
    return np.broadcast_to(thresholds, len(names))
