"""Class scores and boxes of each proposal; API of ``detectron2.modeling.roi_heads.fast_rcnn``.

Better than upstream's: one suppression for all images and classes, losses of fixed shape (no
search for foreground rows), statistics that wait on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ...layers import ShapeSpec, cross_entropy
from ...structures import Boxes, Instances
from ..batch_nms import by_image, first_of_each, grouped_nms
from ..box_regression import BOX_LOSSES, Box2BoxTransform, masked_box_loss
from ..loss_weights import weight_per_loss
from ..statistics import put_share
from ..transfer import limits_on, values_on
from ..weight_init import fill_normal
from .foreground import is_foreground, noted_foreground


def fast_rcnn_inference(
    boxes: Sequence[torch.Tensor],
    scores: Sequence[torch.Tensor],
    image_shapes: Sequence[tuple[int, int]],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
) -> tuple[list[Instances], list[torch.Tensor]]:
    """The detections of each image, by falling score, and the rows that they come from.

    Args:
        boxes: per image ``[R, 4K]``, a box for each class, or ``[R, 4]``.
        scores: per image ``[R, K + 1]``, probabilities, background last.
        image_shapes: (height, width); boxes are clipped to it.
        score_thresh: detections have a **greater** score.
        nms_thresh: IoU above which the worse of two boxes of a class goes.
        topk_per_image: detections an image has at most; negative for all.

    Returns:
        Instances with ``pred_boxes``, ``scores``, ``pred_classes``; and the row of each among the
        rows of its image in which every box and score is finite (others are left out).
    """
    if not len(boxes):
        return [], []
    sizes = [len(x) for x in scores]
    boxes, scores = torch.cat(list(boxes)).float(), torch.cat(list(scores)).float()
    images = _image_of_row(sizes, scores.device)
    finite = boxes.isfinite().all(1) & scores.isfinite().all(1)
    candidate = (scores[:, :-1] > score_thresh) & finite[:, None]
    rows, classes = candidate.nonzero().unbind(1)

    boxes = boxes.unflatten(1, (-1, 4))
    boxes = boxes[rows, classes if boxes.shape[1] > 1 else 0]
    limits = limits_on(boxes.device, image_shapes)
    boxes = torch.minimum(boxes.clamp(min=0), limits[images[rows]])
    scores = scores[rows, classes]

    num_images, num_classes = len(image_shapes), candidate.shape[1]
    groups = images[rows] * num_classes + classes
    kept = grouped_nms(boxes, scores, groups, num_images * num_classes, nms_thresh)
    kept, counts = by_image(kept, images[rows], num_images)
    rank = _rank_in_image(finite, images, num_images)[rows]
    results, kept_rows = [], []
    for shape, index in zip(
        image_shapes, first_of_each(kept, counts.tolist(), topk_per_image), strict=True
    ):
        found = Instances(shape, pred_boxes=Boxes(boxes[index]))
        found.scores, found.pred_classes = scores[index], classes[index]
        results.append(found)
        kept_rows.append(rank[index])
    return results, kept_rows


def _image_of_row(sizes: list[int], device: torch.device) -> torch.Tensor:
    image = torch.arange(len(sizes), device=device)
    sizes_there = values_on(device, sizes, torch.int64)
    return image.repeat_interleave(sizes_there, output_size=sum(sizes))


def _rank_in_image(finite: torch.Tensor, images: torch.Tensor, num_images: int) -> torch.Tensor:
    """How many finite rows of the same image come before each row."""
    per_image = finite.new_zeros(num_images, dtype=torch.int64).index_add_(0, images, finite.long())
    before = per_image.cumsum(0) - per_image
    return finite.cumsum(0) - 1 - before[images]


class FastRCNNOutputLayers(nn.Module):
    """Two linear layers, ``cls_score`` and ``bbox_pred``, with their losses and detections."""

    def __init__(
        self,
        input_shape: ShapeSpec | int,
        *,
        num_classes: int,
        box2box_transform: Box2BoxTransform,
        loss_weight: float | dict[str, float] = 1.0,
        test_score_thresh: float = 0.0,
        test_nms_thresh: float = 0.5,
        test_topk_per_image: int = 100,
        box_reg_loss_type: str = "smooth_l1",
        smooth_l1_beta: float = 0.0,
        cls_agnostic_bbox_reg: bool = False,
        use_fed_loss: bool = False,
        use_sigmoid_ce: bool = False,
        get_fed_loss_cls_weights: Callable[[], torch.Tensor] | None = None,
        fed_loss_num_classes: int = 50,
    ):
        """
        Args:
            input_shape: of the features of one box; or their number.
            num_classes: K, without background.
            test_score_thresh: with the next two see `fast_rcnn_inference`.
            cls_agnostic_bbox_reg: one box for all classes.
            smooth_l1_beta: where L2 turns into L1; 0 is L1.
            box_reg_loss_type: one of ``BOX_LOSSES``.
            loss_weight: of both losses, or by name (1 where missing).
            use_fed_loss: each step trains ``fed_loss_num_classes`` classes only: those present and
                others drawn by weight (Zhou et al. 2021, section 5.1). Needs ``use_sigmoid_ce``.
            use_sigmoid_ce: every class its own binary cross entropy, in place of a softmax.
            get_fed_loss_cls_weights: gives the ``[K]`` weights, for instance from class counts.

        Raises:
            AssertionError: for an unknown loss, or a federated loss without what it needs.
        """
        super().__init__()
        assert box_reg_loss_type in BOX_LOSSES, f"unknown box loss {box_reg_loss_type!r}"
        if isinstance(input_shape, int):
            input_shape = ShapeSpec(channels=input_shape)
        size = input_shape.channels * (input_shape.height or 1) * (input_shape.width or 1)
        self.cls_score = nn.Linear(size, num_classes + 1)
        self.bbox_pred = nn.Linear(size, 4 if cls_agnostic_bbox_reg else 4 * num_classes)
        fill_normal(self.cls_score, std=0.01)
        fill_normal(self.bbox_pred, std=0.001)
        self.num_classes = num_classes
        self.box2box_transform = box2box_transform
        self.test_score_thresh = test_score_thresh
        self.test_nms_thresh = test_nms_thresh
        self.test_topk_per_image = test_topk_per_image
        self.smooth_l1_beta = smooth_l1_beta
        self.box_reg_loss_type = box_reg_loss_type
        self.loss_weight = weight_per_loss(loss_weight, ("loss_cls", "loss_box_reg"))
        self.use_sigmoid_ce, self.use_fed_loss = use_sigmoid_ce, use_fed_loss
        self.fed_loss_num_classes = fed_loss_num_classes
        if use_fed_loss:
            assert use_sigmoid_ce, "the federated loss needs use_sigmoid_ce"
            assert get_fed_loss_cls_weights is not None, (
                "the federated loss needs get_fed_loss_cls_weights"
            )
            weights = get_fed_loss_cls_weights()
            assert len(weights) == num_classes, (
                f"got {len(weights)} federated weights for {num_classes} classes"
            )
            self.register_buffer("fed_loss_cls_weights", weights)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores ``[R, K + 1]`` and deltas ``[R, 4K]`` (or ``[R, 4]``) of features ``[R, ...]``."""
        x = x.flatten(1)
        return self.cls_score(x), self.bbox_pred(x)

    def losses(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: Sequence[Instances]
    ) -> dict[str, torch.Tensor]:
        """``loss_cls`` and ``loss_box_reg`` of what `forward` gives for the proposals.

        Args:
            proposals: with ``proposal_boxes``, ``gt_classes`` (K is background) and, where an
                image has ground truth, ``gt_boxes``.
        """
        scores, deltas = predictions
        classes = _cat([x.gt_classes for x in proposals], scores.new_zeros(0, dtype=torch.int64))
        self._put_statistics(scores.detach(), classes, noted_foreground(proposals))
        classify = self._sigmoid_loss if self.use_sigmoid_ce else cross_entropy
        losses = {
            "loss_cls": classify(scores.float(), classes),
            "loss_box_reg": self._box_loss(deltas, classes, proposals),
        }
        return {name: loss * self.loss_weight[name] for name, loss in losses.items()}

    def _box_loss(self, deltas, classes, proposals) -> torch.Tensor:
        boxes = _proposal_boxes(proposals, deltas)
        wanted = [(x.gt_boxes if x.has("gt_boxes") else x.proposal_boxes).tensor for x in proposals]
        loss = masked_box_loss(
            self.box2box_transform,
            self._of_class(deltas, classes),
            boxes,
            _cat(wanted, boxes),
            is_foreground(classes, self.num_classes),
            self.box_reg_loss_type,
            self.smooth_l1_beta,
        )
        # Over all samples, so that every foreground box counts the same whatever their number.
        return loss / max(len(classes), 1)

    def _sigmoid_loss(self, scores: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        wanted = F.one_hot(classes, self.num_classes + 1)[:, :-1].to(scores.dtype)
        loss = F.binary_cross_entropy_with_logits(scores[:, :-1], wanted, reduction="none")
        if self.use_fed_loss:
            loss = loss * self._federated_classes(classes)
        return loss.sum() / max(len(classes), 1)

    def _federated_classes(self, classes: torch.Tensor) -> torch.Tensor:
        """Mask ``[K]`` of the classes that are trained in this step.

        Background, where present, counts as one of ``fed_loss_num_classes``, as upstream has it.
        """
        present = F.one_hot(classes, self.num_classes + 1).any(0)
        # The top of log-weights plus Gumbel noise is a draw without replacement.
        noise = -torch.empty_like(self.fed_loss_cls_weights).exponential_().log()
        keys = F.pad(self.fed_loss_cls_weights.log() + noise, (0, 1), value=-torch.inf)
        best, drawn = keys.masked_fill(present, torch.inf).topk(
            min(self.fed_loss_num_classes, len(keys))
        )
        trained = present.scatter(0, drawn, best > -torch.inf) | present
        return trained[:-1]

    def _put_statistics(
        self, scores: torch.Tensor, classes: torch.Tensor, noted: list[int | None]
    ) -> None:
        if not len(classes):
            return
        predicted = scores.argmax(1)
        right, foreground = predicted == classes, is_foreground(classes, self.num_classes)
        put_share("fast_rcnn/cls_accuracy", right.sum(), len(classes))
        num_foreground = int(foreground.sum()) if None in noted else sum(noted)
        if num_foreground:
            missed = foreground & (predicted == self.num_classes)
            put_share("fast_rcnn/fg_cls_accuracy", (right & foreground).sum(), num_foreground)
            put_share("fast_rcnn/false_negative", missed.sum(), num_foreground)

    def inference(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: Sequence[Instances]
    ) -> tuple[list[Instances], list[torch.Tensor]]:
        """Detections of each image and their rows, as `fast_rcnn_inference` gives them."""
        return fast_rcnn_inference(
            self.predict_boxes(predictions, proposals),
            self.predict_probs(predictions, proposals),
            [x.image_size for x in proposals],
            self.test_score_thresh,
            self.test_nms_thresh,
            self.test_topk_per_image,
        )

    def predict_boxes(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: Sequence[Instances]
    ) -> list[torch.Tensor]:
        """Decoded boxes of each image, ``[R, 4K]`` or ``[R, 4]``, not clipped."""
        deltas = predictions[1]
        boxes = self.box2box_transform.apply_deltas(deltas, _proposal_boxes(proposals, deltas))
        return list(boxes.split([len(x) for x in proposals]))

    def predict_probs(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: Sequence[Instances]
    ) -> list[torch.Tensor]:
        """Probabilities of each image, float32 ``[R, K + 1]``, background last."""
        scores = predictions[0].float()
        probs = scores.sigmoid() if self.use_sigmoid_ce else scores.softmax(-1)
        return list(probs.split([len(x) for x in proposals]))

    def predict_boxes_for_gt_classes(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: Sequence[Instances]
    ) -> list[torch.Tensor]:
        """Decoded boxes ``[R, 4]`` of each image, of the classes of the ground truth.

        Args:
            proposals: with ``gt_classes``; rows of the background get some class's box.
        """
        deltas = predictions[1]
        classes = _cat([x.gt_classes for x in proposals], deltas.new_zeros(0, dtype=torch.int64))
        boxes = self.box2box_transform.apply_deltas(
            self._of_class(deltas, classes), _proposal_boxes(proposals, deltas)
        )
        return list(boxes.split([len(x) for x in proposals]))

    def _of_class(self, deltas: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """``[R, 4]``: of each row the deltas of its class, or the only ones."""
        deltas = deltas.unflatten(1, (-1, 4))
        if deltas.shape[1] == 1:
            return deltas[:, 0]
        known = classes.clamp(0, self.num_classes - 1)
        return deltas.take_along_dim(known[:, None, None], dim=1)[:, 0]


def _proposal_boxes(proposals: Sequence[Instances], like: torch.Tensor) -> torch.Tensor:
    nothing = like.new_zeros((0, 4), dtype=torch.float32)
    return _cat([x.proposal_boxes.tensor for x in proposals], nothing)


def _cat(tensors: list[torch.Tensor], nothing: torch.Tensor) -> torch.Tensor:
    return torch.cat(tensors) if tensors else nothing
