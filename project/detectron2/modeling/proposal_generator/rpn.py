"""Region proposal network; API of ``detectron2.modeling.proposal_generator.rpn``.

Better than upstream's: losses look only at the sampled anchors (256 an image, not 268,000), boxes
are decoded only where they are used, and training has no host transfer before the suppression.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ...layers import Conv2d
from ...structures import Boxes, ImageList, Instances, pairwise_iou
from ...utils.memory import retry_if_cuda_oom
from ..box_regression import BOX_LOSSES, Box2BoxTransform, masked_box_loss
from ..loss_weights import weight_per_loss
from ..matcher import Matcher
from ..sampling import BalancedDraw, draw_balanced
from ..statistics import put_share
from ..weight_init import fill_normal
from .proposal_utils import suppress_and_split, top_logits


class StandardRPNHead(nn.Module):
    """3x3 convolutions, then 1x1 ones for objectness and box deltas; the same on every level."""

    def __init__(
        self,
        *,
        in_channels: int,
        num_anchors: int,
        box_dim: int = 4,
        conv_dims: Sequence[int] = (-1,),
    ):
        """
        Args:
            num_anchors: per location.
            conv_dims: outputs of the 3x3 convolutions; -1 for as many as come in.

        Raises:
            AssertionError: if ``conv_dims`` is empty or holds a number below 1 other than -1.
        """
        super().__init__()
        dims = list(conv_dims)
        assert dims, "conv_dims must not be empty"
        assert all(d == -1 or d > 0 for d in dims), f"conv_dims are -1 or positive, got {dims}"
        channels, convs = in_channels, []
        for dim in dims:
            out = channels if dim == -1 else dim
            convs.append(Conv2d(channels, out, kernel_size=3, padding=1, activation=F.relu_))
            channels = out
        self.conv = convs[0]
        if len(convs) > 1:
            self.conv = nn.Sequential()
            for k, conv in enumerate(convs):
                self.conv.add_module(f"conv{k}", conv)
        self.objectness_logits = nn.Conv2d(channels, num_anchors, kernel_size=1)
        self.anchor_deltas = nn.Conv2d(channels, num_anchors * box_dim, kernel_size=1)
        for layer in (*convs, self.objectness_logits, self.anchor_deltas):
            fill_normal(layer, std=0.01)

    def forward(
        self, features: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Per level the logits ``[N, A, H, W]`` and the deltas ``[N, 4A, H, W]``, anchor-major."""
        hidden = [self.conv(x) for x in features]
        return [self.objectness_logits(t) for t in hidden], [self.anchor_deltas(t) for t in hidden]


class RPN(nn.Module):
    """Proposals from anchors (Ren et al. 2015), and the losses that train it."""

    def __init__(
        self,
        *,
        head: nn.Module,
        in_features: Sequence[str],
        anchor_generator: nn.Module,
        box2box_transform: Box2BoxTransform,
        anchor_matcher: Matcher,
        batch_size_per_image: int,
        positive_fraction: float,
        pre_nms_topk: tuple[int, int],
        post_nms_topk: tuple[int, int],
        nms_thresh: float = 0.7,
        min_box_size: float = 0.0,
        anchor_boundary_thresh: float = -1.0,
        loss_weight: float | dict[str, float] = 1.0,
        box_reg_loss_type: str = "smooth_l1",
        smooth_l1_beta: float = 0.0,
    ):
        """
        Args:
            head: maps a list of feature maps to logits and deltas, like `StandardRPNHead`.
            in_features: names of the feature maps, one per level of the anchors.
            batch_size_per_image: anchors sampled for the losses, at most.
            positive_fraction: of them, at most.
            pre_nms_topk: per level, (in training, in evaluation); see `find_top_rpn_proposals`.
            post_nms_topk: per image, likewise.
            anchor_boundary_thresh: >= 0 ignores anchors that reach further beyond the image, in
                pixels.
            loss_weight: of both losses, or by name (1 where missing).
            box_reg_loss_type: one of ``BOX_LOSSES``.
            smooth_l1_beta: where L2 turns into L1; 0 is L1.
        """
        super().__init__()
        assert box_reg_loss_type in BOX_LOSSES, f"unknown box loss {box_reg_loss_type!r}"
        self.in_features = list(in_features)
        self.rpn_head, self.anchor_generator = head, anchor_generator
        self.anchor_matcher, self.box2box_transform = anchor_matcher, box2box_transform
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.pre_nms_topk = dict(zip((True, False), pre_nms_topk, strict=True))
        self.post_nms_topk = dict(zip((True, False), post_nms_topk, strict=True))
        self.nms_thresh = nms_thresh
        self.min_box_size = float(min_box_size)
        self.anchor_boundary_thresh = anchor_boundary_thresh
        self.loss_weight = weight_per_loss(loss_weight, ("loss_rpn_cls", "loss_rpn_loc"))
        self.box_reg_loss_type = box_reg_loss_type
        self.smooth_l1_beta = smooth_l1_beta

    def forward(
        self,
        images: ImageList,
        features: dict[str, torch.Tensor],
        gt_instances: Sequence[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """Proposals of each image, and in training the losses (in evaluation an empty dict).

        Args:
            gt_instances: with ``gt_boxes``; needed in training only.

        Raises:
            AssertionError: in training without ground truth.
        """
        maps = [features[name] for name in self.in_features]
        anchors = self.anchor_generator(maps)
        logits, deltas = self.rpn_head(maps)
        logits = [_rows(x, 1).squeeze(-1) for x in logits]
        deltas = [_rows(x, 4) for x in deltas]
        losses = {}
        if self.training:
            assert gt_instances is not None, "training the RPN needs ground-truth instances"
            losses = self._losses(Boxes.cat(anchors), logits, deltas, gt_instances)
        return self._propose(anchors, logits, deltas, images.image_sizes), losses

    @torch.no_grad()
    def _propose(self, anchors, logits, deltas, image_sizes) -> list[Instances]:
        best, boxes = [], []
        for level_anchors, level_logits, level_deltas in zip(anchors, logits, deltas, strict=True):
            top, index = top_logits(level_logits, self.pre_nms_topk[self.training])
            chosen = level_deltas.take_along_dim(index[..., None], dim=1)
            boxes.append(self.box2box_transform.apply_deltas(chosen, level_anchors.tensor[index]))
            best.append(top)
        return suppress_and_split(
            boxes,
            best,
            image_sizes,
            self.nms_thresh,
            self.post_nms_topk[self.training],
            self.min_box_size,
            self.training,
        )

    def _losses(self, anchors: Boxes, logits, deltas, gt_instances) -> dict[str, torch.Tensor]:
        draw, targets = self._sample(anchors, gt_instances)
        put_share("rpn/num_pos_anchors", draw.num_positives.sum(), len(gt_instances))
        put_share("rpn/num_neg_anchors", draw.num_negatives.sum(), len(gt_instances))
        positive = _first(draw.positives, draw.num_positives)
        negative = _first(draw.negatives, draw.num_negatives)

        index = torch.cat([draw.positives, draw.negatives], dim=1)
        objectness = F.binary_cross_entropy_with_logits(
            torch.cat(logits, dim=1).gather(1, index).float(),
            F.pad(torch.ones_like(positive, dtype=torch.float32), (0, negative.shape[1])),
            weight=torch.cat([positive, negative], dim=1).float(),
            reduction="sum",
        )
        localisation = masked_box_loss(
            self.box2box_transform,
            torch.cat(deltas, dim=1).take_along_dim(draw.positives[..., None], dim=1),
            anchors.tensor[draw.positives],
            targets,
            positive,
            self.box_reg_loss_type,
            self.smooth_l1_beta,
        )
        # Positives and negatives are averaged over what could be sampled, not over what there is.
        normaliser = self.batch_size_per_image * len(gt_instances)
        losses = {"loss_rpn_cls": objectness, "loss_rpn_loc": localisation}
        return {k: v * (self.loss_weight[k] / normaliser) for k, v in losses.items()}

    @torch.no_grad()
    def _sample(
        self, anchors: Boxes, gt_instances: Sequence[Instances]
    ) -> tuple[BalancedDraw, torch.Tensor]:
        """The anchors to train on, and the boxes ``[N, most positives, 4]`` of the positives."""
        labels, matches = [], []
        for gt in gt_instances:
            iou = retry_if_cuda_oom(pairwise_iou)(gt.gt_boxes, anchors)
            match, label = (x.to(anchors.device) for x in self.anchor_matcher(iou))
            if self.anchor_boundary_thresh >= 0:
                inside = anchors.inside_box(gt.image_size, self.anchor_boundary_thresh)
                label = label.masked_fill(~inside, -1)
            labels.append(label)
            matches.append(match)
        draw = draw_balanced(
            torch.stack(labels), self.batch_size_per_image, self.positive_fraction, bg_label=0
        )
        targets = [
            _at_least_one(gt.gt_boxes.tensor)[match[index]]
            for gt, match, index in zip(gt_instances, matches, draw.positives, strict=True)
        ]
        return draw, torch.stack(targets)


def _rows(maps: torch.Tensor, width: int) -> torch.Tensor:
    """``[N, A * width, H, W]`` → ``[N, H * W * A, width]``, the order of the anchors."""
    rows = maps.unflatten(1, (-1, width)).permute(0, 3, 4, 1, 2)
    return rows.flatten(1, 3)


def _first(index: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Mask of the first ``counts[i]`` entries of each row."""
    return torch.arange(index.shape[1], device=index.device) < counts[:, None]


def _at_least_one(boxes: torch.Tensor) -> torch.Tensor:
    # An image without ground truth has no positives, but its filling must index something.
    return boxes if len(boxes) else boxes.new_zeros(1, 4)
