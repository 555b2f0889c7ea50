"""Matching records of datasets and detectors that never were, to try statistics on.

Images differ, and what an image has is shared by all its objects: that is why detections can't be
resampled one by one, and what a simulation without it would hide.
"""

from __future__ import annotations

from dataclasses import dataclass

from project.evaluation.matches import Matches

import numpy as np

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_MAX_OBJECTS = 13  # of a class in an image, as the source subset has
_IMAGE_PIXELS = 640 * 480


@dataclass(frozen=True)
class SimulatedClass:
    """How often a class comes and how well it is found.

    Attributes:
        presence: share of the images that hold it.
        extra_objects: mean number of objects in such an image, less one.
        quality: mean logit of an object's IoU.
        false_detections: mean number in an image without the class; three times that with it.
    """

    name: str
    presence: float
    extra_objects: float
    quality: float
    false_detections: float


CLASSES = (
    SimulatedClass("cake", 0.13, 1.0, 0.9, 0.4),
    SimulatedClass("car", 0.4, 2.0, 0.7, 0.8),
    SimulatedClass("dog", 0.2, 0.3, 1.3, 0.4),
    SimulatedClass("person", 0.7, 3.0, 1.0, 0.8),
)


@dataclass(frozen=True)
class SimulatedRun:
    """What evaluating one detector gives.

    Attributes:
        intersection: pixels [N, K] of a class that the detector finds.
        union: pixels [N, K] of a class that are true, found, or both.
        truth: pixels [N, K] of a class that are true.
    """

    matches: Matches
    intersection: np.ndarray
    union: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class _Objects:
    """Objects of one dataset, [G] each.

    Attributes:
        ease: logit of the IoU that detectors reach on average.
        area: pixels.
    """

    image: np.ndarray
    category: np.ndarray
    ease: np.ndarray
    area: np.ndarray


def simulate_runs(
    generator: np.random.Generator,
    num_images: int = 300,
    classes: tuple[SimulatedClass, ...] = CLASSES,
    *,
    num_runs: int = 1,
) -> list[SimulatedRun]:
    """One dataset, seen by detectors that are equally good.

    Every image has an ease and a clutter of its own, every object an ease and an area. A detector
    adds its own noise to the IoU and the score of an object, and its own false detections.
    """
    ease, clutter = generator.normal(size=(2, num_images))
    presence = np.array([c.presence for c in classes])
    extra = np.array([c.extra_objects for c in classes])
    present = generator.random((num_images, len(classes))) < presence
    crowd = generator.gamma(1.0, extra, present.shape)  # its Poisson is a geometric distribution
    count = np.where(present, np.minimum(1 + generator.poisson(crowd), _MAX_OBJECTS), 0)
    image, category = (
        index.repeat(count.ravel()) for index in np.indices(count.shape).reshape(2, -1)
    )
    quality = np.array([c.quality for c in classes])[category]
    objects = _Objects(
        image=image,
        category=category,
        ease=quality + 0.6 * ease[image] + generator.normal(scale=0.8, size=len(image)),
        area=_areas(generator, len(image)),
    )
    false = np.array([c.false_detections for c in classes])
    rate = false * np.where(present, 3.0, 1.0) * np.exp(0.6 * clutter[:, None] - 0.18)
    names = tuple(c.name for c in classes)
    return [_detect(generator, objects, rate, count, names) for _ in range(num_runs)]


def _areas(generator: np.random.Generator, count: int) -> np.ndarray:
    """Pixels: COCO's objects, from specks to the whole image."""
    return np.minimum(np.exp(generator.normal(8.3, 1.5, count)), 0.8 * _IMAGE_PIXELS)


def _detect(
    generator: np.random.Generator,
    objects: _Objects,
    false_rate: np.ndarray,
    count: np.ndarray,
    names: tuple[str, ...],
) -> SimulatedRun:
    """A detector's records on the objects, with false detections at the given rate [N, K]."""
    logit = objects.ease + generator.normal(scale=0.5, size=len(objects.ease))
    iou = _sigmoid(logit)
    confidence = 1.2 * logit + generator.normal(scale=0.8, size=len(logit))
    found = generator.random(len(logit)) < _sigmoid(1.5 + 1.5 * logit)
    false = generator.poisson(false_rate).ravel()
    image, category = (index.repeat(false) for index in np.indices(false_rate.shape).reshape(2, -1))
    false_score = _sigmoid(generator.normal(-1.2, 1.3, len(image)))
    matches = _records(
        names,
        np.concatenate([objects.image[found], image]),
        np.concatenate([objects.category[found], category]),
        np.concatenate([_sigmoid(confidence[found]), false_score]),
        np.concatenate([iou[found], np.zeros(len(image))]),
        np.concatenate([1 + np.flatnonzero(found), np.zeros(len(image), np.int64)]),
        count,
    )
    # With equal areas of object and mask, IoU q leaves 2q / (1 + q) of the object found.
    overlap = np.where(found, objects.area * 2 * iou / (1 + iou), 0)
    union = objects.area + np.where(found, objects.area - overlap, 0)
    shown = false_score > 0.5
    added = _sums(image[shown], category[shown], _areas(generator, int(shown.sum())), count.shape)
    where = objects.image, objects.category
    intersection, union, truth = (
        _sums(*where, pixels, count.shape) for pixels in (overlap, union, objects.area)
    )
    return SimulatedRun(matches, intersection, union + added, truth)


def _records(
    names: tuple[str, ...],
    image: np.ndarray,
    category: np.ndarray,
    score: np.ndarray,
    iou: np.ndarray,
    object_id: np.ndarray,
    count: np.ndarray,
) -> Matches:
    order = np.lexsort((-score, category, image))
    matched = iou[order] >= IOU_THRESHOLDS[:, None]
    return Matches(
        class_names=names,
        image_ids=np.arange(1, len(count) + 1),
        iou_thresholds=IOU_THRESHOLDS,
        image=image[order].astype(np.int32),
        category=category[order].astype(np.int32),
        score=score[order],
        matched=matched,
        ignored=np.zeros_like(matched),
        object_id=np.where(matched, object_id[order], 0),
        iou=np.where(matched[0], iou[order], 0),
        num_objects=count.astype(np.int32),
    )


def _sums(
    image: np.ndarray, category: np.ndarray, values: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Values summed by image and class, ``shape`` = [N, K]."""
    cells = image * shape[1] + category
    return np.bincount(cells, values, minlength=shape[0] * shape[1]).reshape(shape)


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))
