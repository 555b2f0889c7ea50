"""COCO's greedy matching of detections with objects, for all images and thresholds at once.

pycocotools goes through images, categories, area ranges, thresholds, detections and objects in
nested loops. Only detections that overlap an object enough can be matched, and within an image and
category only their order counts: so all detections of rank 0 choose at once, then all of rank 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from project.evaluation.ground_truth import GroundTruth
from project.evaluation.overlaps import Pairs, Ranked, find_pairs
from project.evaluation.results import Results

import numpy as np


@dataclass(frozen=True)
class Outcome:
    """What became of the detections, in the order of `project.evaluation.overlaps.Ranked`.

    Attributes:
        true: bool [A, T, D], matched to an object that counts.
        ignored: bool [A, T, D], counts neither as true nor as false.
        object: int64 [T, D], index of the object matched in the first area range, or -1.
        iou: float64 [D], with the object matched there at the lowest threshold, or 0.
        num_objects: int32 [A, N, K], objects that count.
    """

    true: np.ndarray
    ignored: np.ndarray
    object: np.ndarray
    iou: np.ndarray
    num_objects: np.ndarray


def match_all(
    ground_truth: GroundTruth,
    results: Results,
    ranked: Ranked,
    detection_areas: np.ndarray,
    iou_type: str,
    thresholds: np.ndarray,
    areas: np.ndarray,
) -> Outcome:
    """Match all detections.

    Args:
        detection_areas: [number of results], by which detections fall into area ranges.
        thresholds: float64 [T], IoU, ascending.
        areas: float64 [A, 2], area ranges.
    """
    enough = np.minimum(thresholds, 1 - 1e-10)  # as pycocotools: IoU 1 shall reach threshold 1
    pairs = find_pairs(ground_truth, results, ranked, detection_areas, iou_type, enough[0])
    skipped = ~within(ground_truth.areas, areas) | ground_truth.crowd
    rows, chosen = match_pairs(pairs, ranked, skipped, ground_truth.crowd, enough)
    shape = len(areas), len(thresholds), len(ranked.row)
    true = np.zeros(shape, dtype=bool)
    ignored = np.empty(shape, dtype=bool)
    # An unmatched detection is false, if its own size is in the range.
    ignored[:] = ~within(detection_areas[ranked.row], areas)[:, None]
    met = chosen >= 0
    skips = np.zeros_like(met)
    for a in range(len(areas)):
        skips[a, met[a]] = skipped[a, pairs.object[chosen[a][met[a]]]]
    true[:, :, rows] = met & ~skips
    ignored[:, :, rows] = np.where(met, skips, ignored[:, :, rows])
    objects = np.full(shape[1:], -1, dtype=np.int64)
    objects[:, rows] = np.where(met[0], np.append(pairs.object, -1)[chosen[0]], -1)
    iou = np.zeros(shape[2])
    iou[rows] = np.where(met[0, 0], np.append(pairs.iou, 0)[chosen[0, 0]], 0)
    return Outcome(true, ignored, objects, iou, count_objects(ground_truth, skipped))


def within(sizes: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """bool [A, N]: which of N sizes lie in each of A ranges, bounds included."""
    return (areas[:, :1] <= sizes) & (sizes <= areas[:, 1:])


def count_objects(ground_truth: GroundTruth, skipped: np.ndarray) -> np.ndarray:
    """int32 [A, N, K]: objects of each image and category that aren't ``skipped`` [A, G]."""
    shape = len(ground_truth.image_ids), len(ground_truth.category_ids)
    group = ground_truth.image * shape[1] + ground_truth.category
    counts = [np.bincount(group[~row], minlength=shape[0] * shape[1]) for row in skipped]
    return np.stack(counts).reshape(len(skipped), *shape).astype(np.int32)


def match_pairs(
    pairs: Pairs,
    ranked: Ranked,
    skipped: np.ndarray,
    crowd: np.ndarray,
    enough: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The pair that each detection is matched by.

    A detection takes, among the objects that are left, the one of the largest IoU (the later of
    equal ones), first among those that count, then among the others. A crowd can be taken again.

    Args:
        pairs: overlaps, by detection.
        ranked: the detections.
        skipped: bool [A, G], for each area range the objects that don't count.
        crowd: bool [G].
        enough: float64 [T], the least IoU for a match.

    Returns:
        Rows int64 [Q], the detections with pairs, and int64 [A, T, Q], places in ``pairs``, or -1.
    """
    rows, starts = np.unique(pairs.detection, return_index=True)
    num_cases = len(skipped), len(enough)
    chosen = np.full((*num_cases, len(rows)), -1, dtype=np.int64)
    taken = np.zeros((*num_cases, len(crowd)), dtype=bool)
    ends = np.append(starts[1:], len(pairs.detection))
    by_rank = np.argsort(ranked.rank[rows], kind="stable")
    steps = np.flatnonzero(np.diff(ranked.rank[rows][by_rank], prepend=-1))
    for members in np.split(by_rank, steps[1:]) if len(rows) else ():
        sizes = ends[members] - starts[members]
        heads = np.cumsum(sizes) - sizes
        place = np.arange(sizes.sum()) + np.repeat(starts[members] - heads, sizes)
        object_, iou = pairs.object[place], pairs.iou[place]
        free = ~taken[:, :, object_] | crowd[object_]
        # Objects that don't count come after all that do.
        worth = np.where(skipped[:, None, object_], iou - 2, iou)
        worth = np.where(free & (iou >= enough[:, None]), worth, -np.inf)
        best = np.maximum.reduceat(worth, heads, axis=2)
        is_best = worth == np.repeat(best, sizes, axis=2)
        last = np.maximum.reduceat(np.where(is_best, place, -1), heads, axis=2)
        last[np.isneginf(best)] = -1
        chosen[:, :, members] = last
        case = np.nonzero(last >= 0)
        taken[case[0], case[1], pairs.object[last[case]]] = True
    return rows, chosen
