"""Pairs of detections and objects that overlap enough to be matched."""

from __future__ import annotations

from dataclasses import dataclass

from project.evaluation.boundary import boundary_rles
from project.evaluation.ground_truth import GroundTruth
from project.evaluation.results import Results

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
    ground_truth: GroundTruth, results: Results, ranked: Ranked, iou_type: str, least: float
) -> Pairs:
    """All pairs of one image and category with an IoU of at least ``least``."""
    order, batches = _batches(ground_truth, ranked)
    if iou_type == "bbox":
        shapes = results.boxes[ranked.row], ground_truth.boxes[order]
    else:
        rles = ground_truth.rles
        shapes = [results.rles[i] for i in ranked.row], [rles[i] for i in order]
    crowd = ground_truth.crowd[order]
    pairs = _overlaps(*shapes, crowd, batches, iou_type, least)
    if iou_type == "boundary":
        pairs = _with_boundaries(pairs, *shapes, crowd, batches, least)
    return Pairs(pairs.detection, order[pairs.object], pairs.iou)


def _batches(ground_truth: GroundTruth, ranked: Ranked) -> tuple[np.ndarray, np.ndarray]:
    """Objects by group, and int64 [B, 4]: first and end of each group's detections and objects."""
    num_categories = len(ground_truth.category_ids)
    group = ground_truth.image * num_categories + ground_truth.category
    order = np.argsort(group, kind="stable")
    both = np.intersect1d(group, ranked.group)
    bounds = [
        np.searchsorted(groups, both, side=side)
        for groups in (ranked.group, group[order])
        for side in ("left", "right")
    ]
    return order, np.stack(bounds, axis=1)


def _overlaps(detections, objects, crowd, batches, iou_type: str, least: float) -> Pairs:
    from hotcoco import primitives

    iou = primitives.bbox_iou if iou_type == "bbox" else primitives.mask_iou
    flags = crowd.tolist()
    found = [
        iou(detections[d0:d1], objects[g0:g1], flags[g0:g1]).ravel()
        for d0, d1, g0, g1 in batches.tolist()
    ]
    values = np.concatenate([np.zeros(0), *found])
    d0, d1, g0, g1 = batches.T
    widths = g1 - g0
    counts = (d1 - d0) * widths
    inside = np.arange(len(values)) - np.repeat(np.cumsum(counts) - counts, counts)
    row, column = np.divmod(inside, np.repeat(widths, counts))
    kept = np.flatnonzero(values >= least)
    detection = (np.repeat(d0, counts) + row)[kept]
    return Pairs(detection, (np.repeat(g0, counts) + column)[kept], values[kept])


def _with_boundaries(pairs: Pairs, detections, objects, crowd, batches, least: float) -> Pairs:
    """The pairs whose boundaries overlap enough too, with the smaller one of the two IoUs.

    Outlines are made only of masks whose IoU is large enough.
    """
    used_detections, detection = np.unique(pairs.detection, return_inverse=True)
    used_objects, object_ = np.unique(pairs.object, return_inverse=True)
    d0, d1 = (np.searchsorted(used_detections, batches[:, i]) for i in (0, 1))
    g0, g1 = (np.searchsorted(used_objects, batches[:, i]) for i in (2, 3))
    some = np.flatnonzero(d1 > d0)
    outlines = _overlaps(
        boundary_rles([detections[i] for i in used_detections]),
        boundary_rles([objects[i] for i in used_objects]),
        crowd[used_objects],
        np.stack([d0, d1, g0, g1], axis=1)[some],
        "segm",
        0.0,
    )
    # Both lists go by detection, then object: look the pairs up among all of the outlines'.
    width = max(len(used_objects), 1)
    places = np.searchsorted(
        outlines.detection * width + outlines.object, detection * width + object_
    )
    iou = np.minimum(pairs.iou, outlines.iou[places]) if len(places) else pairs.iou
    kept = iou >= least
    return Pairs(pairs.detection[kept], pairs.object[kept], iou[kept])
