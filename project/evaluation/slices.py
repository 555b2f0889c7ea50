"""AP and recall of the difficult: occluded, crowded, cut, small, rare objects.

The rule, for every slice:

- detections are matched once, with all objects, by COCO's rule;
- an object outside of the slice is ignored as COCO ignores: it isn't asked for, and a detection
  that matches it counts neither as true nor as false;
- a false detection counts in the slice that it belongs to itself, by its image, class, size, place
  at the frame, or by how much of its box the labelled objects cover.

So over the slices of a partition objects, true and false detections each add up to all of them.
Slices of one question differ in their mix of classes as well; compare a class with itself where
that matters. Size differs from COCO's APs/APm/APl in two ways: each object is in exactly one slice
(COCO's ranges share their ends), and a detection isn't matched anew without the other objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from project.data.exploration.masks import pixel_claims
from project.data.exploration.objects import FRAME_MARGIN, SIZE_NAMES, frame_contacts, size_classes
from project.evaluation.average_precision import average_precision
from project.evaluation.errors import BACKGROUND
from project.evaluation.image_masks import ImageMasks
from project.evaluation.matches import Matches
from project.evaluation.precision_recall import counted
from project.evaluation.rle import mask_boxes

import numpy as np

COVER_LIMITS = (1.0, 25.0)  # percent of an object's box
COVER_NAMES = ("free (cover < 1 %)", "partly (1-25 %)", "occluded (25 % or more)")
CROWDING_LIMITS = (4, 10)  # objects in the image
CROWDING_NAMES = ("1-3 objects", "4-9 objects", "10 objects or more")
FREQUENCY_LIMITS = (11, 101)  # images that hold the class: the limits of LVIS
FREQUENCY_NAMES = ("rare (1-10 images)", "common (11-100 images)", "frequent (over 100 images)")
TRUNCATION_NAMES = ("inside", "at the frame")


@dataclass(frozen=True, eq=False)
class Instances:
    """What slices are cut by, of the G objects and D detections of all images in turn.

    Attributes:
        object_ids, object_images, object_classes: int64 [G]; images are indices into ascending
            image ids.
        object_areas: float64 [G], square pixels.
        object_cut: bool [G], the mask reaches the frame, to within a pixel.
        cover: float64 [G], percent of each object's box that lies under other objects and not under
            itself: what can be hidden of it at most, as far as the labels tell (COCO labels what is
            visible, so its masks hardly overlap).
        images, classes: int64 [D]; detections are in the order of `Matches`.
        areas: float64 [D], pixels.
        cut: bool [D].
        detection_cover: float64 [D], percent: as of objects, the object that a detection overlaps
            most taken for itself.
    """

    object_ids: np.ndarray
    object_images: np.ndarray
    object_classes: np.ndarray
    object_areas: np.ndarray
    object_cut: np.ndarray
    cover: np.ndarray
    images: np.ndarray
    classes: np.ndarray
    areas: np.ndarray
    cut: np.ndarray
    detection_cover: np.ndarray


class InstanceMeasures:
    """Collects `Instances` image by image."""

    def __init__(self) -> None:
        self._parts: list[tuple[np.ndarray, ...]] = []

    def update(self, image: ImageMasks) -> None:
        """Measure the objects and detections of one image."""
        index = len(self._parts)
        self._parts.append(
            (
                image.object_ids,
                np.full(len(image.object_ids), index),
                image.object_classes,
                image.object_areas,
                _cut(image.objects, image),
                _cover(image),
                np.full(len(image.rows), index),
                image.classes,
                image.areas.astype(float),
                _cut(image.detections, image),
                _detection_cover(image),
            )
        )

    def instances(self) -> Instances:
        """What was collected; empty arrays without images."""
        if self._parts:
            return Instances(*map(np.concatenate, zip(*self._parts, strict=True)))
        whole, number, flag = np.zeros(0, np.int64), np.zeros(0), np.zeros(0, bool)
        objects = (whole, whole, whole, number, flag, number)
        return Instances(*objects, whole, whole, number, flag, number)


def _cut(masks: Sequence[dict], image: ImageMasks) -> np.ndarray:
    """bool [M]: which masks reach the frame of the image; empty ones don't."""
    if not len(masks):
        return np.zeros(0, bool)
    boxes = mask_boxes(masks, image.backend)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    touched = frame_contacts(corners, np.tile(image.size, (len(boxes), 1)), FRAME_MARGIN).any(1)
    return touched & (boxes[:, 2:] > 0).all(1)


def _cover(image: ImageMasks) -> np.ndarray:
    """float64 [G], percent; objects without pixels have 0."""
    cover = np.zeros(len(image.objects))
    there = [i for i, mask in enumerate(image.object_pixels) if mask is not None]
    masks = [image.object_pixels[i] for i in there]
    cover[there] = pixel_claims(masks, [0] * len(masks), [], image.size, 1).cover
    return cover


def _detection_cover(image: ImageMasks) -> np.ndarray:
    """float64 [D], percent; detections without pixels have 0."""
    cover = np.zeros(len(image.detections))
    claims = np.zeros(image.size, np.int32)
    for mask in filter(None, image.object_pixels):
        claims[mask.window] += mask.pixels
    if not claims.any():
        return cover
    # The object of largest IoU; -1: none is near enough to be the one that is meant.
    near = np.pad(image.iou, ((0, 0), (1, 0)), constant_values=BACKGROUND).argmax(1) - 1
    for i, mask in enumerate(image.detection_pixels):
        if mask is not None:
            meant = image.object_pixels[near[i]] if near[i] >= 0 else None
            if meant is not None:
                claims[meant.window] -= meant.pixels
            hiding = np.count_nonzero(claims[mask.window][~mask.pixels])
            cover[i] = 100 * hiding / mask.pixels.size
            if meant is not None:
                claims[meant.window] += meant.pixels
    return cover


@dataclass(frozen=True, eq=False)
class Slicing:
    """A partition of all objects into S slices.

    Attributes:
        names: S.
        objects: int64 [G], the slice of each object.
        detections: int64 [D], the slice in which a detection counts when it is false.
    """

    names: tuple[str, ...]
    objects: np.ndarray
    detections: np.ndarray


def by_occlusion(instances: Instances) -> Slicing:
    """By how much of the object's box others cover."""
    covers = instances.cover, instances.detection_cover
    return Slicing(COVER_NAMES, *(np.searchsorted(COVER_LIMITS, c, side="right") for c in covers))


def by_crowding(instances: Instances) -> Slicing:
    """By the number of objects in the image; false detections in images without any: the first."""
    num_images = 1 + max(instances.object_images.max(initial=-1), instances.images.max(initial=-1))
    counts = np.bincount(instances.object_images, minlength=num_images)
    of_image = np.searchsorted(CROWDING_LIMITS, counts, side="right")
    return Slicing(CROWDING_NAMES, of_image[instances.object_images], of_image[instances.images])


def by_truncation(instances: Instances) -> Slicing:
    """By whether the mask reaches the frame, where an object is mostly cut off."""
    return Slicing(TRUNCATION_NAMES, instances.object_cut.astype(int), instances.cut.astype(int))


def by_size(instances: Instances) -> Slicing:
    """By COCO's areas: below 32², below 96², from there on."""
    return Slicing(SIZE_NAMES, size_classes(instances.object_areas), size_classes(instances.areas))


def by_frequency(instances: Instances, class_images: Sequence[int] | None = None) -> Slicing:
    """By the number of images that hold the class.

    Args:
        class_images: [K], in the training set; None counts those judged. Classes without any are
            with the rare ones.
    """
    if class_images is None:
        pairs = np.stack([instances.object_images, instances.object_classes], axis=1)
        most = max(instances.object_classes.max(initial=-1), instances.classes.max(initial=-1))
        class_images = np.bincount(np.unique(pairs, axis=0)[:, 1], minlength=most + 1)
    of_class = np.searchsorted(FREQUENCY_LIMITS, class_images, side="right")
    return Slicing(FREQUENCY_NAMES, of_class[instances.object_classes], of_class[instances.classes])


SLICINGS: dict[str, Callable[[Instances], Slicing]] = {
    "occlusion": by_occlusion,
    "crowding": by_crowding,
    "truncation": by_truncation,
    "size": by_size,
    "frequency": by_frequency,
}


def slice_matches(matches: Matches, instances: Instances, slicing: Slicing, s: int) -> Matches:
    """``matches`` with all objects ignored that aren't in slice ``s``.

    What works on `Matches` (AP, intervals, calibration) then works on the slice.

    Raises:
        ValueError: if ``matches`` and ``instances`` aren't of the same objects and detections.
    """
    check_same(matches, instances)
    order = np.argsort(instances.object_ids, kind="stable")
    ids = instances.object_ids[order]
    inside = np.zeros(matches.matched.shape, bool)
    hit = matches.matched
    inside[hit] = slicing.objects[order][np.searchsorted(ids, matches.object_id[hit])] == s
    elsewhere = ~hit & (slicing.detections != s)
    mine = slicing.objects == s
    num_objects = np.zeros_like(matches.num_objects)
    np.add.at(num_objects, (instances.object_images[mine], instances.object_classes[mine]), 1)
    return replace(
        matches,
        matched=inside,
        ignored=matches.ignored | (hit & ~inside) | elsewhere,
        object_id=np.where(inside, matches.object_id, 0),
        num_objects=num_objects,
    )


def check_same(matches: Matches, instances: Instances) -> None:
    """Raise a ValueError unless both are of the same objects and detections."""
    counts = np.zeros_like(matches.num_objects)
    np.add.at(counts, (instances.object_images, instances.object_classes), 1)
    same = (
        np.array_equal(counts, matches.num_objects)
        and np.array_equal(instances.images, matches.image)
        and np.array_equal(instances.classes, matches.category)
    )
    if not same:
        raise ValueError(
            "matches and instances differ; make both of the same files and max_detections, with "
            "all areas"
        )


def slice_summary(matches: Matches) -> dict:
    """Figures of one slice's matches, percent; NaN without objects.

    Returns:
        ``objects``; ``ap`` and ``recall``, means over the IoU thresholds and then over the classes
        with objects in the slice; ``ap50`` and ``recall50`` at the lowest threshold.
    """
    objects = matches.num_objects.sum(0)
    present = np.flatnonzero(objects)
    nan = float("nan")
    if not len(present):
        return {"objects": 0, "ap": nan, "recall": nan, "ap50": nan, "recall50": nan}
    num_thresholds = len(matches.iou_thresholds)
    ap = np.empty((num_thresholds, len(present)))
    recall = np.empty_like(ap)
    for i, k in enumerate(present):
        for t in range(num_thresholds):
            score, true = counted(matches, k, t)
            ap[t, i] = average_precision(score, true, int(objects[k]))
            recall[t, i] = np.count_nonzero(true) / objects[k]
    return {
        "objects": int(objects.sum()),
        "ap": 100 * float(ap.mean()),
        "recall": 100 * float(recall.mean()),
        "ap50": 100 * float(ap[0].mean()),
        "recall50": 100 * float(recall[0].mean()),
    }


def slices(matches: Matches, instances: Instances) -> dict:
    """All of `SLICINGS` as a plain dict: question → slice → `slice_summary`."""
    found = {name: cut(instances) for name, cut in SLICINGS.items()}
    return {
        question: {
            name: slice_summary(slice_matches(matches, instances, slicing, s))
            for s, name in enumerate(slicing.names)
        }
        for question, slicing in found.items()
    }
