"""Losses on boxes that overlap little or not at all.

Follows the API of ``detectron2.layers.losses``, from the formulas of Zheng et al., "Distance-IoU
Loss: Faster and Better Learning for Bounding Box Regression", AAAI 2020 (arXiv:1911.08287).
"""

from __future__ import annotations

import math

import torch


def diou_loss(
    boxes1: torch.Tensor, boxes2: torch.Tensor, reduction: str = "none", eps: float = 1e-7
) -> torch.Tensor:
    """1 - IoU + (distance of the centres / diagonal of the enclosing box)^2 of matched boxes.

    Args:
        boxes1: (..., 4) XYXY with x1 >= x0 and y1 >= y0.
        boxes2: like ``boxes1``.
        reduction: "none" (one loss a pair), "mean" (0 if there are no boxes) or "sum".
        eps: added to denominators, square pixels.
    """
    iou, centre_term = _iou_and_centre_term(boxes1, boxes2, eps)
    return _reduce(1 - iou + centre_term, reduction)


def ciou_loss(
    boxes1: torch.Tensor, boxes2: torch.Tensor, reduction: str = "none", eps: float = 1e-7
) -> torch.Tensor:
    """`diou_loss` plus a term for the aspect ratio: alpha * v.

    v is the squared difference of the boxes' angles atan(w / h), in units of a right angle; its
    weight alpha = v / (1 - IoU + v) has no gradient. Arguments as for `diou_loss`.
    """
    iou, centre_term = _iou_and_centre_term(boxes1, boxes2, eps)
    v = ((_aspect_angle(boxes1, eps) - _aspect_angle(boxes2, eps)) * (2 / math.pi)).square()
    with torch.no_grad():
        alpha = v / (1 - iou + v + eps)
    return _reduce(1 - iou + centre_term + alpha * v, reduction)


def _iou_and_centre_term(a: torch.Tensor, b: torch.Tensor, eps: float):
    low_a, high_a = a[..., :2], a[..., 2:]
    low_b, high_b = b[..., :2], b[..., 2:]
    overlap = (torch.minimum(high_a, high_b) - torch.maximum(low_a, low_b)).clamp(min=0)
    inter = overlap.prod(dim=-1)
    union = (high_a - low_a).prod(dim=-1) + (high_b - low_b).prod(dim=-1) - inter
    enclosing = torch.maximum(high_a, high_b) - torch.minimum(low_a, low_b)
    between = (low_a + high_a - low_b - high_b) / 2
    centre_term = between.square().sum(-1) / (enclosing.square().sum(-1) + eps)
    return inter / (union + eps), centre_term


def _aspect_angle(boxes: torch.Tensor, eps: float) -> torch.Tensor:
    width, height = (boxes[..., 2:] - boxes[..., :2]).unbind(-1)
    return torch.atan(width / (height + eps))


def _reduce(loss: torch.Tensor, reduction: str) -> torch.Tensor:
    if reduction == "mean":
        # not NaN for no boxes, and still a part of the graph
        return loss.sum() / max(loss.numel(), 1)
    return loss.sum() if reduction == "sum" else loss
