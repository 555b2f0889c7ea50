"""Proposals against the golden figures; the RPN's targets and losses by hand."""

from __future__ import annotations

import math

import project  # noqa: F401  makes `detectron2` importable

import numpy as np
import pytest
import torch
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.proposal_generator import RPN, StandardRPNHead
from detectron2.modeling.proposal_generator.proposal_utils import (
    add_ground_truth_to_proposals,
    find_top_rpn_proposals,
)
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou
from detectron2.utils.events import EventStorage
from torch import nn


# -------------------------------------------------------------------------------------- proposals
@pytest.fixture(scope="module")
def arrays(golden):
    return golden.npz("nms_and_inference")


def inputs(arrays):
    levels = range(3)
    boxes = [torch.from_numpy(arrays[f"in_props{k}"].copy()) for k in levels]
    return boxes, [torch.from_numpy(arrays[f"in_logits{k}"].copy()) for k in levels]


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_golden_proposals(golden, arrays, case):
    spec = golden.json("nms_and_inference")["rpn"]
    assert spec["order"] == "nms_thresh, pre_nms_topk, post_nms_topk, min_box_size, training"
    sizes = [tuple(size) for size in spec["image_sizes"]]
    found = find_top_rpn_proposals(*inputs(arrays), sizes, *spec[case])
    for i, proposals in enumerate(found):
        boxes, logits = proposals.proposal_boxes.tensor, proposals.objectness_logits
        np.testing.assert_allclose(boxes, arrays[f"rpn_{case}_{i}_boxes"], rtol=0, atol=1e-4)
        np.testing.assert_array_equal(logits, arrays[f"rpn_{case}_{i}_logits"])
        assert proposals.image_size == sizes[i]


def test_broken_boxes(golden, arrays):
    boxes, logits = inputs(arrays)
    boxes[0][0, 5, 0] = float("nan")
    sizes = [(80, 100), (70, 60)]
    found = find_top_rpn_proposals(boxes, logits, sizes, 0.7, 1000, 1000, 0, False)
    expected = arrays["rpn_nan_0_boxes"]
    np.testing.assert_allclose(found[0].proposal_boxes.tensor, expected, rtol=0, atol=1e-4)
    assert golden.json("nms_and_inference")["nan_in_training"] == "FloatingPointError"
    with pytest.raises(FloatingPointError):
        find_top_rpn_proposals(boxes, logits, sizes, 0.7, 1000, 1000, 0, True)


def random_level(images: int, count: int, side: float = 200.0):
    generator = torch.Generator().manual_seed(count)
    corner = torch.rand(images, count, 2, generator=generator) * side
    boxes = torch.cat([corner, corner + torch.rand(images, count, 2, generator=generator) * 60], 2)
    return boxes, torch.randn(images, count, generator=generator)


@pytest.mark.parametrize("count", [50, 700])  # one suppression call, or one for each group
def test_batch_equals_singles(count):
    levels = [random_level(3, count), random_level(3, count // 2)]
    boxes, logits = [b for b, _ in levels], [s for _, s in levels]
    sizes = [(180, 240), (200, 200), (256, 150)]
    together = find_top_rpn_proposals(boxes, logits, sizes, 0.6, 400, 150, 2.0, False)
    for i, size in enumerate(sizes):
        one = [x[i : i + 1] for x in boxes], [x[i : i + 1] for x in logits]
        (alone,) = find_top_rpn_proposals(*one, [size], 0.6, 400, 150, 2.0, False)
        assert torch.equal(together[i].objectness_logits, alone.objectness_logits)
        assert torch.equal(together[i].proposal_boxes.tensor, alone.proposal_boxes.tensor)


def greedy(boxes: torch.Tensor, logits: torch.Tensor, threshold: float) -> list[int]:
    iou = pairwise_iou(Boxes(boxes), Boxes(boxes))
    kept = []
    for i in logits.argsort(descending=True).tolist():
        if all(iou[i, j] <= threshold for j in kept):
            kept.append(i)
    return kept


def test_suppression_against_a_plain_loop():
    """Levels never suppress each other, although their boxes overlap."""
    levels = [random_level(1, 40, 100.0), random_level(1, 41, 100.0)]
    boxes, logits = [b for b, _ in levels], [s for _, s in levels]
    (found,) = find_top_rpn_proposals(boxes, logits, [(500, 500)], 0.3, 1000, 1000, 0, False)
    kept = [s[0, greedy(b[0], s[0], 0.3)] for b, s in levels]
    assert torch.equal(found.objectness_logits, torch.cat(kept).sort(descending=True).values)


def test_far_group_keeps_its_precision():
    """Two boxes of IoU 0.695 in the last of 24 images survive a threshold of 0.7."""
    boxes = torch.tensor([[1300.0, 1300, 1310, 1310], [1301.8, 1300, 1311.8, 1310]])
    stack = boxes.expand(24, 2, 4).contiguous()
    logits = torch.tensor([[2.0, 1.0]]).expand(24, 2).contiguous()
    found = find_top_rpn_proposals([stack], [logits], [(1333, 1333)] * 24, 0.7, 9, 9, 0, False)
    assert [len(x) for x in found] == [2] * 24


def test_nothing_usable():
    flat = torch.tensor([[[5.0, 5, 5, 9], [-9, -9, -1, -1]]])
    (found,) = find_top_rpn_proposals(
        [flat], [torch.zeros(1, 2)], [(20, 20)], 0.7, 9, 9, 0, training=True
    )
    assert len(found) == 0
    assert found.proposal_boxes.tensor.shape == (0, 4)


def test_append_ground_truth(golden, arrays):
    gt = Instances((80, 100), gt_boxes=Boxes(torch.tensor([[1.0, 2, 30, 40]])))
    gt.gt_classes = torch.tensor([1])
    proposals = Instances((80, 100), proposal_boxes=Boxes(torch.tensor([[0.0, 0, 9, 9]])))
    proposals.objectness_logits = torch.tensor([0.5])
    both = add_ground_truth_to_proposals([gt], [proposals])[0]
    np.testing.assert_array_equal(both.proposal_boxes.tensor, arrays["append_gt_boxes"])
    np.testing.assert_allclose(both.objectness_logits, arrays["append_gt_logits"], rtol=1e-6)
    assert list(both.get_fields()) == golden.json("nms_and_inference")["append_gt_fields"]
    (same,) = add_ground_truth_to_proposals([gt.gt_boxes], [proposals])
    assert torch.equal(same.proposal_boxes.tensor, both.proposal_boxes.tensor)
    with pytest.raises(AssertionError):
        add_ground_truth_to_proposals([gt], [proposals, proposals])


# -------------------------------------------------------------------------------------------- head
def test_head_layout_and_start():
    head = StandardRPNHead(in_channels=64, num_anchors=3)
    assert list(head.state_dict())[:2] == ["conv.weight", "conv.bias"]
    for name, p in head.named_parameters():
        if name.endswith("bias"):
            assert not p.any()
    assert head.conv.weight.std().item() == pytest.approx(0.01, rel=0.05)
    logits, deltas = head([torch.randn(2, 64, 4, 5), torch.randn(2, 64, 1, 1)])
    assert [tuple(x.shape) for x in logits] == [(2, 3, 4, 5), (2, 3, 1, 1)]
    assert [tuple(x.shape) for x in deltas] == [(2, 12, 4, 5), (2, 12, 1, 1)]


def test_head_with_several_convolutions():
    head = StandardRPNHead(in_channels=4, num_anchors=2, box_dim=5, conv_dims=[-1, 6])
    assert head.conv.conv0.weight.shape == (4, 4, 3, 3)
    assert head.conv.conv1.weight.shape == (6, 4, 3, 3)
    assert head.anchor_deltas.weight.shape[0] == 10
    with pytest.raises(AssertionError):
        StandardRPNHead(in_channels=4, num_anchors=2, conv_dims=[-2])


# ------------------------------------------------------------------------------- targets and losses
class FixedHead(nn.Module):
    """Gives what it was told to, whatever comes in."""

    def __init__(self, logits, deltas):
        super().__init__()
        self.logits, self.deltas = nn.Parameter(logits), nn.Parameter(deltas)

    def forward(self, features):
        return [self.logits], [self.deltas]


def rpn_on_four_cells(**kwargs) -> RPN:
    """One 8-pixel anchor at the centre of each cell of 16 pixels, on a 32 x 32 image."""
    logits = torch.tensor([[[[0.0, 1.0], [-1.0, 2.0]]]])
    arguments = {
        "in_features": ["p4"],
        "head": FixedHead(logits, torch.full((1, 4, 2, 2), 0.1)),
        "anchor_generator": DefaultAnchorGenerator(
            sizes=[8], aspect_ratios=[1.0], strides=[16], offset=0.5
        ),
        "anchor_matcher": Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
        "box2box_transform": Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)),
        "batch_size_per_image": 8,
        "positive_fraction": 0.5,
        "pre_nms_topk": (4, 3),
        "post_nms_topk": (4, 2),
    }
    return RPN(**{**arguments, **kwargs})


def run(rpn: RPN, gt: list[list[float]] | None):
    images = ImageList(torch.zeros(1, 3, 32, 32), [(32, 32)])
    targets = None
    if gt is not None:
        boxes = Boxes(torch.tensor(gt).reshape(-1, 4))
        targets = [Instances((32, 32), gt_boxes=boxes)]
    with EventStorage(0) as storage:
        proposals, losses = rpn(images, {"p4": torch.zeros(1, 1, 2, 2)}, targets)
        scalars = {name: value for name, (value, _) in storage.latest().items()}
    return proposals, {k: v.item() for k, v in losses.items()}, scalars


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_losses_by_hand():
    # Anchors are (4, 4, 12, 12), (20, 4, 28, 12), ...; the gt is the first one moved by 1 pixel.
    _, losses, scalars = run(rpn_on_four_cells(), [[5.0, 4, 13, 12]])
    # IoU 7/9 > 0.7; the others overlap nothing. BCE: -log sigmoid(0), then softplus of the rest.
    expected = softplus(0) + softplus(1) + softplus(-1) + softplus(2)
    assert losses["loss_rpn_cls"] == pytest.approx(expected / 8, rel=1e-5)
    # Target deltas (1/8, 0, 0, 0) against 0.1 each.
    assert losses["loss_rpn_loc"] == pytest.approx((0.025 + 3 * 0.1) / 8, rel=1e-5)
    assert scalars == {"rpn/num_pos_anchors": 1, "rpn/num_neg_anchors": 3}


def test_loss_weights():
    _, base, _ = run(rpn_on_four_cells(), [[5.0, 4, 13, 12]])
    _, double, _ = run(rpn_on_four_cells(loss_weight=2.0), [[5.0, 4, 13, 12]])
    _, one, _ = run(rpn_on_four_cells(loss_weight={"loss_rpn_loc": 3.0}), [[5.0, 4, 13, 12]])
    assert double == pytest.approx({k: 2 * v for k, v in base.items()})
    assert one["loss_rpn_cls"] == pytest.approx(base["loss_rpn_cls"])
    assert one["loss_rpn_loc"] == pytest.approx(3 * base["loss_rpn_loc"])


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou"])
def test_box_losses_vanish_on_perfect_boxes(kind):
    rpn = rpn_on_four_cells(box_reg_loss_type=kind)
    _, off, _ = run(rpn, [[5.0, 4, 13, 12]])
    rpn.rpn_head.deltas.data.zero_()
    _, perfect, _ = run(rpn, [[4.0, 4, 12, 12]])
    assert off["loss_rpn_loc"] > 1e-3
    assert perfect["loss_rpn_loc"] == pytest.approx(0, abs=1e-6)


def test_ambiguous_anchors_do_not_count():
    # IoU 0.5 with the first anchor, but as the gt's best it is positive, unless that is off.
    matcher = Matcher([0.3, 0.7], [0, -1, 1])
    _, losses, scalars = run(rpn_on_four_cells(anchor_matcher=matcher), [[4.0, 4, 12, 8]])
    assert scalars == {"rpn/num_pos_anchors": 0, "rpn/num_neg_anchors": 3}
    assert losses["loss_rpn_loc"] == 0
    expected = softplus(1) + softplus(-1) + softplus(2)
    assert losses["loss_rpn_cls"] == pytest.approx(expected / 8, rel=1e-5)


def test_anchors_beyond_the_border_can_be_ignored():
    sizes = {"sizes": [24], "aspect_ratios": [1.0], "strides": [16], "offset": 0.5}
    generator = DefaultAnchorGenerator(**sizes)  # every anchor reaches 4 pixels outside
    for threshold, negatives in ((-1, 4), (0, 0), (5, 4)):
        rpn = rpn_on_four_cells(anchor_generator=generator, anchor_boundary_thresh=threshold)
        _, _, scalars = run(rpn, [])
        assert scalars["rpn/num_neg_anchors"] == negatives


def test_image_without_objects_is_all_background():
    rpn = rpn_on_four_cells()
    _, losses, scalars = run(rpn, [])
    assert scalars == {"rpn/num_pos_anchors": 0, "rpn/num_neg_anchors": 4}
    assert losses["loss_rpn_loc"] == 0
    assert losses["loss_rpn_cls"] > 0


def test_sampling_limits():
    rpn = rpn_on_four_cells(batch_size_per_image=3, positive_fraction=0.4)
    _, _, scalars = run(rpn, [[4.0, 4, 12, 12], [20.0, 4, 28, 12]])
    assert scalars == {"rpn/num_pos_anchors": 1, "rpn/num_neg_anchors": 2}


def test_unsampled_anchors_get_no_gradient():
    rpn = rpn_on_four_cells(batch_size_per_image=1)
    images = ImageList(torch.zeros(1, 3, 32, 32), [(32, 32)])
    target = Instances((32, 32), gt_boxes=Boxes(torch.zeros(0, 4)))
    with EventStorage(0):
        _, losses = rpn(images, {"p4": torch.zeros(1, 1, 2, 2)}, [target])
    losses["loss_rpn_cls"].backward()
    assert (rpn.rpn_head.logits.grad != 0).sum() == 1


def test_proposals_in_both_modes():
    rpn = rpn_on_four_cells()
    (train,), _, _ = run(rpn, [])
    (test,), losses, _ = run(rpn.eval(), None)
    assert train.objectness_logits.tolist() == [2, 1, 0, -1]
    assert test.objectness_logits.tolist() == [2, 1]
    assert not train.proposal_boxes.tensor.requires_grad
    assert losses == {}


def test_training_needs_targets():
    with pytest.raises(AssertionError):
        run(rpn_on_four_cells(), None)


def test_losses_are_means_over_images():
    _, alone, _ = run(rpn_on_four_cells(), [[5.0, 4, 13, 12]])
    rpn = rpn_on_four_cells()
    rpn.rpn_head = FixedHead(*(p.detach().repeat(2, 1, 1, 1) for p in rpn.rpn_head.parameters()))
    images = ImageList(torch.zeros(2, 3, 32, 32), [(32, 32)] * 2)
    targets = [Instances((32, 32), gt_boxes=Boxes(torch.tensor([[5.0, 4, 13, 12]])))] * 2
    _, losses = rpn(images, {"p4": torch.zeros(2, 1, 2, 2)}, targets)
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(alone)
