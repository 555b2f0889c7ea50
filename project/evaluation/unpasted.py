"""A detector whose masks stay as small as it made them: for evaluation, which writes RLE."""

from __future__ import annotations

from detectron2.structures import Instances
from torch import nn


class UnpastedDetector(nn.Module):
    """Wraps a model so that its ``instances`` are at the image's size and its masks in their boxes.

    ``GeneralizedRCNN`` pastes each mask into an array of the image's size (100 masks of a photo of
    12 megapixels are 1.2 GB); `project.evaluation.coco.InstanceEvaluator` reads them as they are
    and writes identical masks.

    Args:
        model: has ``inference(batched_inputs, do_postprocess=False)``, as ``GeneralizedRCNN``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batched_inputs: list[dict]) -> list[dict]:
        """``{"instances": ...}`` for each image, with soft pred_masks [N, 1, M, M], if any."""
        found = self.model.inference(batched_inputs, do_postprocess=False)
        return [
            {"instances": at_size(instances, *self._size(image, instances))}
            for image, instances in zip(batched_inputs, found, strict=True)
        ]

    @staticmethod
    def _size(image: dict, instances: Instances) -> tuple[int, int]:
        height, width = instances.image_size
        return image.get("height", height), image.get("width", width)


def at_size(instances: Instances, height: int, width: int) -> Instances:
    """Detections with boxes scaled and clipped to an image of this size; empty ones are dropped.

    As ``detector_postprocess``, but masks are left in their boxes.
    """
    scale_y, scale_x = height / instances.image_size[0], width / instances.image_size[1]
    scaled = Instances((height, width), **instances.get_fields())
    scaled.pred_boxes = instances.pred_boxes.clone()
    scaled.pred_boxes.scale(scale_x, scale_y)
    scaled.pred_boxes.clip((height, width))
    return scaled[scaled.pred_boxes.nonempty()]
