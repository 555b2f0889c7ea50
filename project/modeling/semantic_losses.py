"""Losses on label maps: cross entropy (focal, weighted), soft Dice, and both for several outputs.

Labels are 0..K-1 for the classes, K for the background and 255 for pixels that aren't counted.
All sums are in float32, or float64 for logits of that type, whatever the logits' precision.
"""

from __future__ import annotations

from collections.abc import Sequence

from project.errors import UserError

import torch
from torch import nn
from torch.nn import functional as F

IGNORE = 255


def with_background(logits: torch.Tensor) -> torch.Tensor:
    """Logits ``[N, C, H, W]`` with C >= 2, background last.

    A single channel z becomes (z, 0), whose softmax is (sigmoid(z), sigmoid(-z)): one class with
    binary cross entropy is a softmax of two, one of which stays at 0.
    """
    return F.pad(logits, (0, 0, 0, 0, 0, 1)) if logits.shape[1] == 1 else logits


def pixel_cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor | None = None,
    focal_gamma: float = 0.0,
) -> torch.Tensor:
    """``sum_i w_i (1 - p_i)^gamma (-log p_i) / M``, 0-dim, over the M pixels that count.

    p_i is the probability of pixel i's label. Focal loss (Lin et al. 2017, eq. 5) of the softmax;
    with gamma 0 the cross entropy. Divided by the number of pixels and not by the sum of their
    weights, so that what a pixel contributes doesn't depend on the others. If none counts it is 0,
    still connected to the logits.

    Args:
        logits: ``[N, C, H, W]``; C = 1 stands for two, see `with_background`.
        labels: int64 ``[N, H, W]``.
        weights: ``[C]`` (two for C = 1), of the labels; None for ones.
        focal_gamma: at least 0.
    """
    logits = with_background(_precise(logits))
    loss = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    if weights is not None:
        # An ignored pixel's loss is 0 with any weight.
        weight = weights.to(logits.dtype)[labels.clamp(max=len(weights) - 1)]
    if focal_gamma:
        # At 1 - p = 0 the loss is 0 too, but for gamma < 1 the power's slope would be infinite.
        miss = -torch.expm1(-loss)
        loss = loss * miss.clamp(min=torch.finfo(miss.dtype).tiny) ** focal_gamma
    if weights is not None:
        loss = loss * weight
    return loss.sum() / (labels != IGNORE).sum().clamp(min=1)


def soft_dice_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    background: bool = False,
    per_image: bool = False,
    smooth: float = 1.0,
) -> torch.Tensor:
    """``mean_c 1 - (2 sum(p t) + s) / (sum(p) + sum(t) + s)``, 0-dim, over the classes present.

    Soft Dice (Milletari et al. 2016, with plain sums below) of the softmax: each class counts the
    same whatever its area. Sums run over the pixels that count, of all images. A class without a
    pixel is left out: nothing it could overlap with, and the cross entropy sees false ones. Without
    any class present the loss is 0, still connected to the logits.

    Args:
        logits: ``[N, C, H, W]``; C = 1 stands for two, see `with_background`.
        labels: int64 ``[N, H, W]``.
        background: whether it is one of the classes.
        per_image: sums over each image instead, and the mean over all pairs of an image and a class
            present in it: a small object counts as much as a large one of another image.
        smooth: s, in pixels.
    """
    p = with_background(_precise(logits)).softmax(1)
    p = p if background else p[:, :-1]
    label = torch.arange(p.shape[1], device=p.device)[:, None, None]
    t = labels[:, None] == label
    counted = (labels != IGNORE)[:, None]
    over = (2, 3) if per_image else (0, 2, 3)
    # Masked by `where`: a logit that overflowed where nothing counts stays out of the sums.
    overlap = torch.where(t, p, 0).sum(over)
    areas, truth = torch.where(counted, p, 0).sum(over), t.sum(over)
    loss = 1 - (2 * overlap + smooth) / (areas + truth + smooth)
    present = truth > 0
    return torch.where(present, loss, 0).sum() / present.sum().clamp(min=1)


class SemanticLoss(nn.Module):
    """Cross entropy and Dice of a network's logits, those of deep supervision included."""

    def __init__(
        self,
        num_classes: int,
        *,
        ce_weight: float = 1.0,
        dice_weight: float = 1.0,
        side_weight: float = 1.0,
        focal_gamma: float = 0.0,
        class_weights: Sequence[float] | None = None,
        background_weight: float = 1.0,
        dice_background: bool = False,
        dice_per_image: bool = False,
    ):
        """
        Args:
            num_classes: K, without the background.
            ce_weight, dice_weight: of the two losses; 0 leaves one out.
            side_weight: of all outputs but the first, relative to it; 0 leaves them out.
            focal_gamma: of `pixel_cross_entropy`: how much less a pixel counts that is classified
                well already. With 2 the loss is several times smaller: ``ce_weight`` can make up.
            class_weights: K numbers >= 0 for the cross entropy, used as they are; None for ones.
            background_weight: the same for the background's pixels.
            dice_background, dice_per_image: of `soft_dice_loss`.

        Raises:
            UserError: if a number is out of its range or there aren't K weights.
        """
        super().__init__()
        weights = [1.0] * num_classes if class_weights is None else list(class_weights)
        if len(weights) != num_classes:
            raise UserError(f"class_weights: {len(weights)} numbers for {num_classes} classes")
        weights = [float(w) for w in (*weights, background_weight)]
        if not all(0 <= w < float("inf") for w in weights):
            raise UserError(
                f"class_weights and background_weight must be numbers >= 0, got {weights}"
            )
        self.ce_weight = _at_least_zero("ce_weight", ce_weight)
        self.dice_weight = _at_least_zero("dice_weight", dice_weight)
        self.side_weight = _at_least_zero("side_weight", side_weight)
        self.focal_gamma = _at_least_zero("focal_gamma", focal_gamma)
        if not (ce_weight or dice_weight):
            raise UserError("ce_weight and dice_weight are both 0, so there is nothing to learn")
        self.num_classes = num_classes
        self.dice_background = dice_background
        self.dice_per_image = dice_per_image
        weighted = any(w != 1 for w in weights)
        weights = torch.tensor(weights) if weighted else None
        self.register_buffer("class_weights", weights, persistent=False)  # not in checkpoints

    def forward(
        self, outputs: Sequence[torch.Tensor], labels: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """``loss_ce`` and ``loss_dice`` of the first output; ``loss_side``, both of all others.

        Args:
            outputs: logits ``[N, C, H, W]`` each; C is K + 1, or 1 for K = 1.
            labels: int64 ``[N, H, W]``.

        Raises:
            UserError: if C is another number.
        """
        for logits in outputs:
            check_outputs(logits.shape[1], self.num_classes)
        losses = self._losses(outputs[0], labels)
        if self.side_weight and len(outputs) > 1:
            sides = [loss for x in outputs[1:] for loss in self._losses(x, labels).values()]
            losses["loss_side"] = self.side_weight * torch.stack(sides).sum()
        return losses

    def _losses(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        losses = {}
        if self.ce_weight:
            ce = pixel_cross_entropy(logits, labels, self.class_weights, self.focal_gamma)
            losses["loss_ce"] = ce * self.ce_weight
        if self.dice_weight:
            options = {"background": self.dice_background, "per_image": self.dice_per_image}
            losses["loss_dice"] = soft_dice_loss(logits, labels, **options) * self.dice_weight
        return losses


def check_outputs(channels: int, num_classes: int) -> None:
    """Raise a `UserError` unless a network's channels of logits suit the number of classes."""
    if channels == num_classes + 1 or channels == num_classes == 1:
        return
    raise UserError(
        f"the network gives {channels} channels, and {num_classes} classes and the background "
        f"need {num_classes + 1}{' (or 1)' if num_classes == 1 else ''}; leave "
        f"model.network.num_outputs to the config"
    )


def _precise(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _at_least_zero(name: str, value: float) -> float:
    if not 0 <= value < float("inf"):
        raise UserError(f"{name}={value} must be a number of at least 0")
    return float(value)
