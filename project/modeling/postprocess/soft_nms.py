"""Soft-NMS: boxes that overlap a better one of their class lose score instead of being dropped.

Bodla et al. 2017, "Soft-NMS - improving object detection with one line of code". Where objects
stand close together, hard suppression drops true ones. All classes and images are done at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from project.errors import UserError, unknown_name
from project.modeling.heads import BalancedOutputLayers

import torch
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes, Instances

METHODS = ("hard", "linear", "gaussian")


class SoftNMSOutputLayers(BalancedOutputLayers):
    """Box predictor whose detections go through soft-NMS; it trains as its parent does.

    Any run's predictor takes it, as it has no parameters of its own:
    ``model.roi_heads.box_predictor._target_=project.modeling.postprocess.soft_nms.``
    ``SoftNMSOutputLayers``. The scores of the detections are the lowered ones.
    """

    def __init__(
        self,
        input_shape: ShapeSpec | int,
        *,
        soft_nms: str = "gaussian",
        soft_nms_sigma: float = 0.5,
        soft_nms_threshold: float = 0.3,
        soft_nms_min_score: float = 0.001,
        **kwargs,
    ):
        """
        Args:
            soft_nms: "linear", "gaussian", or "hard" for the parent's suppression.
            soft_nms_sigma: of the Gaussian, above 0: the smaller, the harder.
            soft_nms_threshold: IoU from which on the linear form lowers scores, 0-1.
            soft_nms_min_score: detections whose lowered score isn't above it go.
            kwargs: of `BalancedOutputLayers`. Only boxes with a score above ``test_score_thresh``
                take part; ``test_nms_thresh`` has no effect unless the suppression is hard.

        Raises:
            UserError: for an unknown method or a number out of its range.
        """
        super().__init__(input_shape, **kwargs)
        _check(soft_nms, soft_nms_sigma, soft_nms_threshold)
        self.soft_nms = soft_nms
        self.soft_nms_sigma = soft_nms_sigma
        self.soft_nms_threshold = soft_nms_threshold
        self.soft_nms_min_score = soft_nms_min_score

    def inference(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: Sequence[Instances]
    ) -> tuple[list[Instances], list[torch.Tensor]]:
        """Detections of each image by falling score, and their rows, as the parent gives them."""
        if self.soft_nms == "hard" or not len(proposals):
            return super().inference(predictions, proposals)
        sizes = [x.image_size for x in proposals]
        boxes = self.predict_boxes(predictions, proposals)
        probs = self.predict_probs(predictions, proposals)
        found = [
            _candidates(b.float(), p.float(), size, self.test_score_thresh)
            for b, p, size in zip(boxes, probs, sizes, strict=True)
        ]
        boxes, scores, classes, rows = map(torch.cat, zip(*found, strict=True))
        counts = torch.tensor([len(image[0]) for image in found], device=scores.device)
        images = torch.arange(len(found), device=scores.device).repeat_interleave(counts)
        kept, scores = soft_nms(
            boxes,
            scores,
            images * self.num_classes + classes,
            method=self.soft_nms,
            sigma=self.soft_nms_sigma,
            iou_threshold=self.soft_nms_threshold,
            min_score=self.soft_nms_min_score,
            most=self.test_topk_per_image,
        )
        results, kept_rows = [], []
        for image, size in enumerate(sizes):
            here = (images[kept] == image).nonzero()[:, 0]
            here = here if self.test_topk_per_image < 0 else here[: self.test_topk_per_image]
            index = kept[here]
            detections = Instances(size, pred_boxes=Boxes(boxes[index]))
            detections.scores, detections.pred_classes = scores[here], classes[index]
            results.append(detections)
            kept_rows.append(rows[index])
        return results, kept_rows


def _candidates(
    boxes: torch.Tensor, probs: torch.Tensor, size: tuple[int, int], score_thresh: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes [M, 4] in one image, scores, classes and rows of what is above the threshold."""
    finite = boxes.isfinite().all(1) & probs.isfinite().all(1)
    boxes, probs = boxes[finite], probs[finite][:, :-1]
    rows, classes = (probs > score_thresh).nonzero().unbind(1)
    boxes = boxes.unflatten(1, (-1, 4))
    boxes = Boxes(boxes[rows, classes if boxes.shape[1] > 1 else 0])
    boxes.clip(size)
    return boxes.tensor, probs[rows, classes], classes, rows


def soft_nms(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    groups: torch.Tensor,
    *,
    method: str = "gaussian",
    sigma: float = 0.5,
    iou_threshold: float = 0.3,
    min_score: float = 0.001,
    most: int = -1,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes with their scores lowered by each better box that they overlap.

    Again and again the best box of a group is taken, and the scores of those left are multiplied
    by 1 - IoU if their IoU with it reaches ``iou_threshold`` ("linear"), by exp(-IoU²/sigma)
    ("gaussian"), or by 0 if their IoU is **above** the threshold ("hard").

    Args:
        boxes: ``[N, 4]`` XYXY, finite; ``scores`` ``[N]``, 0-1.
        groups: int64 ``[N]``; boxes of different groups never meet.
        min_score: boxes whose score isn't above it in the end go.
        most: enough boxes of each group, the best ones; negative for all.

    Returns:
        Indices ``[M]`` of the boxes by falling new score, and those scores.

    Raises:
        UserError: for an unknown method or a number out of its range.
    """
    _check(method, sigma, iou_threshold)
    if not len(boxes) or most == 0:
        return groups[:0], scores[:0]
    table = _by_group(groups)
    there = table >= 0
    boxes = boxes.float()[table.clamp(min=0)]
    left = scores.float()[table.clamp(min=0)].masked_fill(~there, -1)
    final = torch.full_like(left, -1)
    # A box taken later never has a better score, so that as many rounds as boxes wanted will do.
    for _ in range(table.shape[1] if most < 0 else min(most, table.shape[1])):
        score, best = left.max(1, keepdim=True)
        final.scatter_(1, best, torch.maximum(score, final.gather(1, best)))
        iou = _iou(boxes.take_along_dim(best[:, :, None], 1), boxes)
        if method == "gaussian":
            factor = torch.exp(-(iou**2) / sigma)
        elif method == "linear":
            factor = torch.where(iou >= iou_threshold, 1 - iou, 1.0)
        else:
            factor = (iou <= iou_threshold).float()
        # What was taken, and what fills the table up, stays below any score.
        left = torch.where(left < 0, left, left * factor).scatter_(1, best, -1.0)
    kept, new = table[there], final[there]
    enough = (new > min_score) & (new >= 0)
    kept, new = kept[enough], new[enough]
    first = kept.argsort()  # equal scores stay in the order of the input
    order = first[new[first].argsort(descending=True, stable=True)]
    return kept[order], new[order]


def _check(method: str, sigma: float, iou_threshold: float) -> None:
    if method not in METHODS:
        raise UserError(f"soft_nms: {unknown_name('method', method, METHODS)}")
    if not sigma > 0:
        raise UserError(f"soft_nms_sigma={sigma} must be above 0")
    if not 0 <= iou_threshold <= 1:
        raise UserError(f"soft_nms_threshold={iou_threshold} must be from 0 to 1")


def _by_group(groups: torch.Tensor) -> torch.Tensor:
    """``[G, n]``: the members of each group that has any, in order, filled up with -1."""
    _, group, counts = groups.unique(return_inverse=True, return_counts=True)
    order = group.argsort(stable=True)
    place = (
        torch.arange(len(groups), device=groups.device) - (counts.cumsum(0) - counts)[group[order]]
    )
    table = groups.new_full((len(counts), int(counts.max())), -1)
    table[group[order], place] = order
    return table


def _iou(box: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """``[G, n]``: of ``box`` ``[G, 1, 4]`` with ``boxes`` ``[G, n, 4]``; 0 without any area."""
    top_left = torch.maximum(box[..., :2], boxes[..., :2])
    bottom_right = torch.minimum(box[..., 2:], boxes[..., 2:])
    shared = (bottom_right - top_left).clamp(min=0).prod(-1)
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    area = (box[..., 2:] - box[..., :2]).prod(-1)
    return shared / (area + areas - shared).clamp(min=1e-9)
