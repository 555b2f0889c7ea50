"""A mask for every box; API of ``detectron2.modeling.roi_heads.mask_head``.

Targets of the polygons of all images are drawn in one call, and statistics wait on the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ...layers import Conv2d, ConvTranspose2d, ShapeSpec
from ...structures import Boxes, Instances, PolygonMasks
from ...utils.events import get_event_storage, has_event_storage
from ..statistics import put_share
from ..weight_init import fill_msra, fill_normal
from .convolution import conv_3x3


def mask_rcnn_loss(
    pred_mask_logits: torch.Tensor, instances: Sequence[Instances], vis_period: int = 0
) -> torch.Tensor:
    """Mean binary cross entropy over all pixels of all boxes (He et al. 2017); 0-dim float32.

    Args:
        pred_mask_logits: ``[B, C, M, M]`` for the B boxes of all images; C is 1, or a class each.
        instances: per image ``proposal_boxes``, ``gt_masks``, and ``gt_classes`` unless C is 1.
        vis_period: > 0 puts an image into the event storage every that many iterations.

    Without any box it is 0, still connected to the logits.

    Raises:
        AssertionError: if masks aren't square.
    """
    num_boxes, num_channels, height, width = pred_mask_logits.shape
    assert height == width, f"masks must be square, got {height} x {width}"
    if num_boxes == 0:
        return pred_mask_logits.float().sum() * 0
    classes = None if num_channels == 1 else torch.cat([x.gt_classes for x in instances])
    logits = _channel(pred_mask_logits, classes).float()
    targets = _targets(instances, height).to(logits.device)
    _put_statistics(logits.detach() > 0, targets)
    if vis_period > 0 and has_event_storage() and get_event_storage().iter % vis_period == 0:
        _put_image(logits.detach().sigmoid(), targets.float())
    return F.binary_cross_entropy_with_logits(logits, targets.float())


def mask_rcnn_inference(
    pred_mask_logits: torch.Tensor, pred_instances: Sequence[Instances]
) -> None:
    """Give each Instances its ``pred_masks``: probabilities ``[N, 1, M, M]`` of its own classes.

    Args:
        pred_mask_logits: ``[B, C, M, M]`` for the B boxes of all images; C is 1, or a class each.
        pred_instances: with ``pred_classes`` unless C is 1.
    """
    classes = None
    if pred_mask_logits.shape[1] > 1:
        classes = torch.cat([x.pred_classes for x in pred_instances])
    masks = _channel(pred_mask_logits, classes).float().sigmoid()[:, None]
    for instances, own in zip(
        pred_instances, masks.split([len(x) for x in pred_instances]), strict=True
    ):
        instances.pred_masks = own


class BaseMaskRCNNHead(nn.Module):
    """Losses and results of a mask head; a subclass says in `layers` how masks are predicted."""

    def __init__(self, *, loss_weight: float = 1.0, vis_period: int = 0):
        super().__init__()
        self.loss_weight = loss_weight
        self.vis_period = vis_period

    def forward(
        self, x: torch.Tensor, instances: list[Instances]
    ) -> dict[str, torch.Tensor] | list[Instances]:
        """In training ``{"loss_mask": ...}``; in evaluation the instances with ``pred_masks``.

        Args:
            x: features of the boxes of all images.
            instances: their boxes, and what `mask_rcnn_loss` or `mask_rcnn_inference` reads.
        """
        logits = self.layers(x)
        if self.training:
            loss = mask_rcnn_loss(logits, instances, self.vis_period)
            return {"loss_mask": loss * self.loss_weight}
        mask_rcnn_inference(logits, instances)
        return instances

    def layers(self, x: torch.Tensor) -> torch.Tensor:
        """Mask logits ``[B, C, M, M]`` of the features of B boxes."""
        raise NotImplementedError


class MaskRCNNConvUpsampleHead(BaseMaskRCNNHead):
    """3x3 convolutions, a 2x upsampling and a 1x1 predictor, called ``mask_fcn1``, ...,
    ``deconv``, ``deconv_relu``, ``predictor`` (He et al. 2017, figure 4)."""

    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_classes: int,
        conv_dims: Sequence[int],
        conv_norm="",
        **kwargs,
    ):
        """
        Args:
            input_shape: of the pooled features; its channels are used.
            num_classes: masks per box; 1 for class-agnostic ones.
            conv_dims: outputs of the convolutions, and last of the upsampling.
            conv_norm: a name or callable for `get_norm`; convolutions have a bias only without one.
            kwargs: ``loss_weight`` and ``vis_period`` of BaseMaskRCNNHead.

        Raises:
            AssertionError: if ``conv_dims`` is empty.
        """
        super().__init__(**kwargs)
        assert len(conv_dims), "conv_dims must not be empty"
        *dims, last = conv_dims
        channels = input_shape.channels
        for k, out_channels in enumerate(dims, start=1):
            self.add_module(f"mask_fcn{k}", conv_3x3(channels, out_channels, conv_norm))
            channels = out_channels
        self.deconv = ConvTranspose2d(channels, last, kernel_size=2, stride=2)
        self.deconv_relu = nn.ReLU()
        self.predictor = Conv2d(last, num_classes, kernel_size=1)
        fill_msra(self.deconv)
        fill_normal(self.predictor, std=0.001)

    def layers(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.children():
            x = layer(x)
        return x


def _channel(logits: torch.Tensor, classes: torch.Tensor | None) -> torch.Tensor:
    """``[B, M, M]``: of each box the channel of its class, or the only one."""
    if classes is None:
        return logits[:, 0]
    return logits[torch.arange(len(logits), device=logits.device), classes]


def _targets(instances: Sequence[Instances], size: int) -> torch.Tensor:
    """Ground-truth masks cropped to the boxes of all images, bool ``[B, size, size]``."""
    instances = [x for x in instances if len(x)]
    masks, boxes = [x.gt_masks for x in instances], [x.proposal_boxes for x in instances]
    if all(isinstance(m, PolygonMasks) for m in masks):  # they know no image, so they can be joined
        masks, boxes = [PolygonMasks.cat(masks)], [Boxes.cat(boxes)]
    crops = [m.crop_and_resize(b.tensor, size) for m, b in zip(masks, boxes, strict=True)]
    return torch.cat(crops)


def _put_statistics(predicted: torch.Tensor, targets: torch.Tensor) -> None:
    wrong = predicted != targets
    num_positive = targets.sum()
    put_share("mask_rcnn/accuracy", (~wrong).sum(), targets.numel())
    put_share("mask_rcnn/false_positive", (wrong & ~targets).sum(), targets.numel() - num_positive)
    put_share("mask_rcnn/false_negative", (wrong & targets).sum(), num_positive)


def _put_image(predicted: torch.Tensor, targets: torch.Tensor) -> None:
    pairs = torch.cat([predicted, targets], dim=2)  # side by side
    for k, pair in enumerate(pairs):
        get_event_storage().put_image(f"masks: predicted, true ({k})", pair.expand(3, -1, -1))
