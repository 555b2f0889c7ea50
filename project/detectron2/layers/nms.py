"""Non-maximum suppression, over all boxes or within groups of them.

Follows the API of ``detectron2.layers.nms``, over torchvision's operators (imported on first use).
"""

from __future__ import annotations

import torch


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Indices of the boxes that are kept, by falling score.

    A box goes if a kept one of higher score overlaps it with an IoU above the threshold.

    Args:
        boxes: (N, 4) XYXY.
        scores: (N,).
    """
    from torchvision.ops import nms as torchvision_nms

    return torchvision_nms(boxes.float(), scores, iou_threshold)


def batched_nms(
    boxes: torch.Tensor, scores: torch.Tensor, idxs: torch.Tensor, iou_threshold: float
) -> torch.Tensor:
    """`nms` in which only boxes with the same ``idxs`` (class, level, image, ...) compete.

    Args:
        boxes: (N, 4) XYXY.
        scores: (N,).
        idxs: (N,) integers.
    """
    assert boxes.shape == (len(scores), 4), f"want (N, 4), got {tuple(boxes.shape)}"
    from torchvision.ops import batched_nms as torchvision_batched_nms

    # Half precision can't tell the shifted groups apart.
    return torchvision_batched_nms(boxes.float(), scores, idxs, iou_threshold)
