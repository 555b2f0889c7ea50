"""Pairs of detections and objects that overlap enough to be matched."""

from __future__ import annotations

from dataclasses import dataclass

from project.evaluation.boundary import boundary_rles
from project.evaluation.ground_truth import GroundTruth
from project.evaluation.results import Results
from project.evaluation.rle import mask_areas, mask_boxes

import numpy as np


@dataclass(frozen=True)
class Ranked:
    """Detections as they are matched: by image, category, falling score; the best of each group.

    Attributes:
        row: int64 [D], places in the results.
        group: int64 [D], image index times number of categories plus category index.
        rank: int64 [D], place in the group, from 0.
    """

    row: np.ndarray
    group: np.ndarray
    rank: np.ndarray


@dataclass(frozen=True)
class Pairs:
    """Overlaps, by detection.

    Attributes:
        detection: int64 [P], index into the rows of `Ranked`, ascending.
        object: int64 [P], index into the ground truth, ascending for each detection.
        iou: float64 [P], 0-1; with a crowd: the share of the detection that lies in it.
    """

    detection: np.ndarray
    object: np.ndarray
    iou: np.ndarray


def rank_results(results: Results, num_categories: int, limit: int) -> Ranked:
    """The ``limit`` best detections of each image and category (stable, as pycocotools sorts)."""
    group = results.image * num_categories + results.category
    row = np.lexsort((-results.score, group))
    group = group[row]
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    sizes = np.diff(starts, append=len(group))
    rank = np.arange(len(group)) - np.repeat(starts, sizes)
    kept = rank < limit
    return Ranked(row[kept], group[kept], rank[kept])


def find_pairs(
    ground_truth: GroundTruth,
    results: Results,
    ranked: Ranked,
    detection_areas: np.ndarray,
    iou_type: str,
    least: float,
) -> Pairs:
    """All pairs of one image and category with an IoU of at least ``least``.

    Args:
        detection_areas: [number of results], of their masks or boxes.
    """
    detection, object_ = _same_group(ground_truth, ranked)
    crowd = ground_truth.crowd[object_]
    one = detection_areas[ranked.row][detection]
    if iou_type == "bbox":
        boxes = results.boxes[ranked.row], ground_truth.boxes
        other = (boxes[1][:, 2] * boxes[1][:, 3])[object_]
        common = _common(boxes[0][detection], boxes[1][object_])
        return _at_least(least, detection, object_, _iou(common, one, other, crowd))
    masks = [results.rles[i] for i in ranked.row.tolist()], ground_truth.rles
    other = mask_areas(masks[1])[object_]
    # Most pairs can't overlap enough, by what areas and boxes allow: their masks aren't compared.
    near = np.flatnonzero(_iou(np.minimum(one, other), one, other, crowd) >= least)
    detection, object_, one, other, crowd = (
        values[near] for values in (detection, object_, one, other, crowd)
    )
    common = _common(_boxes(masks[0], detection), _boxes(masks[1], object_))
    most = np.minimum(common, np.minimum(one, other))
    pairs = _at_least(least, detection, object_, _iou(most, one, other, crowd))
    iou = _mask_iou(pairs, masks, ground_truth.crowd)
    pairs = _at_least(least, pairs.detection, pairs.object, iou)
    if iou_type == "boundary":
        # Outlines are made only of masks whose IoU is large enough.
        iou = np.minimum(pairs.iou, _boundary_iou(pairs, masks, ground_truth.crowd))
        pairs = _at_least(least, pairs.detection, pairs.object, iou)
    return pairs


def _same_group(ground_truth: GroundTruth, ranked: Ranked) -> tuple[np.ndarray, np.ndarray]:
    """Detection and object, int64 [P] each, of all pairs of one image and category."""
    group = ground_truth.image * len(ground_truth.category_ids) + ground_truth.category
    order = np.argsort(group, kind="stable")
    starts, ends = (np.searchsorted(group[order], ranked.group, side=s) for s in ("left", "right"))
    counts = ends - starts
    detection = np.repeat(np.arange(len(counts)), counts)
    inside = np.arange(len(detection)) - np.repeat(np.cumsum(counts) - counts, counts)
    return detection, order[starts[detection] + inside]


def _boxes(rles: list[dict], places: np.ndarray) -> np.ndarray:
    """Boxes of the masks at ``places`` [P], float64 [P, 4]; a mask that isn't there isn't read."""
    used, back = np.unique(places, return_inverse=True)
    return mask_boxes([rles[i] for i in used.tolist()])[back]


def _common(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Area [P] that boxes [P, 4] (x, y, width, height) have in common."""
    sides = np.minimum(first[:, :2] + first[:, 2:], second[:, :2] + second[:, 2:])
    sides -= np.maximum(first[:, :2], second[:, :2])
    return np.where((sides > 0).all(axis=1), sides[:, 0] * sides[:, 1], 0.0)


def _iou(common: np.ndarray, one: np.ndarray, other: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """IoU [P] by areas; with a crowd the share of the first. In pycocotools' arithmetic."""
    whole = np.where(crowd, one, one + other - common)
    return np.divide(common, whole, out=np.zeros(len(common)), where=common > 0)


def _at_least(least: float, detection: np.ndarray, object_: np.ndarray, iou: np.ndarray) -> Pairs:
    kept = np.flatnonzero(iou >= least)
    return Pairs(detection[kept], object_[kept], iou[kept])


def _mask_iou(pairs: Pairs, masks: tuple[list, list], crowd: np.ndarray) -> np.ndarray:
    """Overlap [P] of pairs of RLE masks; each object with all its detections in one go."""
    from hotcoco import primitives

    order = np.argsort(pairs.object, kind="stable")
    objects, starts = np.unique(pairs.object[order], return_index=True)
    ends = np.append(starts, len(order))[1:]
    detections = [masks[0][i] for i in pairs.detection[order].tolist()]
    columns = (column.tolist() for column in (objects, crowd[objects], starts, ends))
    found = [
        primitives.mask_iou(detections[start:end], [masks[1][object_]], [flag])[:, 0]
        for object_, flag, start, end in zip(*columns, strict=True)
    ]
    iou = np.empty(len(order))
    iou[order] = np.concatenate([np.zeros(0), *found])
    return iou


def _boundary_iou(pairs: Pairs, masks: tuple[list, list], crowd: np.ndarray) -> np.ndarray:
    """Overlap [P] of the outlines of pairs of masks."""
    used_detections, detection = np.unique(pairs.detection, return_inverse=True)
    used_objects, object_ = np.unique(pairs.object, return_inverse=True)
    outlines = (
        boundary_rles([masks[0][i] for i in used_detections]),
        boundary_rles([masks[1][i] for i in used_objects]),
    )
    return _mask_iou(Pairs(detection, object_, pairs.iou), outlines, crowd[used_objects])
