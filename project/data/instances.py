"""The objects of an augmented picture as a model is trained on: boxes, classes, masks.

All polygons of a picture are transformed as one array, each mask is drawn only inside its own
window, and boxes come from these windows: nothing looks at whole pictures object by object.
"""

from __future__ import annotations

from project.data.patches import Patch, draw_polygons, tight, union
from project.errors import UserError

import numpy as np
import torch
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks

MASK_FORMATS = ("bitmask", "polygon")

Polygons = list[np.ndarray]  # float64 [P, 2] each


def record_instances(
    record: dict, transforms: T.TransformList, size: tuple[int, int], mask_format: str = "bitmask"
) -> Instances:
    """The objects of ``record`` after ``transforms``, in a picture of ``size`` (height, width).

    Args:
        mask_format: "bitmask" gives `BitMasks` and boxes tight around their pixels. "polygon" gives
            `PolygonMasks` and boxes tight around the polygons, cut at the frame, where all objects
            of the picture are polygons; else it is as "bitmask".

    Returns:
        ``gt_boxes``, ``gt_classes`` and ``gt_masks``; crowd regions and objects that left the
        picture are dropped.

    Raises:
        UserError: if the record is unlabelled, or an annotation has no usable mask.
    """
    if "annotations" not in record:
        raise UserError(f"{named(record)} is unlabelled and can't be trained on")
    objects = [a for a in record["annotations"] if not a.get("iscrowd", 0)]
    masks = _transformed(objects, record, transforms, size)
    classes = np.array([annotation["category_id"] for annotation in objects], np.int64)
    if mask_format == "polygon" and all(isinstance(mask, list) for mask in masks):
        return _with_polygons(masks, classes, size)
    return _with_bitmasks(masks, classes, size)


def named(record: dict) -> str:
    """File and id of a record's picture, for messages."""
    return f"image {record['file_name']} (image id {record.get('image_id')})"


def _transformed(
    objects: list[dict], record: dict, transforms: T.TransformList, size: tuple[int, int]
) -> list[Polygons | np.ndarray]:
    """Of each object its polygons, or its mask as an array [H, W], as they are in the picture."""
    masks: list = []
    for annotation in objects:
        mask = annotation.get("segmentation")
        if mask is None or len(mask) == 0:
            raise UserError(f"{named(record)}: {_annotation_name(annotation, record)} has no mask")
        try:
            if isinstance(mask, list):
                mask = [_points(part) for part in mask]
            else:
                mask = detection_utils.transform_instance_annotations(
                    dict(annotation), transforms, size
                )["segmentation"].astype(bool, copy=False)
        except (ValueError, TypeError) as error:
            where = f"{named(record)}: {_annotation_name(annotation, record)}"
            raise UserError(f"{where} has no usable mask: {error}") from None
        masks.append(mask)
    polygons = iter(transform_polygons([m for m in masks if isinstance(m, list)], transforms))
    return [next(polygons) if isinstance(mask, list) else mask for mask in masks]


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


def _with_polygons(masks: list[Polygons], classes: np.ndarray, size: tuple[int, int]) -> Instances:
    boxes = np.zeros((len(masks), 4))
    for box, parts in zip(boxes, masks, strict=True):
        if parts:
            points = np.concatenate(parts)
            box[:2], box[2:] = points.min(axis=0), points.max(axis=0)
    height, width = size
    boxes = np.clip(boxes, 0, [width, height, width, height])
    kept = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] > 1e-5).all(axis=1))
    polygons = PolygonMasks([[part.reshape(-1) for part in masks[i]] for i in kept])
    return _instances(boxes[kept], classes[kept], polygons, size)


def _with_bitmasks(
    masks: list[Polygons | np.ndarray], classes: np.ndarray, size: tuple[int, int]
) -> Instances:
    parts = iter(draw_polygons([p for m in masks if isinstance(m, list) for p in m], *size))
    patches = [
        tight(union([next(parts) for _ in m]) if isinstance(m, list) else Patch(m, 0, 0))
        for m in masks
    ]
    found = [i for i, patch in enumerate(patches) if patch.pixels.size]
    # Zeros cost nothing before they are touched, so neither do pixels without an object.
    bitmaps = np.zeros((len(found), *size), bool)
    boxes = np.zeros((len(found), 4))
    for bitmap, box, i in zip(bitmaps, boxes, found, strict=True):
        patch = patches[i]
        bitmap[patch.top : patch.bottom, patch.left : patch.right] = patch.pixels
        box[:] = patch.left, patch.top, patch.right, patch.bottom
    return _instances(boxes, classes[found], BitMasks(torch.from_numpy(bitmaps)), size)


def _instances(
    boxes: np.ndarray, classes: np.ndarray, masks: BitMasks | PolygonMasks, size: tuple[int, int]
) -> Instances:
    return Instances(
        size,
        gt_boxes=Boxes(torch.from_numpy(boxes.astype(np.float32))),
        gt_classes=torch.from_numpy(classes),
        gt_masks=masks,
    )


def _annotation_name(annotation: dict, record: dict) -> str:
    if "id" in annotation:
        return f"annotation {annotation['id']}"
    return f"annotation number {record['annotations'].index(annotation)} (counted from 0)"
