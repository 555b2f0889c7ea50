"""What happens to each proposal; API of ``detectron2.modeling.roi_heads.roi_heads``.

The proposals of all images are sampled together, with one host transfer for the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from ...structures import Boxes, ImageList, Instances, PolygonMasks, pairwise_iou
from ..matcher import Matcher
from ..proposal_generator.proposal_utils import add_ground_truth_to_proposals
from ..sampling import draw_balanced
from ..statistics import put_share
from .foreground import is_foreground, note_foreground, noted_foreground


def select_foreground_proposals(
    proposals: Sequence[Instances], bg_label: int
) -> tuple[list[Instances], list[torch.Tensor]]:
    """Of each image the proposals of a class (neither -1 nor ``bg_label``), and their bool mask.

    Args:
        proposals: with ``gt_classes``.
    """
    masks = [is_foreground(x.gt_classes, bg_label) for x in proposals]
    cuts = [
        mask if noted is None else slice(noted)
        for mask, noted in zip(masks, noted_foreground(proposals), strict=True)
    ]
    return [x[cut] for x, cut in zip(proposals, cuts, strict=True)], masks


class ROIHeads(nn.Module):
    """Samples proposals for training; subclasses predict something for each of them."""

    def __init__(
        self,
        *,
        num_classes: int,
        batch_size_per_image: int,
        positive_fraction: float,
        proposal_matcher: Matcher,
        proposal_append_gt: bool = True,
    ):
        """
        Args:
            num_classes: K, without background.
            batch_size_per_image: proposals sampled, at most; ``positive_fraction`` of them at most
                are foreground.
            proposal_append_gt: ground-truth boxes are proposals too, so that a network at its
                beginning finds something to learn from.
        """
        super().__init__()
        self.num_classes = num_classes
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.proposal_matcher = proposal_matcher
        self.proposal_append_gt = proposal_append_gt

    def forward(
        self,
        images: ImageList,
        features: dict[str, torch.Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """Training: sampled proposals and losses. Evaluation: detections and an empty dict."""
        raise NotImplementedError

    @torch.no_grad()
    def label_and_sample_proposals(
        self, proposals: list[Instances], targets: list[Instances]
    ) -> list[Instances]:
        """The proposals of each image to train on, foreground first, with what they should find.

        Args:
            proposals: with ``proposal_boxes`` and ``objectness_logits``.
            targets: ground truth, with ``gt_boxes``, ``gt_classes`` and any other ``gt_*``.

        Returns:
            Instances that gain ``gt_classes`` (K is background), and in images with ground truth
            every ``gt_*`` field of the best overlapping instance, also where that is far away.
        """
        if self.proposal_append_gt:
            proposals = add_ground_truth_to_proposals(targets, proposals)
        matched = [self._match(p, t) for p, t in zip(proposals, targets, strict=True)]
        matches, classes = zip(*matched, strict=True)
        draw = draw_balanced(
            pad_sequence(list(classes), batch_first=True, padding_value=-1),
            self.batch_size_per_image,
            self.positive_fraction,
            self.num_classes,
        )
        # Numbers of samples, and the ground truth of the positives and negatives: what slices
        # and polygons, which live on the host, need to know.
        counts = torch.stack([draw.num_positives, draw.num_negatives], dim=1)
        padded = pad_sequence(list(matches), batch_first=True)
        drawn = torch.cat([draw.positives, draw.negatives], dim=1)
        on_host = torch.cat([counts, padded.gather(1, drawn)], dim=1).cpu()
        most_positive = draw.positives.shape[1]

        sampled = []
        for k, (found, target) in enumerate(zip(proposals, targets, strict=True)):
            n_pos, n_neg = on_host[k, :2].tolist()

            def cut(row, n_pos=n_pos, n_neg=n_neg):
                return torch.cat([row[:n_pos], row[most_positive : most_positive + n_neg]])

            index = cut(drawn[k])
            chosen = found[index]
            chosen.gt_classes = classes[k][index]
            _copy_targets(chosen, target, matches[k][index], cut(on_host[k, 2:]))
            note_foreground(chosen, n_pos)
            sampled.append(chosen)
        num_foreground, num_background = on_host[:, :2].sum(0).tolist()
        put_share("roi_head/num_fg_samples", num_foreground, len(sampled))
        put_share("roi_head/num_bg_samples", num_background, len(sampled))
        return sampled

    def _match(self, proposals: Instances, targets: Instances) -> tuple[torch.Tensor, torch.Tensor]:
        """Ground-truth index and class (K background, -1 ignored) of each proposal."""
        match, label = self.proposal_matcher(
            pairwise_iou(targets.gt_boxes, proposals.proposal_boxes)
        )
        if not len(targets):
            return match, torch.full_like(match, self.num_classes)
        classes = targets.gt_classes[match]
        classes = classes.masked_fill(label == 0, self.num_classes)
        return match, classes.masked_fill(label == -1, -1)


def _copy_targets(
    chosen: Instances, target: Instances, match: torch.Tensor, match_on_host: torch.Tensor
) -> None:
    """Give ``chosen`` the ``gt_*`` fields of the matched instances of ``target``."""
    if not len(target):
        return
    for name, values in target.get_fields().items():
        if name.startswith("gt_") and not chosen.has(name):
            on_host = isinstance(values, PolygonMasks)
            chosen.set(name, values[match_on_host if on_host else match])


class StandardROIHeads(ROIHeads):
    """A box head, and a mask head that looks at the same proposals (Mask R-CNN)."""

    def __init__(
        self,
        *,
        box_in_features: Sequence[str],
        box_pooler: nn.Module,
        box_head: nn.Module,
        box_predictor: nn.Module,
        mask_in_features: Sequence[str] | None = None,
        mask_pooler: nn.Module | None = None,
        mask_head: nn.Module | None = None,
        keypoint_in_features: Sequence[str] | None = None,
        keypoint_pooler: nn.Module | None = None,
        keypoint_head: nn.Module | None = None,
        train_on_pred_boxes: bool = False,
        **kwargs,
    ):
        """
        Args:
            box_in_features: names of the maps that ``box_pooler`` takes.
            box_predictor: like `FastRCNNOutputLayers`.
            mask_in_features: with ``mask_pooler`` and ``mask_head``; all None for no masks. Without
                a pooler the head gets the maps themselves, as a dict.
            keypoint_in_features: keypoints are outside of what the bundle implements.
            train_on_pred_boxes: masks are trained in the boxes predicted for the gt classes.
            kwargs: of `ROIHeads`.

        Raises:
            NotImplementedError: if a keypoint part is given.
        """
        super().__init__(**kwargs)
        if any(x is not None for x in (keypoint_in_features, keypoint_pooler, keypoint_head)):
            raise NotImplementedError("the bundled Detectron2 has no keypoint heads")
        self.in_features = self.box_in_features = list(box_in_features)
        self.box_pooler, self.box_head, self.box_predictor = box_pooler, box_head, box_predictor
        self.mask_on = mask_in_features is not None
        if self.mask_on:
            self.mask_in_features = list(mask_in_features)
            self.mask_pooler, self.mask_head = mask_pooler, mask_head
        self.train_on_pred_boxes = train_on_pred_boxes

    def forward(
        self,
        images: ImageList,
        features: dict[str, torch.Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """Training: sampled proposals and losses. Evaluation: detections and an empty dict.

        Raises:
            AssertionError: in training without targets.
        """
        if not self.training:
            detections = self._forward_box(features, proposals)
            return self.forward_with_given_boxes(features, detections), {}
        assert targets is not None, "training ROI heads needs ground-truth targets"
        sampled = self.label_and_sample_proposals(proposals, targets)
        predictions = self._predict(features, sampled)
        losses = self.box_predictor.losses(predictions, sampled)
        if self.mask_on:
            foreground = self._mask_samples(sampled, predictions)
            losses.update(self._forward_mask(features, foreground))
        return sampled, losses

    def forward_with_given_boxes(
        self, features: dict[str, torch.Tensor], instances: list[Instances]
    ) -> list[Instances]:
        """Detections with masks, of instances with ``pred_boxes`` and ``pred_classes``.

        Raises:
            AssertionError: in training, or if a field is missing.
        """
        assert not self.training, "boxes can be given in evaluation only"
        assert all(x.has("pred_boxes") and x.has("pred_classes") for x in instances), (
            "instances need pred_boxes and pred_classes"
        )
        return self._forward_mask(features, instances) if self.mask_on else instances

    def _predict(self, features: dict[str, torch.Tensor], proposals: list[Instances]):
        maps = [features[name] for name in self.box_in_features]
        pooled = self.box_pooler(maps, [x.proposal_boxes for x in proposals])
        return self.box_predictor(self.box_head(pooled))

    def _forward_box(self, features, proposals: list[Instances]) -> list[Instances]:
        predictions = self._predict(features, proposals)
        return self.box_predictor.inference(predictions, proposals)[0]

    @torch.no_grad()
    def _mask_samples(self, sampled: list[Instances], predictions) -> list[Instances]:
        """The foreground of each image, in the boxes that masks are trained in."""
        foreground, masks = select_foreground_proposals(sampled, self.num_classes)
        if self.train_on_pred_boxes:
            boxes = self.box_predictor.predict_boxes_for_gt_classes(predictions, sampled)
            for proposals, own, mask in zip(foreground, boxes, masks, strict=True):
                proposals.proposal_boxes = Boxes(own[mask])
        return foreground

    def _forward_mask(self, features: dict[str, torch.Tensor], instances: list[Instances]):
        """Losses in training (at ``proposal_boxes``), else instances with ``pred_masks``."""
        maps = {name: features[name] for name in self.mask_in_features}
        if self.mask_pooler is None:
            return self.mask_head(maps, instances)
        name = "proposal_boxes" if self.training else "pred_boxes"
        pooled = self.mask_pooler(list(maps.values()), [x.get(name) for x in instances])
        return self.mask_head(pooled, instances)
