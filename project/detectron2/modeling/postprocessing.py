"""Results at the size the caller wants; API of ``detectron2.modeling.postprocessing``."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ..structures import Instances, ROIMasks


def detector_postprocess(
    results: Instances, output_height: int, output_width: int, mask_threshold: float = 0.5
) -> Instances:
    """Detections of an image, rescaled to ``(output_height, output_width)``, in a new Instances.

    Boxes (``pred_boxes``, else ``proposal_boxes``) are scaled and clipped; those without area are
    dropped with all their fields. Soft ``pred_masks`` (``[N, 1, M, M]`` or ROIMasks) are pasted at
    the boxes, into bool ``[N, H, W]``. Unlike upstream's, the input stays unchanged.

    Raises:
        AssertionError: if ``results`` has neither kind of boxes.
    """
    height, width = int(output_height), int(output_width)
    scale_y, scale_x = height / results.image_size[0], width / results.image_size[1]
    scaled = Instances((height, width), **results.get_fields())
    name = next((n for n in ("pred_boxes", "proposal_boxes") if scaled.has(n)), None)
    assert name is not None, "results have neither pred_boxes nor proposal_boxes"
    boxes = scaled.get(name).clone()
    boxes.scale(scale_x, scale_y)
    boxes.clip((height, width))
    scaled.set(name, boxes)
    scaled = scaled[boxes.nonempty()]
    if scaled.has("pred_masks"):
        masks = scaled.pred_masks
        if not isinstance(masks, ROIMasks):
            masks = ROIMasks(masks[:, 0])
        pasted = masks.to_bitmasks(scaled.get(name), height, width, mask_threshold)
        scaled.pred_masks = pasted.tensor
    return scaled


def sem_seg_postprocess(
    result: torch.Tensor, img_size: tuple[int, int], output_height: int, output_width: int
) -> torch.Tensor:
    """Logits ``[C, output_height, output_width]`` of the unpadded part of ``[C, H, W]`` logits.

    Args:
        img_size: (height, width) of the image inside the padded input, at its top left.
    """
    unpadded = result[None, :, : img_size[0], : img_size[1]]
    size = (int(output_height), int(output_width))
    return F.interpolate(unpadded, size=size, mode="bilinear", align_corners=False)[0]
