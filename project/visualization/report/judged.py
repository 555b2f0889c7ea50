"""A run judged from its predictions: figures with intervals, thresholds, records of every error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from project.errors import UserError
from project.evaluation.average_precision import AveragePrecision
from project.evaluation.evaluate import evaluate_and_match, match
from project.evaluation.ground_truth import GroundTruth, load_ground_truth
from project.evaluation.image_masks import image_masks
from project.evaluation.image_metrics import detection_metrics, matched_iou_metric, pixel_metrics
from project.evaluation.judge import Examination, examine, summary
from project.evaluation.matches import Matches
from project.evaluation.overlap import PixelOverlap
from project.evaluation.paired import Difference, differences
from project.evaluation.precision_recall import best_threshold, class_curve
from project.evaluation.results import Results, load_results
from project.evaluation.slices import SLICINGS, Instances, slice_matches
from project.evaluation.uncertainty import Estimate, Resampled, estimates, resample
from project.visualization.report.run_files import RunFiles

import numpy as np

NUM_RESAMPLES = 1000
DEFAULT_THRESHOLD = 0.5  # of a class without a true detection; what prediction takes, too
# Name on the page of what each kind of metric measures.
MASKS, BOXES, BOUNDARIES, PIXELS = "mask", "box", "boundary", "pixel"
SLICE_METRICS = ("AP", "AP50", "recall")


@dataclass(frozen=True, eq=False)
class Judged:
    """Everything that a report tells of one run's predictions.

    Attributes:
        metrics: COCO's metrics in percent by "segm" and "bbox"; NaN where there are no objects.
        thresholds: float64 [K], the score from which on F1 is best, of each class.
        figures: `summary` of the examination at these thresholds.
        resampled: kind → what intervals are taken from.
        slices: question → slice → metric → its mean over the classes; see `slice_estimates`.
        right, wrong: int64 [N], true and false detections of each image from ``thresholds`` on.
        quality: float64 [N], 0-1, of each image: summed IoU of what was found, over half of what
            was found and of what is there (panoptic quality, of all classes together); NaN for an
            image without either.
    """

    files: RunFiles
    truth: GroundTruth
    results: Results
    metrics: Mapping[str, Mapping[str, float]]
    matches: Matches
    examination: Examination
    thresholds: np.ndarray
    figures: dict
    resampled: Sequence[tuple[str, Resampled]]
    slices: Mapping[str, Mapping[str, Mapping[str, Estimate]]]
    right: np.ndarray
    wrong: np.ndarray
    quality: np.ndarray

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.matches.class_names

    @property
    def best_scores(self) -> dict[str, float | None]:
        """Class → the score from which on F1 is best; None where no detection is true."""
        found = self.figures["precision_recall"]["classes"]
        return {
            name: None if np.isnan(found[name]["best"]["score"]) else float(threshold)
            for name, threshold in zip(self.class_names, self.thresholds, strict=True)
        }

    @cached_property
    def estimates(self) -> dict[tuple[str, str, str], Estimate]:
        """(kind, metric, class or "" for the mean) → its figure with an interval."""
        return {
            (kind, found.metric, found.class_name): found
            for kind, drawn in self.resampled
            for found in estimates(drawn)
        }


def judge_run(files: RunFiles, *, num_resamples: int = NUM_RESAMPLES) -> Judged:
    """Judge a run's predictions.

    Raises:
        UserError: if they can't be read, have no masks, or aren't of the run's dataset.
    """
    truth = load_ground_truth(files.annotations)
    if not len(truth.ids):
        raise UserError(f"{files.annotations} has no labelled objects; there is nothing to judge")
    results = load_results(files.results_file, truth)
    if any(rle is None for rle in results.rles):
        raise UserError(f"{files.results_file} has detections without masks; the report needs them")
    masked = truth.with_masks
    segm, matches = evaluate_and_match(masked, results, "segm")
    bbox, box_matches = evaluate_and_match(truth, results, "bbox")
    thresholds = best_thresholds(matches)
    examination = examine(masked, results, score_threshold=thresholds, matches=matches)
    pixels = _pixel_counts(masked, results, thresholds)
    statistics = [
        (MASKS, AveragePrecision(matches)),
        (BOXES, AveragePrecision(box_matches)),
        (BOUNDARIES, AveragePrecision(match(masked, results, iou_type="boundary"))),
        (MASKS, matched_iou_metric(matches)),
        *((MASKS, ratio) for ratio in detection_metrics(matches, thresholds)),
        *((PIXELS, ratio) for ratio in pixel_metrics(matches.image_ids, truth.class_names, pixels)),
    ]
    return Judged(
        files,
        masked,
        results,
        {"segm": segm, "bbox": bbox},
        matches,
        examination,
        thresholds,
        summary(examination),
        [(kind, resample(found, num_resamples=num_resamples)) for kind, found in statistics],
        slice_estimates(matches, examination.instances, num_resamples),
        *detection_counts(matches, thresholds),
        image_quality(matches, thresholds),
    )


def best_thresholds(matches: Matches) -> np.ndarray:
    """float64 [K]: the score where F1 is largest; `DEFAULT_THRESHOLD` where nothing was found."""
    found = [best_threshold(class_curve(matches, k)).score for k in range(len(matches.class_names))]
    return np.where(np.isnan(found), DEFAULT_THRESHOLD, found)


def _pixel_counts(truth: GroundTruth, results: Results, thresholds: np.ndarray) -> np.ndarray:
    """int64 [N, K + 1, K + 1]: pixels of each image by true class (row) and predicted one."""
    counts = []
    for image in image_masks(truth, results):
        pixels = PixelOverlap(len(thresholds), thresholds)
        pixels.update(image)
        counts.append(pixels.matrix)
    return np.array(counts)


def slice_estimates(
    matches: Matches, instances: Instances, num_resamples: int
) -> dict[str, dict[str, dict[str, Estimate]]]:
    """Question → slice that has objects → "AP", "AP50" and "recall" (at IoU 50 %) of hard objects.

    They are means over the classes, of detections of any score.
    """
    found = {}
    for question, cut in SLICINGS.items():
        slicing = cut(instances)
        found[question] = {}
        for s, name in enumerate(slicing.names):
            mine = slice_matches(matches, instances, slicing, s)
            if not mine.num_objects.any():
                continue
            statistics = AveragePrecision(mine), detection_metrics(mine, 0.0)[1]
            found[question][name] = {
                row.metric: row
                for statistic in statistics
                for row in estimates(resample(statistic, num_resamples=num_resamples))
                if not row.class_name and row.metric in SLICE_METRICS
            }
    return found


def detection_counts(matches: Matches, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many detections of each image are true, and how many false; int64 [N] each."""
    kept, true = _kept(matches, thresholds)
    num_images = len(matches.image_ids)
    right = np.bincount(matches.image[true], minlength=num_images)
    return right, np.bincount(matches.image[kept], minlength=num_images) - right


def _kept(matches: Matches, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """bool [D]: which detections count, and which of them are true at the lowest IoU."""
    kept = ~matches.ignored[0] & (matches.score >= thresholds[matches.category])
    return kept, kept & matches.matched[0]


def image_quality(matches: Matches, thresholds: np.ndarray) -> np.ndarray:
    """float64 [N]; see `Judged`. Source: Kirillov et al., "Panoptic Segmentation", 2019."""
    _, true = _kept(matches, thresholds)
    overlap = np.bincount(matches.image[true], matches.iou[true], len(matches.image_ids))
    either = sum(detection_counts(matches, thresholds)) + matches.num_objects.sum(1)
    return np.where(either > 0, 2 * overlap / np.maximum(either, 1), np.nan)


def compare_runs(first: Judged, second: Judged) -> dict[tuple[str, str, str], Difference]:
    """(kind, metric, class or "" for the mean) → second minus first.

    Raises:
        UserError: if they weren't judged on the same images, classes and labels.
    """
    if first.files.dataset != second.files.dataset:
        raise UserError(
            f"{first.files.name} was evaluated on {first.files.dataset} and {second.files.name} on "
            f"{second.files.dataset}; compare runs on one dataset"
        )
    pairs = zip(first.resampled, second.resampled, strict=True)
    return {
        (kind, found.metric, found.class_name): found
        for (kind, ours), (_, theirs) in pairs
        for found in differences(ours, theirs)
    }
