"""Which objects are meant, and how much of each pixel is theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from project.errors import UserError, unknown_name
from project.visualization.records import BoxMask, crop_mask

import numpy as np
from detectron2.structures import Instances

WAYS = ("all", "largest", "surest", "left", "at")
_SPECK = 0.01  # of the largest part's pixels: smaller parts of a label map are no objects
_TRACE = 0.05  # a probability from which on a pixel may hang on to a region


class NobodyFound(UserError):
    """An image without the object that was asked for."""


@dataclass(frozen=True)
class Choice:
    """Some of the objects of a class.

    Attributes:
        way: "all"; "largest" (most pixels); "surest" and "left" (by ``numbers``, counted from 1,
            of the objects ordered by score, or from left to right by the middle of the box); "at"
            (those that cover the point).
        point: (x, y), pixels of the image.
    """

    way: str = "all"
    numbers: tuple[int, ...] = ()
    point: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.way not in WAYS:
            raise UserError(unknown_name("choice of objects", self.way, WAYS))
        numbered = self.way in ("surest", "left")
        if numbered != bool(self.numbers) or min(self.numbers, default=1) < 1:
            raise UserError(
                f"objects {self.way} {' '.join(map(str, self.numbers))}".rstrip()
                + ": expected numbers from 1 on behind 'surest' and 'left', and behind no other"
            )
        if (self.way == "at") != (self.point is not None):
            raise UserError("expected x and y, in pixels, behind 'at', and behind no other")
        if self.point is not None and not np.isfinite(self.point).all():
            raise UserError(f"objects at {self.point}: expected finite numbers of pixels")


def parse_choice(words: Sequence[str]) -> Choice:
    """What ``all``, ``largest``, ``surest 1 2``, ``left 1`` or ``at X Y`` on a command line means.

    Raises:
        UserError: for anything else.
    """
    way, *rest = words or ["all"]
    try:
        if way == "at":
            x, y = map(float, rest)
            return Choice(way, point=(x, y))
        return Choice(way, numbers=tuple(map(int, rest)))
    except UserError:
        raise
    except ValueError:
        raise UserError(
            f"objects {' '.join(words)}: expected all, largest, surest N ..., left N ... or at X Y"
        ) from None


@dataclass(frozen=True, eq=False)
class _Candidate:
    """An object that may be chosen; ``probability`` is made only if it is."""

    score: float
    shape: BoxMask
    probability: Callable[[], np.ndarray]

    @property
    def middle(self) -> float:
        return self.shape.x + self.shape.pixels.shape[1] / 2

    def covers(self, x: float, y: float) -> bool:
        row, column = int(np.floor(y)) - self.shape.y, int(np.floor(x)) - self.shape.x
        height, width = self.shape.pixels.shape
        return 0 <= row < height and 0 <= column < width and bool(self.shape.pixels[row, column])


def soft_mask(
    instances: Instances, class_index: int, name: str, choice: Choice | None = None
) -> np.ndarray:
    """How probably each pixel belongs to the chosen objects, float32 ``[H, W]``, 0-1.

    That is ``1 - (1 - p_1) (1 - p_2) ...`` over the objects: no seam is left between two people
    who touch. Of a model that tells classes and not objects, connected parts of a class's region
    count as objects, people who touch as one; specks of less than a hundredth of the largest
    part don't count, and a pixel belongs to the part that is nearest.

    Args:
        instances: of a `Predictor`, with masks.
        class_index: of the class.
        name: of the class, for messages.
        choice: None for all.

    Raises:
        NobodyFound: if there is no such object.
        UserError: if the model has no masks.
    """
    if not instances.has("pred_masks"):
        raise UserError("the model predicts no masks; take a run of one that does")
    choice = choice or Choice()
    of_class = instances[instances.pred_classes == class_index]
    parts = getattr(of_class.pred_masks, "by_class", False)
    chosen = _choose(_region_parts(of_class) if parts else _objects(of_class), choice, name)
    clear = np.ones(instances.image_size, np.float32)
    for candidate in chosen:
        clear *= 1 - candidate.probability()
    return 1 - clear


def _objects(instances: Instances) -> list[_Candidate]:
    """Each object that has a pixel, surest first."""
    masks = instances.pred_masks
    shapes = (masks.crop(i) for i in range(len(masks)))
    return [
        _Candidate(score, shape, lambda i=i: masks.probability(i))
        for i, (score, shape) in enumerate(zip(instances.scores.tolist(), shapes, strict=True))
        if shape is not None
    ]


def _region_parts(instances: Instances) -> list[_Candidate]:
    """The connected parts of the one region that a class has, surest first."""
    import cv2

    if not len(instances):
        return []
    probability = instances.pred_masks.probability(0)
    bitmap = np.asarray(instances.pred_masks[0])[0]
    _, parts, stats, _ = cv2.connectedComponentsWithStats(bitmap.view(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = 1 + np.flatnonzero(areas >= _SPECK * areas.max())
    nearest = _nearest_part(parts, kept)
    region = np.isin(parts, kept)
    nearest[~_attached(probability, region) | (bitmap & ~region)] = 0

    def cut(number: int) -> np.ndarray:
        return np.where(nearest == number, probability, 0)

    candidates = [
        _Candidate(
            float(probability[parts == number].mean()),
            crop_mask(parts == number),
            lambda number=number: cut(number),
        )
        for number in kept.tolist()
    ]
    return sorted(candidates, key=lambda candidate: -candidate.score)


def _nearest_part(parts: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The number of the part in ``kept`` that is nearest to each pixel."""
    import cv2

    outside = (~np.isin(parts, kept)).view(np.uint8)
    # The labels that OpenCV gives to its zero pixels have an order of their own.
    _, labels = cv2.distanceTransformWithLabels(
        outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    inside = outside == 0
    lookup = np.zeros(int(labels.max()) + 1, parts.dtype)
    lookup[labels[inside]] = parts[inside]
    return lookup[labels]


def _attached(probability: np.ndarray, region: np.ndarray) -> np.ndarray:
    """The pixels that a path of more than a trace of probability joins to the region."""
    import cv2

    traces = (probability >= _TRACE) | region
    _, parts = cv2.connectedComponents(traces.view(np.uint8), connectivity=8)
    known = np.zeros(int(parts.max()) + 1, bool)
    known[parts[region]] = True
    known[0] = False
    return known[parts]


def _choose(objects: list[_Candidate], choice: Choice, name: str) -> list[_Candidate]:
    if not objects:
        raise NobodyFound(f"no {name} found")
    if choice.way == "all":
        return objects
    if choice.way == "largest":
        return [max(objects, key=lambda candidate: candidate.shape.pixels.sum())]
    if choice.way == "at":
        if chosen := [candidate for candidate in objects if candidate.covers(*choice.point)]:
            return chosen
        x, y = choice.point
        raise NobodyFound(f"no {name} found at ({x:g}, {y:g})")
    if choice.way == "left":
        objects = sorted(objects, key=lambda candidate: candidate.middle)
    if max(choice.numbers) > len(objects):
        raise NobodyFound(
            f"no {name} number {max(choice.numbers)} found: there is {len(objects)} in all"
            if len(objects) == 1
            else f"no {name} number {max(choice.numbers)} found: there are {len(objects)} in all"
        )
    return [objects[number - 1] for number in dict.fromkeys(choice.numbers)]
