"""How proposals are sampled and labelled, and what heads see of them."""

from __future__ import annotations

import project  # noqa: F401  makes `detectron2` importable

import pytest
import torch
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.roi_heads import StandardROIHeads, select_foreground_proposals
from detectron2.structures import Boxes, ImageList, Instances, PolygonMasks
from detectron2.utils.events import EventStorage
from torch import nn

K = 5
SIZE = (64, 64)


class RecordingPredictor(nn.Module):
    """No losses; remembers the proposals it was asked about."""

    def forward(self, x):
        return x

    def losses(self, predictions, proposals):
        self.proposals = proposals
        return {}


class FirstValue(nn.Module):
    """Stands for pooler and head: one number for each box."""

    def forward(self, x, boxes=None):
        return x if boxes is None else torch.cat([b.tensor for b in boxes])[:, :1]


class RecordingMaskHead(nn.Module):
    def forward(self, x, instances):
        self.instances = instances
        return {"loss_mask": x.sum()} if self.training else instances


def make_heads(**kwargs) -> StandardROIHeads:
    arguments = {
        "num_classes": K,
        "batch_size_per_image": 6,
        "positive_fraction": 0.5,
        "proposal_matcher": Matcher([0.5], [0, 1]),
        "box_in_features": ["p2"],
        "box_pooler": FirstValue(),
        "box_head": FirstValue(),
        "box_predictor": RecordingPredictor(),
        "mask_in_features": ["p2"],
        "mask_pooler": FirstValue(),
        "mask_head": RecordingMaskHead(),
    }
    return StandardROIHeads(**{**arguments, **kwargs})


def proposals_of(boxes) -> Instances:
    tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    out = Instances(SIZE, proposal_boxes=Boxes(tensor))
    out.objectness_logits = torch.zeros(len(tensor))
    return out


def targets_of(boxes, classes) -> Instances:
    out = Instances(SIZE, gt_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)))
    out.gt_classes = torch.tensor(classes, dtype=torch.int64)
    corners = [[x0, y0, x1, y0, x1, y1, x0, y1] for x0, y0, x1, y1 in boxes]
    out.gt_masks = PolygonMasks([[c] for c in corners])
    out.gt_number = torch.arange(len(classes)) + 100  # any gt_* field travels along
    return out


GT = targets_of([[0, 0, 20, 20], [30, 30, 50, 60]], [3, 0])
NEAR_GT = [[0, 0, 20, 18], [1, 0, 20, 20], [30, 30, 50, 58]]
FAR = [[40, 0, 60, 20], [0, 40, 20, 60], [0, 30, 9, 39], [50, 0, 60, 9], [22, 0, 29, 20]]


def run(heads, proposals, targets):
    images = ImageList(torch.zeros(len(proposals), 3, *SIZE), [SIZE] * len(proposals))
    with EventStorage(0) as storage:
        sampled, losses = heads(images, {"p2": None}, proposals, targets)
        return sampled, losses, {name: value for name, (value, _) in storage.latest().items()}


def test_samples_are_foreground_first_with_their_ground_truth():
    sampled, _, scalars = run(make_heads(), [proposals_of(NEAR_GT + FAR)], [GT])
    (found,) = sampled
    # 3 near boxes and 2 appended gt boxes could be foreground; half of 6 are taken.
    assert len(found) == 6
    assert found.gt_classes[3:].tolist() == [K] * 3
    for i in range(3):
        number = found.gt_number[i].item() - 100
        assert found.gt_classes[i] == GT.gt_classes[number]
        assert torch.equal(found.gt_boxes.tensor[i], GT.gt_boxes.tensor[number])
        box = found.gt_masks[i : i + 1].get_bounding_boxes().tensor[0]
        assert torch.equal(box, GT.gt_boxes.tensor[number])
    assert scalars["roi_head/num_fg_samples"] == 3
    assert scalars["roi_head/num_bg_samples"] == 3


def test_ground_truth_is_a_proposal_unless_switched_off():
    _, _, scalars = run(make_heads(), [proposals_of(FAR)], [GT])
    assert scalars["roi_head/num_fg_samples"] == 2
    _, _, scalars = run(make_heads(proposal_append_gt=False), [proposals_of(FAR)], [GT])
    assert scalars["roi_head/num_fg_samples"] == 0


def test_images_differ_in_everything():
    """Unequal numbers of proposals; an image without ground truth; statistics are means."""
    proposals = [proposals_of(FAR), proposals_of(NEAR_GT), proposals_of([])]
    targets = [targets_of([], []), GT, targets_of([[5, 5, 9, 9]], [4])]
    sampled, _, scalars = run(make_heads(), proposals, targets)
    assert [len(x) for x in sampled] == [5, 3, 1]
    assert sampled[0].gt_classes.tolist() == [K] * 5
    assert not sampled[0].has("gt_boxes")
    assert set(sampled[1].gt_classes.tolist()) <= {0, 3}
    assert sampled[2].gt_classes.tolist() == [4]
    assert scalars["roi_head/num_fg_samples"] == pytest.approx(4 / 3)
    assert scalars["roi_head/num_bg_samples"] == pytest.approx(5 / 3)


def test_ignored_proposals_are_never_sampled():
    matcher = Matcher([0.3, 0.7], [0, -1, 1])
    heads = make_heads(proposal_matcher=matcher, proposal_append_gt=False)
    half = [[0, 0, 20, 10]]  # IoU 0.5 with the first
    sampled, _, _ = run(heads, [proposals_of(half + FAR)], [GT])
    assert [0, 0, 20, 10] not in sampled[0].proposal_boxes.tensor.tolist()
    assert len(sampled[0]) == 5


def test_inputs_stay_as_they_were():
    proposals, targets = proposals_of(NEAR_GT + FAR), GT
    run(make_heads(), [proposals], [targets])
    assert len(proposals) == 8
    assert list(proposals.get_fields()) == ["proposal_boxes", "objectness_logits"]


def test_mask_head_sees_the_foreground_of_the_same_samples():
    heads = make_heads()
    sampled, losses, _ = run(heads, [proposals_of(NEAR_GT + FAR), proposals_of(FAR)], [GT, GT])
    assert heads.box_predictor.proposals is sampled
    for seen, found in zip(heads.mask_head.instances, sampled, strict=True):
        foreground = found.gt_classes < K
        expected = found.proposal_boxes.tensor[foreground]
        assert torch.equal(seen.proposal_boxes.tensor, expected)
        assert len(seen) == len(seen.gt_masks) > 0
    assert list(losses) == ["loss_mask"]


def test_select_foreground_of_any_order():
    instances = Instances(SIZE, gt_classes=torch.tensor([K, 2, -1, 0, K]))
    (chosen,), (mask,) = select_foreground_proposals([instances], K)
    assert chosen.gt_classes.tolist() == [2, 0]
    assert mask.tolist() == [False, True, False, True, False]


def test_sampled_proposals_can_be_taken_apart():
    """Foreground is found in reordered and cut samples too."""
    sampled, _, _ = run(make_heads(), [proposals_of(NEAR_GT + FAR)], [GT])
    (whole,), (mask,) = select_foreground_proposals(sampled, K)
    assert mask.tolist() == [True] * 3 + [False] * 3
    order = torch.tensor([5, 0, 4, 1])
    (chosen,), _ = select_foreground_proposals([sampled[0][order]], K)
    assert torch.equal(chosen.gt_number, whole.gt_number[:2])


def test_heads_without_masks():
    heads = make_heads(mask_in_features=None, mask_pooler=None, mask_head=None)
    _, losses, _ = run(heads, [proposals_of(FAR)], [GT])
    assert losses == {}
    given = Instances(SIZE, pred_boxes=Boxes(torch.zeros(1, 4)), pred_classes=torch.tensor([0]))
    assert heads.eval().forward_with_given_boxes({}, [given])[0] is given


def test_training_needs_targets():
    with pytest.raises(AssertionError):
        run(make_heads(), [proposals_of(FAR)], None)
    given = Instances(SIZE, pred_boxes=Boxes(torch.zeros(1, 4)), pred_classes=torch.tensor([0]))
    with pytest.raises(AssertionError):
        make_heads().forward_with_given_boxes({}, [given])


@pytest.mark.bundled
def test_keypoints_are_outside():
    with pytest.raises(NotImplementedError, match="keypoint"):
        make_heads(keypoint_in_features=["p2"])
