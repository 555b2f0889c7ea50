"""From scored boxes to proposals; API of ``detectron2.modeling.proposal_generator.proposal_utils``.

All images and levels go through one suppression call, and one host transfer a batch tells how many
boxes each image keeps and whether any were broken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ...structures import Boxes, Instances
from ..batch_nms import by_image, first_of_each, grouped_nms
from ..transfer import limits_on

# A sure object: the logit of probability 1 - 1e-10.
_GT_LOGIT = math.log((1.0 - 1e-10) / 1e-10)


def find_top_rpn_proposals(
    proposals: Sequence[torch.Tensor],
    pred_objectness_logits: Sequence[torch.Tensor],
    image_sizes: Sequence[tuple[int, int]],
    nms_thresh: float,
    pre_nms_topk: int,
    post_nms_topk: int,
    min_box_size: float,
    training: bool,
) -> list[Instances]:
    """The best proposals of each of ``N`` images, by falling logit.

    Args:
        proposals: per level ``[N, A, 4]`` decoded boxes; the logits ``[N, A]``.
        image_sizes: (height, width) without padding; boxes are clipped to it.
        pre_nms_topk: boxes per level and image that enter the suppression within their level.
        post_nms_topk: boxes per image that remain, over all levels.
        min_box_size: boxes with a side of this or less are dropped, in pixels.
        training: broken predictions are an error; otherwise they are dropped.

    Returns:
        Instances with ``proposal_boxes`` and ``objectness_logits``.

    Raises:
        FloatingPointError: in training, if a box or logit among the best isn't finite.
    """
    boxes, logits = [], []
    for level_boxes, level_logits in zip(proposals, pred_objectness_logits, strict=True):
        best, index = top_logits(level_logits, pre_nms_topk)
        boxes.append(level_boxes.take_along_dim(index[..., None], dim=1))
        logits.append(best)
    return suppress_and_split(
        boxes, logits, image_sizes, nms_thresh, post_nms_topk, min_box_size, training
    )


def top_logits(logits: torch.Tensor, topk: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``topk`` best of each row of ``[N, A]`` (all if there are fewer), and their indices."""
    return logits.topk(min(topk, logits.shape[1]), dim=1)


def suppress_and_split(
    boxes: Sequence[torch.Tensor],
    logits: Sequence[torch.Tensor],
    image_sizes: Sequence[tuple[int, int]],
    nms_thresh: float,
    post_nms_topk: int,
    min_box_size: float,
    training: bool,
) -> list[Instances]:
    """`find_top_rpn_proposals` after its choice of the best boxes per level."""
    levels = torch.cat([torch.full_like(x[0], k, dtype=torch.int64) for k, x in enumerate(logits)])
    boxes, scores = torch.cat(list(boxes), dim=1).float(), torch.cat(list(logits), dim=1).float()
    finite = boxes.isfinite().all(-1) & scores.isfinite()
    limits = limits_on(boxes.device, image_sizes)
    boxes = torch.minimum(boxes.clamp(min=0), limits[:, None])
    usable = finite & (boxes[..., 2:] - boxes[..., :2] > min_box_size).all(-1)
    # What isn't usable stays, so that shapes are fixed, but as a last and empty box of no image.
    boxes = boxes.masked_fill(~usable[..., None], 0).flatten(0, 1)
    scores = scores.masked_fill(~usable, -math.inf).flatten()

    num_images = len(image_sizes)
    images = torch.arange(num_images, device=scores.device)[:, None]
    groups = (images * len(logits) + levels).flatten()
    images = torch.where(usable, images, num_images).flatten()
    kept = grouped_nms(boxes, scores, groups, num_images * len(logits), nms_thresh)
    kept, counts = by_image(kept, images, num_images)
    num_broken, *counts = torch.cat([(~finite).sum()[None], counts]).tolist()
    if training and num_broken:
        raise FloatingPointError(
            f"{num_broken} of the best RPN predictions are infinite or NaN: training has diverged."
        )
    return [
        Instances(size, proposal_boxes=Boxes(boxes[index]), objectness_logits=scores[index])
        for size, index in zip(image_sizes, first_of_each(kept, counts, post_nms_topk), strict=True)
    ]


def add_ground_truth_to_proposals(
    gt: Sequence[Instances] | Sequence[Boxes], proposals: Sequence[Instances]
) -> list[Instances]:
    """Proposals of each image followed by its ground-truth boxes, with a logit of 23.03.

    Args:
        gt: Instances with ``gt_boxes``, or Boxes, one per image.
        proposals: Instances with ``proposal_boxes`` and ``objectness_logits``; any other field
            must be in ``gt`` too.

    Raises:
        AssertionError: if the number of images differs, or ``gt`` lacks a field.
    """
    assert len(gt) == len(proposals), f"{len(gt)} ground truths for {len(proposals)} images"
    return [_append_gt(g, p) for g, p in zip(gt, proposals, strict=True)]


def _append_gt(gt: Instances | Boxes, proposals: Instances) -> Instances:
    boxes = gt if isinstance(gt, Boxes) else gt.gt_boxes
    sure = Instances(proposals.image_size, proposal_boxes=boxes)
    for name, values in proposals.get_fields().items():
        if name == "objectness_logits":
            sure.objectness_logits = values.new_full((len(boxes),), _GT_LOGIT)
        elif name != "proposal_boxes":
            fields = gt.get_fields() if isinstance(gt, Instances) else {}
            assert name in fields, f"proposals have the field {name!r}, the ground truth hasn't"
            sure.set(name, fields[name])
    return Instances.cat([proposals, sure])
