"""From files to figures: COCO metrics and per-image records of detections.

Two ways lead there. ``backend="hotcoco"`` (the default) takes overlaps, areas and rasterised
polygons from hotcoco's compiled kernels and matches all images at once. ``backend="pycocotools"``
lets pycocotools do everything. Both give the same figures.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from project.evaluation.curves import Curves, make_curves, summarize
from project.evaluation.ground_truth import GroundTruth, load_ground_truth
from project.evaluation.matches import Matches
from project.evaluation.matching import match_all
from project.evaluation.overlaps import rank_results
from project.evaluation.protocol import SIZES, Protocol, check_backend
from project.evaluation.reference import curves_of, evaluate_by_pycocotools, outcome_of
from project.evaluation.results import Results, box_areas, checked_mask_areas, load_results

import numpy as np

Annotations = str | Path | dict | GroundTruth
Detections = str | Path | Sequence[dict] | Results


@contextlib.contextmanager
def _without_gc() -> Iterator[None]:
    """No garbage collection inside: among millions of new records it finds nothing, slowly."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_gc()
def evaluate_results(
    annotations: Annotations,
    results: Detections,
    iou_type: str = "segm",
    *,
    iou_thresholds: Sequence[float] | None = None,
    sizes: Mapping[str, tuple[float, float]] | None = None,
    max_detections: Sequence[int] = (1, 10, 100),
    image_ids: Sequence[int] | None = None,
    backend: str = "hotcoco",
) -> dict[str, float]:
    """COCO metrics in percent (0-100); NaN for what has no objects.

    Detections fall into area ranges by their mask (by their box for ``iou_type="bbox"``).

    Args:
        annotations: a COCO instances file, or the dict in it.
        results: a COCO results file, or the list in it.
        iou_type: "bbox", "segm" or "boundary" (`project.evaluation.boundary`).
        iou_thresholds: default 0.5, 0.55, ... 0.95.
        sizes: area ranges by the ending of their metrics; default COCO's s, m, l.
        max_detections: AP is taken at the last, AR at each.
        image_ids: judge these images only.
        backend: "hotcoco" or "pycocotools".

    Returns:
        AP, AP50, AP75, APs, APm, APl, AR@1, AR@10, AR@100, ARs, ARm, ARl, and for each of several
        classes AP-, AP50-, AP75- and AR- with its name (`project.evaluation.curves.summarize`).

    Raises:
        UserError: if a file can't be read, the two don't belong together, or an entry lacks what is
            needed.
    """
    rules = _rules(iou_type, iou_thresholds, sizes, max_detections)
    ground_truth, found = _load(annotations, results, rules, image_ids)
    return Judge(ground_truth, found, rules, rules.areas, backend).metrics()


@_without_gc()
def match(
    annotations: Annotations,
    results: Detections,
    *,
    iou_type: str = "segm",
    area_range: tuple[float, float] = (0, np.inf),
    max_detections: int = 100,
    iou_thresholds: Sequence[float] | None = None,
    image_ids: Sequence[int] | None = None,
    backend: str = "hotcoco",
) -> Matches:
    """Which detection met which object, for every image (arguments: `evaluate_results`)."""
    rules = _rules(iou_type, iou_thresholds, {}, [max_detections])
    ground_truth, found = _load(annotations, results, rules, image_ids)
    areas = np.array([area_range], dtype=np.float64)
    return Judge(ground_truth, found, rules, areas, backend).matches()


@_without_gc()
def evaluate_and_match(
    annotations: Annotations,
    results: Detections,
    iou_type: str = "segm",
    *,
    max_detections: Sequence[int] = (1, 10, 100),
    image_ids: Sequence[int] | None = None,
    backend: str = "hotcoco",
) -> tuple[dict[str, float], Matches]:
    """`evaluate_results` and `match` (at the last of ``max_detections``) in one go."""
    rules = _rules(iou_type, None, None, max_detections)
    ground_truth, found = _load(annotations, results, rules, image_ids)
    judge = Judge(ground_truth, found, rules, rules.areas, backend)
    return judge.metrics(), judge.matches()


def _rules(iou_type, iou_thresholds, sizes, max_detections) -> Protocol:
    options = {"sizes": SIZES if sizes is None else dict(sizes)}
    if iou_thresholds is not None:
        options["iou_thresholds"] = tuple(iou_thresholds)
    return Protocol(iou_type=iou_type, max_detections=tuple(max_detections), **options)


def _load(annotations, results, rules: Protocol, image_ids) -> tuple[GroundTruth, Results]:
    ground_truth = load_ground_truth(annotations)
    found = load_results(results, ground_truth)
    if rules.iou_type != "bbox":
        ground_truth = ground_truth.with_masks
    if image_ids is not None:
        found = found.only(ground_truth, image_ids)
        ground_truth = ground_truth.only(image_ids)
    return ground_truth, found


class Judge:
    """One evaluation: matches once, then gives curves, records, or both.

    Args:
        ground_truth: for masks, only objects that have one.
        areas: float64 [A, 2], area ranges; records are of the first.
        backend: "hotcoco" or "pycocotools".
    """

    def __init__(
        self,
        ground_truth: GroundTruth,
        results: Results,
        rules: Protocol,
        areas: np.ndarray,
        backend: str = "hotcoco",
    ) -> None:
        check_backend(backend)
        self._ground_truth, self._results, self._rules = ground_truth, results, rules
        if rules.iou_type == "bbox":
            sizes = box_areas(results)
        else:
            sizes = checked_mask_areas(results, ground_truth, backend)
        num_categories = len(ground_truth.category_ids)
        self._ranked = rank_results(results, num_categories, rules.max_detections[-1])
        if backend == "pycocotools":
            evaluation = evaluate_by_pycocotools(ground_truth, results, sizes, rules, areas)
            self._curves: Curves | None = curves_of(evaluation)
            self._outcome = outcome_of(evaluation, ground_truth, self._ranked)
        else:
            self._curves = None
            self._outcome = match_all(
                ground_truth, results, self._ranked, sizes, rules.iou_type, rules.thresholds, areas
            )

    def metrics(self) -> dict[str, float]:
        """See `project.evaluation.curves.summarize`."""
        names, rules = self._ground_truth.class_names, self._rules
        limits = tuple(rules.max_detections)
        curves = self._curves
        if curves is None:
            category = self._ranked.group % max(len(names), 1)
            score = self._results.score[self._ranked.row]
            curves = make_curves(self._outcome, category, self._ranked.rank, score, limits)
        return summarize(curves, names, rules.thresholds, tuple(rules.sizes), limits)

    def matches(self) -> Matches:
        """Records at the largest number of detections."""
        truth, outcome, ranked = self._ground_truth, self._outcome, self._ranked
        image, category = np.divmod(ranked.group, max(len(truth.category_ids), 1))
        ids = np.append(truth.ids, 0)  # -1, for none, takes the last
        return Matches(
            class_names=truth.class_names,
            image_ids=truth.image_ids,
            iou_thresholds=self._rules.thresholds,
            image=image.astype(np.int32),
            category=category.astype(np.int32),
            score=self._results.score[ranked.row],
            matched=outcome.true[0],
            ignored=outcome.ignored[0],
            object_id=ids[outcome.object],
            iou=outcome.iou,
            num_objects=outcome.num_objects[0],
        )
