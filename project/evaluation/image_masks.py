"""The masks of one image side by side: objects, crowd regions, detections, and their IoU.

COCO's matching never looks across classes; confusion, error types and overlays have to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path

from project.data.exploration.masks import CroppedMask
from project.evaluation.ground_truth import GroundTruth, load_ground_truth
from project.evaluation.overlaps import rank_results
from project.evaluation.results import Results, checked_mask_areas, load_results
from project.evaluation.rle import decode_crop

import numpy as np

MAX_DETECTIONS = 100  # of one class in one image, COCO's limit


@dataclass(frozen=True, eq=False)
class ImageMasks:
    """G objects, C crowd regions and D detections of one image; masks are RLE dicts.

    Detections are sorted by class, then falling score (ties as in the results), so those of all
    images in turn are the rows of `project.evaluation.matches.Matches`.

    Attributes:
        image_id: of the COCO file.
        size: height and width in pixels.
        object_ids: int64 [G], annotation ids; objects are in the order of the file.
        object_classes: int64 [G], class indices.
        object_areas: float64 [G], square pixels by the file's ``area``, else of the mask.
        objects: G masks.
        crowd_classes: int64 [C].
        crowds: C masks.
        rows: int64 [D], places in the list of results.
        classes: int64 [D].
        scores: float64 [D].
        areas: int64 [D], pixels.
        detections: D masks.
        backend: "hotcoco" or "pycocotools", whose IoU it is.
    """

    image_id: int
    size: tuple[int, int]
    object_ids: np.ndarray
    object_classes: np.ndarray
    object_areas: np.ndarray
    objects: Sequence[dict]
    crowd_classes: np.ndarray
    crowds: Sequence[dict]
    rows: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    areas: np.ndarray
    detections: Sequence[dict]
    backend: str = "hotcoco"

    @cached_property
    def iou(self) -> np.ndarray:
        """float64 [D, G], 0-1: of every detection with every object, whatever their classes."""
        return self._iou(self.objects, crowd=False)

    @cached_property
    def crowd_cover(self) -> np.ndarray:
        """float64 [D, C], 0-1: share of each detection that lies in each crowd region."""
        return self._iou(self.crowds, crowd=True)

    @cached_property
    def in_crowd(self) -> np.ndarray:
        """float64 [D], 0-1: the largest share of each detection in a crowd region of its class."""
        same = self.classes[:, None] == self.crowd_classes
        return np.where(same, self.crowd_cover, 0).max(1, initial=0)

    @cached_property
    def by_score(self) -> np.ndarray:
        """int64 [D]: indices of the detections by falling score."""
        return np.argsort(-self.scores, kind="stable")

    @cached_property
    def object_pixels(self) -> list[CroppedMask | None]:
        """The G objects' pixels."""
        return [pixels(rle) for rle in self.objects]

    @cached_property
    def detection_pixels(self) -> list[CroppedMask | None]:
        """The D detections' pixels."""
        return [pixels(rle) for rle in self.detections]

    def _iou(self, others: Sequence[dict], crowd: bool) -> np.ndarray:
        if not len(self.detections) or not len(others):
            return np.zeros((len(self.detections), len(others)))
        kernels = import_module(f"{self.backend}.mask")
        return kernels.iou(list(self.detections), list(others), [int(crowd)] * len(others))


def pixels(rle: dict) -> CroppedMask | None:
    """The pixels of an RLE; None if there are none."""
    crop, x, y = decode_crop(rle)
    return CroppedMask(crop.view(bool), x, y) if crop.size else None


def greedy_match(iou: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """int64 [D]: the column that each row of ``iou`` [D, G] gets, -1 for none.

    Rows choose in their order: the free column of the largest IoU, at least ``threshold``; of equal
    ones the last, as pycocotools has it.
    """
    match = np.full(len(iou), -1, np.int64)
    if not iou.size:
        return match
    # pycocotools lowers a threshold of 1 by as much.
    free = np.where(iou >= min(threshold, 1 - 1e-10), iou, -1.0)[:, ::-1].copy()
    last = free.shape[1] - 1
    for row in np.flatnonzero(free.max(1) >= 0):
        column = free[row].argmax()
        if free[row, column] >= 0:
            match[row] = last - column
            free[:, column] = -1
    return match


def image_masks(
    annotations: str | Path | dict | GroundTruth,
    results: str | Path | Sequence[dict] | Results,
    max_detections: int = MAX_DETECTIONS,
    backend: str = "hotcoco",
) -> Iterator[ImageMasks]:
    """The masks of each image of a COCO file, by ascending image id, one image at a time.

    Args:
        annotations: COCO's instances format; objects without a mask are left out.
        results: COCO's results format with ``segmentation``.
        max_detections: of one class in one image; the best are kept.
        backend: "hotcoco" or "pycocotools".

    Raises:
        UserError: if a file can't be read, a detection has no mask, or it names an image or class
            that the annotations don't have.
    """
    truth = load_ground_truth(annotations).with_masks
    found = load_results(results, truth)
    areas = checked_mask_areas(found, truth, backend)
    ranked = rank_results(found, len(truth.category_ids), max_detections).row
    order = np.argsort(truth.image, kind="stable")
    ends = np.arange(len(truth.image_ids) + 1)
    annotation_ends = np.searchsorted(truth.image[order], ends)
    detection_ends = np.searchsorted(found.image[ranked], ends)
    for i, image_id in enumerate(truth.image_ids.tolist()):
        own = order[annotation_ends[i] : annotation_ends[i + 1]]
        rows = ranked[detection_ends[i] : detection_ends[i + 1]]
        objects, crowds = own[~truth.crowd[own]], own[truth.crowd[own]]
        yield ImageMasks(
            image_id=image_id,
            size=tuple(truth.sizes[i].tolist()),
            object_ids=truth.ids[objects],
            object_classes=truth.category[objects],
            object_areas=truth.areas[objects],
            objects=[truth.rles[j] for j in objects],
            crowd_classes=truth.category[crowds],
            crowds=[truth.rles[j] for j in crowds],
            rows=rows,
            classes=found.category[rows],
            scores=found.score[rows],
            areas=areas[rows],
            detections=[found.rles[j] for j in rows],
            backend=backend,
        )
