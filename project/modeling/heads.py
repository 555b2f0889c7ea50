"""Heads with losses against imbalance and with dropout: Detectron2's own, with a little more.

Parameters have the same names as in the parents, so checkpoints go both ways. Each option's
neutral value gives the parent's results exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

from project.errors import UserError
from project.modeling.losses import background_bias, dice_loss, weighted_cross_entropy

import torch
from detectron2.layers import ShapeSpec, cat
from detectron2.modeling.roi_heads import (
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    MaskRCNNConvUpsampleHead,
)
from detectron2.modeling.roi_heads.mask_head import mask_rcnn_loss
from detectron2.structures import Instances, PolygonMasks
from torch.nn import functional as F


class BalancedOutputLayers(FastRCNNOutputLayers):
    """Box predictor with a class-weighted or focal loss, and a chosen background score at start."""

    def __init__(
        self,
        input_shape: ShapeSpec | int,
        *,
        num_classes: int,
        class_weights: Sequence[float] | None = None,
        background_weight: float = 1.0,
        focal_gamma: float = 0.0,
        background_prior: float | None = None,
        **kwargs,
    ):
        """
        Args:
            class_weights: K numbers >= 0, used as they are; None for equal ones. From the dataset:
                `project.data.loss_weights.class_loss_weights`.
            background_weight: of the proposals that show nothing.
            focal_gamma: how much less a proposal counts that is classified well already, see
                `project.modeling.losses.weighted_cross_entropy`. With 2 the loss is several times
                smaller: ``loss_weight`` can make up for that.
            background_prior: probability of the background, in (0, 1), that an untrained head
                gives; None leaves all classes equal. About three quarters of the sampled proposals
                are background with the usual ``positive_fraction``.
            kwargs: of `FastRCNNOutputLayers`.

        Raises:
            UserError: if a number is out of its range, there aren't K weights, or the parent's loss
                isn't a softmax.
        """
        super().__init__(input_shape, num_classes=num_classes, **kwargs)
        weights = [1.0] * num_classes if class_weights is None else list(class_weights)
        if len(weights) != num_classes:
            raise UserError(f"class_weights: {len(weights)} numbers for {num_classes} classes")
        weights = [float(w) for w in (*weights, background_weight)]
        if not all(0 <= w < float("inf") for w in weights):
            raise UserError(
                f"class_weights and background_weight must be numbers >= 0, got {weights}"
            )
        if not 0 <= focal_gamma < float("inf"):
            raise UserError(f"focal_gamma={focal_gamma} must be a number of at least 0")
        self._changes_loss = bool(focal_gamma) or any(w != 1 for w in weights)
        has_options = self._changes_loss or background_prior is not None
        if has_options and kwargs.get("use_sigmoid_ce"):
            raise UserError(
                "class weights, focal_gamma and background_prior are for the softmax; set "
                "use_sigmoid_ce=False"
            )
        weights = torch.tensor(weights)
        self.register_buffer("class_weights", weights, persistent=False)  # not in checkpoints
        self.focal_gamma = focal_gamma
        if background_prior is not None:
            if not 0 < background_prior < 1:
                raise UserError(f"background_prior={background_prior} must be above 0 and below 1")
            with torch.no_grad():
                self.cls_score.bias[-1] = background_bias(num_classes, background_prior)

    def losses(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: Sequence[Instances]
    ) -> dict[str, torch.Tensor]:
        """The parent's losses and statistics, with ``loss_cls`` replaced."""
        losses = super().losses(predictions, proposals)
        if self._changes_loss:
            scores = predictions[0]
            classes = scores.new_zeros(0, dtype=torch.int64)
            if len(proposals):
                classes = cat([x.gt_classes for x in proposals])
            loss = weighted_cross_entropy(scores, classes, self.class_weights, self.focal_gamma)
            losses["loss_cls"] = loss * self.loss_weight.get("loss_cls", 1.0)
        return losses


class DropoutBoxHead(FastRCNNConvFCHead):
    """Box head with dropout after each fully connected layer, in training."""

    def __init__(self, input_shape: ShapeSpec, *, dropout: float = 0.5, **kwargs):
        """
        Args:
            dropout: probability of each number of becoming 0; the others are scaled up.
            kwargs: of `FastRCNNConvFCHead`; ``fc_dims`` must not be empty.
        """
        super().__init__(input_shape, **kwargs)
        if not 0 <= dropout < 1:
            raise UserError(f"dropout={dropout} must be at least 0 and below 1")
        if not len(kwargs["fc_dims"]):
            raise UserError("dropout needs fully connected layers, but fc_dims is empty")
        self.dropout = dropout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The vectors ``[R, C]`` of pooled features ``[R, ...]``."""
        for name, layer in self.named_children():
            x = layer(x)
            if name.startswith("fc_relu"):
                x = F.dropout(x, self.dropout, self.training)
        return x


class DiceMaskHead(MaskRCNNConvUpsampleHead):
    """Mask head with a Dice loss, ``loss_mask_dice``, beside the binary cross entropy."""

    def __init__(self, input_shape: ShapeSpec, *, dice_weight: float = 1.0, **kwargs):
        """
        Args:
            dice_weight: relative to the cross entropy; ``loss_weight`` scales both.
            kwargs: of `MaskRCNNConvUpsampleHead`.
        """
        super().__init__(input_shape, **kwargs)
        if not 0 <= dice_weight < float("inf"):
            raise UserError(f"dice_weight={dice_weight} must be a number of at least 0")
        self.dice_weight = dice_weight

    def forward(self, x: torch.Tensor, instances: list[Instances]):
        """As the parent's; in training with the second loss."""
        if not (self.training and self.dice_weight):
            return super().forward(x, instances)
        logits = self.layers(x)
        instances, targets = _crop_masks(instances, logits)
        bce = mask_rcnn_loss(logits, instances, self.vis_period)
        dice = dice_loss(_own_channel(logits, instances), targets)
        return {
            "loss_mask": bce * self.loss_weight,
            "loss_mask_dice": dice * (self.dice_weight * self.loss_weight),
        }


class _Crops:
    """Ground-truth masks that were cropped to their boxes already, so that it happens once."""

    def __init__(self, crops: torch.Tensor) -> None:
        self._crops = crops

    def __len__(self) -> int:
        return len(self._crops)

    def crop_and_resize(self, boxes: torch.Tensor, mask_size: int) -> torch.Tensor:
        return self._crops


def _crop_masks(
    instances: Sequence[Instances], logits: torch.Tensor
) -> tuple[list[Instances], torch.Tensor]:
    """The instances of images with boxes, their ``gt_masks`` cropped; and all crops [B, M, M]."""
    instances, size = [x for x in instances if len(x)], logits.shape[-1]
    if not instances:
        return [], logits.new_zeros((0, size, size), dtype=torch.bool)
    masks, boxes = [x.gt_masks for x in instances], [x.proposal_boxes.tensor for x in instances]
    if all(isinstance(m, PolygonMasks) for m in masks):  # they know no image: drawn in one call
        masks, boxes = [PolygonMasks.cat(masks)], [cat(boxes)]
    crops = [m.crop_and_resize(b, size) for m, b in zip(masks, boxes, strict=True)]
    targets = cat(crops).to(logits.device)
    cropped = [
        Instances(x.image_size, **{**x.get_fields(), "gt_masks": _Crops(own)})
        for x, own in zip(instances, targets.split([len(x) for x in instances]), strict=True)
    ]
    return cropped, targets


def _own_channel(logits: torch.Tensor, instances: Sequence[Instances]) -> torch.Tensor:
    """``[B, M, M]``: of each box the channel of its class, or the only one."""
    if logits.shape[1] == 1 or not instances:
        return logits[:, 0]
    classes = cat([x.gt_classes for x in instances])
    return logits[torch.arange(len(logits), device=logits.device), classes]
