"""Box deltas and the losses on them; API of ``detectron2.modeling.box_regression``.

Plain eager float32 code (upstream scripts its coder with the deprecated TorchScript), and one
masked loss of fixed shape for the RPN and the box head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from ..layers import ciou_loss, diou_loss
from .checks import assert_all

BOX_LOSSES = ("smooth_l1", "giou", "diou", "ciou")


class Box2BoxTransform:
    """Turns a pair of boxes into four regression targets, and predictions back into boxes.

    ``dx = wx (x' - x) / w``, ``dw = ww ln(w' / w)`` with centres and sizes; likewise ``dy``,
    ``dh`` (Girshick et al. 2014, appendix C).
    """

    def __init__(self, weights: Sequence[float], scale_clamp: float = math.log(1000.0 / 16)):
        """
        Args:
            weights: of dx, dy, dw, dh.
            scale_clamp: largest dw and dh that a prediction may have, so that exp stays small.
        """
        self.weights = tuple(float(w) for w in weights)
        self.scale_clamp = scale_clamp

    def get_deltas(self, src_boxes: torch.Tensor, target_boxes: torch.Tensor) -> torch.Tensor:
        """Deltas ``[..., 4]`` that move ``src_boxes`` onto ``target_boxes``, both ``[..., 4]``.

        Raises:
            AssertionError: if a source box has no width.
        """
        centre, size = _centre_and_size(src_boxes)
        wanted_centre, wanted_size = _centre_and_size(target_boxes)
        assert_all(size[..., 0] > 0, "source boxes must have a positive width")
        wx, wy, ww, wh = self.weights
        dx, dy = ((wanted_centre - centre) / size).unbind(-1)
        dw, dh = (wanted_size / size).log().unbind(-1)
        return torch.stack([wx * dx, wy * dy, ww * dw, wh * dh], dim=-1)

    def apply_deltas(self, deltas: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Boxes ``[..., 4k]`` (float32) that deltas ``[..., 4k]`` make of boxes ``[..., 4]``."""
        count = deltas.shape[-1] // 4
        dx, dy, dw, dh = deltas.float().unflatten(-1, (count, 4)).unbind(-1)
        centre, size = _centre_and_size(boxes.float()[..., None, :])
        wx, wy, ww, wh = self.weights
        shift = torch.stack([dx / wx, dy / wy], dim=-1)
        growth = torch.stack([dw / ww, dh / wh], dim=-1).clamp(max=self.scale_clamp)
        centre = centre + shift * size
        half = 0.5 * growth.exp() * size
        return torch.cat([centre - half, centre + half], dim=-1).flatten(-2)


def masked_box_loss(
    transform: Box2BoxTransform,
    deltas: torch.Tensor,
    src_boxes: torch.Tensor,
    target_boxes: torch.Tensor,
    used: torch.Tensor,
    loss_type: str = "smooth_l1",
    smooth_l1_beta: float = 0.0,
) -> torch.Tensor:
    """Sum of the box losses over the rows that are used; float32, 0-dim.

    Args:
        deltas: predictions ``[..., 4]``; boxes have the same shape, and ``used`` (bool) ``[...]``.
        loss_type: ``"smooth_l1"`` compares deltas; ``"giou"``, ``"diou"``, ``"ciou"`` boxes.
        smooth_l1_beta: where L2 turns into L1; 0 is L1.

    Unused rows cost and contribute nothing, whatever boxes they hold.
    """
    unit = (torch.arange(4, device=used.device) >= 2).to(src_boxes.dtype)  # made on the device
    src_boxes = torch.where(used[..., None], src_boxes, unit)
    target_boxes = torch.where(used[..., None], target_boxes, unit)
    deltas = deltas.float()
    if loss_type == "smooth_l1":
        wanted = transform.get_deltas(src_boxes, target_boxes)
        loss = F.smooth_l1_loss(deltas, wanted, reduction="none", beta=smooth_l1_beta).sum(-1)
    else:
        compare = {"giou": giou_loss, "diou": diou_loss, "ciou": ciou_loss}[loss_type]
        decoded = transform.apply_deltas(deltas, src_boxes)
        loss = compare(decoded.reshape(-1, 4), target_boxes.reshape(-1, 4)).view(used.shape)
    return loss.masked_fill(~used, 0).sum()


def giou_loss(boxes: torch.Tensor, targets: torch.Tensor, eps: float = 1e-7) -> torch.Tensor:
    """``1 - GIoU`` of each pair of boxes ``[N, 4]``: ``[N]`` in 0..2 (Rezatofighi et al. 2019)."""
    overlap = torch.minimum(boxes[:, 2:], targets[:, 2:]) - torch.maximum(
        boxes[:, :2], targets[:, :2]
    )
    hull = torch.maximum(boxes[:, 2:], targets[:, 2:]) - torch.minimum(boxes[:, :2], targets[:, :2])
    intersection = overlap.clamp(min=0).prod(-1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1) + (targets[:, 2:] - targets[:, :2]).prod(-1)
    union, hull = areas - intersection, hull.prod(-1)
    return 1 - intersection / (union + eps) + (hull - union) / (hull + eps)


def _centre_and_size(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * size, size
