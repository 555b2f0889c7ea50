"""Predictions as pictures."""

from __future__ import annotations

from collections.abc import Sequence

from project.visualization.overlay import OverlayStyle, draw_overlay, fit_for_drawing
from project.visualization.palette import instance_colors
from project.visualization.records import DrawnObject, scale_object

import numpy as np
from detectron2.structures import Boxes, Instances


def predicted_objects(instances: Instances, class_names: Sequence[str]) -> list[DrawnObject]:
    """The objects that a `Predictor` found, to be drawn on the image at its own size."""
    masks: list = [None] * len(instances)
    if instances.has("pred_masks"):
        masks = [instances.pred_masks.crop(i) for i in range(len(instances))]
    boxes, scores = instances.pred_boxes.tensor.tolist(), instances.scores.tolist()
    rows = zip(instances.pred_classes.tolist(), boxes, masks, scores, strict=True)
    return [DrawnObject(k, class_names[k], tuple(box), mask, s) for k, box, mask, s in rows]


def resized(instances: Instances, height: int, width: int) -> Instances:
    """What a `Predictor` found, for the image at another size."""
    scale_y, scale_x = height / instances.image_size[0], width / instances.image_size[1]
    fields = dict(instances.get_fields())
    boxes = fields["pred_boxes"].tensor
    fields["pred_boxes"] = Boxes(boxes * boxes.new_tensor([scale_x, scale_y, scale_x, scale_y]))
    if "pred_masks" in fields:
        fields["pred_masks"] = fields["pred_masks"].resized(height, width)
    return Instances((height, width), **fields)


def draw_prediction(
    image: np.ndarray,
    instances: Instances,
    class_names: Sequence[str],
    style: OverlayStyle | None = None,
    *,
    by_instance: bool = False,
) -> np.ndarray:
    """``image`` (uint8 RGB ``[H, W, 3]``) at a readable size with its objects drawn on it.

    On a large photograph masks are drawn at the size of the picture, never at that of the image.

    Args:
        instances: of a `Predictor`.
        by_instance: another colour for each object instead of each class.
    """
    picture, _ = fit_for_drawing(image, ())
    factor = picture.shape[1] / image.shape[1]
    if factor < 1:
        objects = predicted_objects(resized(instances, *picture.shape[:2]), class_names)
    else:
        found = predicted_objects(instances, class_names)
        objects = [scale_object(obj, factor, picture.shape[:2]) for obj in found]
    return draw_overlay(
        picture, objects, style, instance_colors(len(objects)) if by_instance else None
    )
