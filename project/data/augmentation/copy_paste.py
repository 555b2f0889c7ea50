"""Copy-paste: objects of another picture of the dataset, put into this one with their masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from project.data.augmentation.closing import check_until, is_before
from project.data.objects import Objects, Picture
from project.data.patches import Patch, tight
from project.data.statistics import ClassStatistics
from project.errors import UserError, unknown_name

import numpy as np

PLACEMENTS = ("random", "same")
INVERSE = "inverse_frequency"


class CopyPaste:
    """Pastes objects of a drawn picture of the dataset; `InstanceMapper` takes it as an argument.

    Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance
    Segmentation", 2021. Both pictures are augmented first, and objects are cut out along their
    masks, without blending, which made no difference there. What they hide is taken from the masks
    behind them. A picture that got something has bit masks in either mask format. Crowd regions are
    never pasted.

    An object's chance to be drawn is proportional to the weight of its class. The source picture is
    drawn in proportion to the sum over its objects; then 1 to ``max_objects`` draws are made among
    them, and an object that is drawn twice is pasted once.

    Args:
        probability: share of the pictures, 0-1, that get something.
        max_objects: most objects that one picture gets.
        class_weights: None for equal weights, "inverse_frequency" for one over the number of
            objects of the class, so that each class is drawn equally often at first, or a mapping
            from class names to weights (others: 1; 0: never pasted).
        placement: "random" puts each object anywhere, all of it inside if it fits; "same" keeps its
            place, as the paper does after large-scale jitter.
        min_visible: objects of which less than this share stays visible, 0-1, are dropped.
        until: position in the run's stream of samples from which on nothing is pasted; see
            `project.data.augmentation.UntilPosition`.
    """

    def __init__(
        self,
        *,
        probability: float = 0.5,
        max_objects: int = 4,
        class_weights: str | Mapping[str, float] | None = None,
        placement: str = "random",
        min_visible: float = 0.1,
        until: int | None = None,
    ) -> None:
        if not 0 <= probability <= 1:
            raise UserError(f"CopyPaste: probability must be 0 to 1, got {probability}")
        if max_objects < 1:
            raise UserError(f"CopyPaste: max_objects must be at least 1, got {max_objects}")
        if not 0 <= min_visible <= 1:
            raise UserError(f"CopyPaste: min_visible must be 0 to 1, got {min_visible}")
        if placement not in PLACEMENTS:
            raise UserError(f"CopyPaste: {unknown_name('placement', placement, PLACEMENTS)}")
        if isinstance(class_weights, str) and class_weights != INVERSE:
            raise UserError(f"CopyPaste: {unknown_name('class_weights', class_weights, [INVERSE])}")
        self.probability, self.max_objects = probability, max_objects
        self.class_weights, self.placement = class_weights, placement
        self.min_visible = min_visible
        self.until = None if until is None else check_until("CopyPaste", until)
        self._records: Sequence[dict] | None = None

    def bind(self, records: Sequence[dict], statistics: ClassStatistics) -> None:
        """Say which pictures to paste from: those that the loader has in memory anyway.

        Raises:
            UserError: if the weights don't fit the classes, or leave nothing to paste.
        """
        weights = object_weights(self.class_weights, statistics)
        sums = np.cumsum(statistics.counts @ weights)
        if not sums[-1:].sum() > 0:
            raise UserError("CopyPaste: the dataset has no object of a class with a weight above 0")
        self._records, self._weights = records, weights
        self._sums = sums / sums[-1]

    def __call__(
        self, picture: Picture, position: int | None, read: Callable[[dict], Picture]
    ) -> Picture:
        """``picture`` with what was drawn, or as it is.

        Args:
            position: of the sample in the run; the source picture is augmented as at this place.
            read: dataset dict → augmented picture.

        Raises:
            UserError: if no loader has called `bind`.
        """
        if self._records is None:
            raise UserError(
                "CopyPaste has no dataset to paste from; project.data.loader.build_train_loader "
                "gives it, others call the mapper's bind(records, statistics)"
            )
        if self.until is not None and not is_before(position, self.until):
            return picture
        if np.random.uniform() >= self.probability:
            return picture
        record = self._records[int(np.searchsorted(self._sums, np.random.uniform(), "right"))]
        source = read({**record, "position": position})
        chosen = self._choose(source.objects.drawn())
        places = [self._place(patch, picture.objects.size) for patch in chosen.masks]
        return paste(picture, source.image, chosen, places, self.min_visible)

    def _choose(self, objects: Objects) -> Objects:
        """Some of ``objects``, in the order in which they were drawn."""
        there = np.array([patch.pixels.size > 0 for patch in objects.masks], bool)
        weights = self._weights[objects.classes] * there
        if not weights.sum() > 0:  # augmentation has pushed them out of the frame
            return objects.take([])
        number = np.random.randint(1, self.max_objects + 1)
        draws = np.random.choice(len(weights), number, p=weights / weights.sum())
        return objects.take(list(dict.fromkeys(draws.tolist())))

    def _place(self, patch: Patch, size: tuple[int, int]) -> tuple[int, int]:
        """Top and left for ``patch`` in a picture of ``size``."""
        if self.placement == "same":
            return patch.top, patch.left
        rooms = [side - length for side, length in zip(size, patch.pixels.shape, strict=True)]
        # Where an object is larger than the picture, the picture lies within the object.
        top, left = (int(np.random.randint(min(room, 0), max(room, 0) + 1)) for room in rooms)
        return top, left


def object_weights(
    class_weights: str | Mapping[str, float] | None, statistics: ClassStatistics
) -> np.ndarray:
    """float64 [K]: weight of each object of class k; see `CopyPaste`.

    Raises:
        UserError: for a class that the dataset doesn't have, or a weight below 0.
    """
    if class_weights == INVERSE:
        return 1 / np.maximum(statistics.instances, 1)
    weights = np.ones(len(statistics.class_names))
    for name, weight in (class_weights or {}).items():
        if name not in statistics.class_names:
            raise UserError(f"CopyPaste: {unknown_name('class', name, statistics.class_names)}")
        if not 0 <= weight < np.inf:
            raise UserError(f"CopyPaste: the weight of {name!r} must be at least 0, got {weight}")
        weights[statistics.class_names.index(name)] = weight
    return weights


def paste(
    picture: Picture,
    source: np.ndarray,
    objects: Objects,
    places: Sequence[tuple[int, int]],
    min_visible: float,
) -> Picture:
    """``picture`` with ``objects`` of the image ``source`` in front, the first one foremost.

    Every mask ends up with exactly the pixels that show its object: no pixel belongs to two objects
    that didn't share it before. Pasted objects that would show too little aren't painted.

    Args:
        source: [H', W', C].
        objects: in ``source``, as patches.
        places: top and left of each patch in ``picture``; what lies outside is cut off.
        min_visible: share of an object, 0-1, that must be seen.
    """
    image = np.array(picture.image)
    taken = np.zeros(image.shape[:2], bool)
    pasted, classes = [], []
    for patch, (top, left), category in zip(objects.masks, places, objects.classes, strict=True):
        rows, columns, inner = _overlap(patch, top, left, taken.shape)
        free = patch.pixels[inner] & ~taken[rows, columns]
        if np.count_nonzero(free) < max(1, min_visible * np.count_nonzero(patch.pixels)):
            continue
        taken[rows, columns] |= free
        window = source[patch.top : patch.bottom, patch.left : patch.right][inner]
        image[rows, columns][free] = window[free]
        pasted.append(tight(Patch(free, rows.start, columns.start)))
        classes.append(category)
    if not pasted:
        return picture
    behind = picture.objects.without(taken, min_visible)
    masks, categories = [*behind.masks, *pasted], np.array([*behind.classes, *classes], np.int64)
    return Picture(image, Objects(masks, categories, behind.size))


def _overlap(
    patch: Patch, top: int, left: int, size: tuple[int, int]
) -> tuple[slice, slice, tuple[slice, slice]]:
    """Rows and columns of the picture that ``patch`` covers at a place, and of the patch there."""
    outer, inner = [], []
    for start, length, side in zip((top, left), patch.pixels.shape, size, strict=True):
        first, last = max(start, 0), max(min(start + length, side), max(start, 0))
        outer.append(slice(first, last))
        inner.append(slice(first - start, last - start))
    return outer[0], outer[1], (inner[0], inner[1])
