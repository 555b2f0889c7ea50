"""The objects of an augmented picture as a model is trained on: boxes, classes, masks."""

from __future__ import annotations

from project.data.objects import Objects

import numpy as np
import torch
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks

MASK_FORMATS = ("bitmask", "polygon")


def as_instances(objects: Objects, mask_format: str = "bitmask") -> Instances:
    """``gt_boxes``, ``gt_classes`` and ``gt_masks`` of ``objects``; empty ones are dropped.

    Args:
        mask_format: "bitmask" gives `BitMasks` and boxes tight around their pixels. "polygon" gives
            `PolygonMasks` and boxes tight around the polygons, cut at the frame, where all objects
            of the picture are polygons; else it is as "bitmask".
    """
    if mask_format == "polygon" and all(isinstance(mask, list) for mask in objects.masks):
        return _with_polygons(objects)
    return _with_bitmasks(objects.drawn())


def _with_polygons(objects: Objects) -> Instances:
    boxes = np.zeros((len(objects.masks), 4))
    for box, parts in zip(boxes, objects.masks, strict=True):
        if parts:
            points = np.concatenate(parts)
            box[:2], box[2:] = points.min(axis=0), points.max(axis=0)
    height, width = objects.size
    boxes = np.clip(boxes, 0, [width, height, width, height])
    kept = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] > 1e-5).all(axis=1))
    polygons = PolygonMasks([[part.reshape(-1) for part in objects.masks[i]] for i in kept])
    return _instances(boxes[kept], objects.classes[kept], polygons, objects.size)


def _with_bitmasks(objects: Objects) -> Instances:
    found = [i for i, patch in enumerate(objects.masks) if patch.pixels.size]
    # Zeros cost nothing before they are touched, so neither do pixels without an object.
    bitmaps = np.zeros((len(found), *objects.size), bool)
    boxes = np.zeros((len(found), 4))
    for bitmap, box, i in zip(bitmaps, boxes, found, strict=True):
        patch = objects.masks[i]
        bitmap[patch.top : patch.bottom, patch.left : patch.right] = patch.pixels
        box[:] = patch.left, patch.top, patch.right, patch.bottom
    masks = BitMasks(torch.from_numpy(bitmaps))
    return _instances(boxes, objects.classes[found], masks, objects.size)


def _instances(
    boxes: np.ndarray, classes: np.ndarray, masks: BitMasks | PolygonMasks, size: tuple[int, int]
) -> Instances:
    return Instances(
        size,
        gt_boxes=Boxes(torch.from_numpy(boxes.astype(np.float32))),
        gt_classes=torch.from_numpy(classes),
        gt_masks=masks,
    )
