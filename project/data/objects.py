"""The objects of a picture on the way to the model: polygons as long as possible, else patches.

All polygons of a picture are transformed as one array, and each mask is drawn only inside its own
window: nothing looks at whole pictures object by object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from project.data.patches import Patch, draw_polygons, tight, union
from project.errors import UserError

import numpy as np
from detectron2.data import detection_utils
from detectron2.data import transforms as T

Polygons = list[np.ndarray]  # float64 [P, 2] each


@dataclass(frozen=True, eq=False)
class Objects:
    """What is to be learnt from a picture; crowd regions are kept apart.

    Attributes:
        masks: of each object its polygons, or its tight `Patch`.
        classes: int64 [N].
        size: height and width of the picture.
    """

    masks: list[Polygons | Patch]
    classes: np.ndarray
    size: tuple[int, int]

    def take(self, places: Sequence[int]) -> Objects:
        """The objects at ``places``, in that order."""
        kept = np.asarray(places, np.int64)
        return Objects([self.masks[i] for i in kept], self.classes[kept], self.size)

    def drawn(self) -> Objects:
        """The same with a tight patch for each mask, empty outside the picture."""
        polygons = [part for mask in self.masks if isinstance(mask, list) for part in mask]
        parts = iter(draw_polygons(polygons, *self.size))
        masks = [
            tight(union([next(parts) for _ in mask])) if isinstance(mask, list) else mask
            for mask in self.masks
        ]
        return Objects(masks, self.classes, self.size)

    def without(self, hidden: np.ndarray, min_visible: float) -> Objects:
        """What stays visible of them where pixels of ``hidden`` (bool [H, W]) can't be seen.

        Objects of which less than the share ``min_visible`` (0-1) or nothing is left are dropped.
        If an object is hit, all masks become patches; else the objects stay as they are.
        """
        whole = self.drawn()
        visible = [_visible(patch, hidden) for patch in whole.masks]
        hit = [v is not patch for v, patch in zip(visible, whole.masks, strict=True)]
        if not any(hit):
            return self
        kept = [
            i
            for i, (now, before) in enumerate(zip(visible, whole.masks, strict=True))
            if not hit[i] or _area(now) >= max(1, min_visible * _area(before))
        ]
        return Objects(visible, self.classes, self.size).take(kept)


class Picture(NamedTuple):
    """An augmented image [H, W, C] and the objects in it."""

    image: np.ndarray
    objects: Objects


def _visible(patch: Patch, hidden: np.ndarray) -> Patch:
    """``patch`` without its hidden pixels; itself if there are none."""
    covered = hidden[patch.top : patch.bottom, patch.left : patch.right] & patch.pixels
    if not covered.any():
        return patch
    return tight(Patch(patch.pixels & ~covered, patch.top, patch.left))


def _area(patch: Patch) -> int:
    return np.count_nonzero(patch.pixels)


def record_objects(
    record: dict, transforms: T.TransformList, size: tuple[int, int], *, crowds: bool = False
) -> Objects:
    """The objects of ``record`` after ``transforms``, in a picture of ``size`` (height, width).

    Args:
        crowds: its crowd regions instead.

    Raises:
        UserError: if the record is unlabelled, or an annotation has no usable mask.
    """
    if "annotations" not in record:
        raise UserError(f"{named(record)} is unlabelled and can't be trained on")
    objects = [a for a in record["annotations"] if bool(a.get("iscrowd", 0)) == crowds]
    masks = [_own_mask(annotation, record, transforms, size) for annotation in objects]
    polygons = iter(transform_polygons([m for m in masks if isinstance(m, list)], transforms))
    masks = [next(polygons) if isinstance(mask, list) else mask for mask in masks]
    classes = np.array([annotation["category_id"] for annotation in objects], np.int64)
    return Objects(masks, classes, size)


def named(record: dict) -> str:
    """File and id of a record's picture, for messages."""
    return f"image {record['file_name']} (image id {record.get('image_id')})"


def _own_mask(
    annotation: dict, record: dict, transforms: T.TransformList, size: tuple[int, int]
) -> Polygons | Patch:
    """An object's polygons before ``transforms``, or its other mask after them."""
    where = f"{named(record)}: {_annotation_name(annotation, record)}"
    mask = annotation.get("segmentation")
    if mask is None or len(mask) == 0:
        raise UserError(f"{where} has no mask")
    try:
        if isinstance(mask, list):
            return [_points(part) for part in mask]
        pixels = detection_utils.transform_instance_annotations(dict(annotation), transforms, size)
        # Paddings mark themselves with other numbers than 0 (`FixedSizeCrop`: 255).
        return tight(Patch(pixels["segmentation"] == 1, 0, 0))
    except (ValueError, TypeError) as error:
        raise UserError(f"{where} has no usable mask: {error}") from None


def _points(part) -> np.ndarray:
    """A polygon's own copy of its corners, [P, 2]: transforms write into what they are given."""
    points = np.array(part, np.float64).reshape(-1, 2)
    if len(points) < 3:
        raise ValueError(f"a polygon has {len(points)} points; at least 3 are needed")
    return points


def transform_polygons(objects: list[Polygons], transforms: T.TransformList) -> list[Polygons]:
    """The polygons of all objects after ``transforms``; those of ``objects`` may be overwritten."""
    for step in transforms.transforms:
        # Only a transform with its own idea of a polygon (a crop) needs to see them one by one.
        if type(step).apply_polygons is not T.Transform.apply_polygons:
            objects = [[np.asarray(p) for p in step.apply_polygons(parts)] for parts in objects]
        elif any(objects):
            parts = [part for polygons in objects for part in polygons]
            points = step.apply_coords(np.concatenate(parts))
            pieces = iter(np.split(points, np.cumsum([len(part) for part in parts])[:-1]))
            objects = [[next(pieces) for _ in polygons] for polygons in objects]
    return objects


def _annotation_name(annotation: dict, record: dict) -> str:
    if "id" in annotation:
        return f"annotation {annotation['id']}"
    return f"annotation number {record['annotations'].index(annotation)} (counted from 0)"
