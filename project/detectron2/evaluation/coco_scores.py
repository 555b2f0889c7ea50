"""Numbers from predictions in COCO's result form: average precision, proposal recall.

Pure functions behind `COCOEvaluator`; matching is pycocotools' `COCOeval`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from ..structures import Boxes, BoxMode, pairwise_iou
from .coco_ground_truth import coco_index, mask_areas, quiet_pycocotools

logger = logging.getLogger(__name__)

# Names of the metrics by the label that pycocotools gives to an area range.
_AREA_METRICS = {"small": "APs", "medium": "APm", "large": "APl"}
METRICS = {
    "bbox": ("AP", "AP50", "AP75", "APs", "APm", "APl"),
    "segm": ("AP", "AP50", "AP75", "APs", "APm", "APl"),
    "keypoints": ("AP", "AP50", "AP75", "APm", "APl"),
}
_AREAS = {"": (0.0, 1e10), "s": (0.0, 32.0**2), "m": (32.0**2, 96.0**2), "l": (96.0**2, 1e10)}


def evaluate_task(
    ground_truth,
    results: list[dict[str, Any]],
    task: str,
    *,
    max_dets: Sequence[int] = (1, 10, 100),
    img_ids: Sequence | None = None,
    kpt_oks_sigmas: Sequence[float] = (),
):
    """A ``COCOeval`` that has evaluated and accumulated.

    Args:
        ground_truth: a ``COCO``.
        results: non-empty, in COCO's result form.
        task: "bbox", "segm" or "keypoints".
        max_dets: best-scored detections that count, per image and class (not for keypoints).
        img_ids: images to look at; default all.
        kpt_oks_sigmas: one per keypoint; default COCO's 17.

    Raises:
        AssertionError: for results of unknown images, or without what the task needs.
    """
    from pycocotools.cocoeval import COCOeval

    strangers = {result["image_id"] for result in results} - ground_truth.imgs.keys()
    known = "the ground truth has no images with these ids"
    assert not strangers, f"{known}: {sorted(strangers, key=str)[:5]} ({len(strangers)} in all)"
    dataset = ground_truth.dataset
    detections = coco_index({**dataset, "annotations": _as_annotations(results, task)})
    with quiet_pycocotools():
        evaluation = COCOeval(ground_truth, detections, task)
        if task == "keypoints":
            _set_sigmas(evaluation.params, results, kpt_oks_sigmas)
        else:
            evaluation.params.maxDets = list(max_dets)
        if img_ids is not None:
            evaluation.params.imgIds = list(img_ids)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _as_annotations(results: list[dict[str, Any]], task: str) -> list[dict[str, Any]]:
    """Results as annotations, with the area that decides about their size class."""
    shape = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}[task]
    lacking = sum(shape not in result for result in results)
    assert not lacking, f"task {task!r}: {lacking} of {len(results)} predictions lack {shape!r}"
    if task == "segm":
        areas = mask_areas([result["segmentation"] for result in results]).tolist()
    elif task == "bbox":
        areas = [result["bbox"][2] * result["bbox"][3] for result in results]
    else:
        points = np.asarray([result["keypoints"] for result in results]).reshape(
            len(results), -1, 3
        )
        areas = np.ptp(points[..., :2], axis=1).prod(axis=1).tolist()
    kept = ("image_id", "category_id", "score", shape)
    return [
        {**{key: result[key] for key in kept}, "id": number, "iscrowd": 0, "area": area}
        for number, (result, area) in enumerate(zip(results, areas, strict=True), 1)
    ]


def _set_sigmas(params, results: list[dict], sigmas: Sequence[float]) -> None:
    if len(sigmas):
        params.kpt_oks_sigmas = np.asarray(sigmas, dtype=float)
    found, expected = len(results[0]["keypoints"]) // 3, len(params.kpt_oks_sigmas)
    assert found == expected, f"{found} keypoints predicted, but {expected} kpt_oks_sigmas"


def summarize(evaluation, class_names: Sequence[str]) -> dict[str, float]:
    """AP in percent (0-100), overall and per class; NaN where there is no ground truth.

    All are means over the valid entries of COCOeval's precision [IoU, recall, class, area,
    max_dets] at the last of the sorted max_dets.

    Args:
        evaluation: an accumulated ``COCOeval``.
        class_names: in the order of ascending category ids; a single one gets no entry of its own.
    """
    precision = evaluation.eval["precision"][..., -1]
    ious = evaluation.params.iouThrs
    metrics = {"AP": _mean_percent(precision[..., 0])}
    for threshold in (0.5, 0.75):
        at = np.isclose(ious, threshold)
        metrics[f"AP{threshold * 100:.0f}"] = _mean_percent(precision[at][..., 0])
    for index, label in enumerate(evaluation.params.areaRngLbl):
        if label in _AREA_METRICS:
            metrics[_AREA_METRICS[label]] = _mean_percent(precision[..., index])
    if len(class_names) > 1:
        classes = precision.shape[2]
        agree = len(class_names) == classes
        assert agree, f"{len(class_names)} class names, but {classes} categories in the json"
        for index, name in enumerate(class_names):
            metrics[f"AP-{name}"] = _mean_percent(precision[:, :, index, 0])
    return metrics


def _mean_percent(precision: np.ndarray) -> float:
    valid = precision[precision > -1]
    return 100 * float(valid.mean()) if valid.size else float("nan")


def proposal_recall(
    ground_truth, predictions: Iterable[dict], limits: Sequence[int] = (100, 1000)
) -> dict[str, float]:
    """Average recall of class-agnostic proposals, percent: ``AR@100``, ``ARs@100``, ...

    Ground truth and proposals are matched one to one, the pair of highest IoU first; the recall is
    averaged over the IoU thresholds 0.5, 0.55 ... 0.95. Crowds don't count, and neither do (as in
    Detectron2) images without any proposal. A size class holds the annotations whose ``area`` is in
    its range, bounds (32² and 96² pixels) included.

    Args:
        ground_truth: a ``COCO``.
        predictions: dicts with ``image_id`` and ``proposals`` (Instances with ``proposal_boxes``
            and ``objectness_logits``).
        limits: numbers of best proposals per image.
    """
    images = [_ious_with_proposals(ground_truth, p) for p in predictions if len(p["proposals"])]
    thresholds = np.arange(0.5, 0.95 + 1e-5, 0.05, dtype=np.float32)
    recalls = {}
    for limit in limits:
        for suffix, (low, high) in _AREAS.items():
            best = [
                _greedy_ious(ious[(low <= areas) & (areas <= high), :limit])
                for ious, areas in images
            ]
            best = np.concatenate([np.zeros(0, dtype=np.float32), *best])
            hits = (best[None, :] >= thresholds[:, None]).sum(axis=1)
            # In float32, as Detectron2 does.
            recall = torch.from_numpy(hits).float() / best.size
            recalls[f"AR{suffix}@{limit:d}"] = 100 * recall.mean().item()
    return recalls


def _ious_with_proposals(ground_truth, prediction: dict) -> tuple[np.ndarray, np.ndarray]:
    """IoU [annotations, proposals by falling score] (float32) and the annotations' areas."""
    annotations = [
        annotation
        for annotation in ground_truth.imgToAnns[prediction["image_id"]]
        if not annotation["iscrowd"]
    ]
    boxes = torch.tensor([annotation["bbox"] for annotation in annotations]).reshape(-1, 4)
    boxes = BoxMode.convert(boxes.float(), BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
    proposals = prediction["proposals"]
    order = proposals.objectness_logits.sort(descending=True).indices
    ious = pairwise_iou(Boxes(boxes), proposals.proposal_boxes[order])
    areas = np.array([annotation["area"] for annotation in annotations], dtype=np.float64)
    return ious.numpy(), areas


def _greedy_ious(ious: np.ndarray) -> np.ndarray:
    """IoU that each annotation [G] gets when pairs are taken by falling IoU; 0 without a pair."""
    left = ious.copy()
    found = np.zeros(left.shape[0], dtype=np.float32)
    for _ in range(min(left.shape)):
        row, column = np.unravel_index(left.argmax(), left.shape)
        found[row] = left[row, column]
        left[row, :] = left[:, column] = -1
    return found
