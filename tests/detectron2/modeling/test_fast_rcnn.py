"""Detections against the golden figures; the box head's losses and statistics by hand."""

from __future__ import annotations

import math

import project  # noqa: F401  makes `detectron2` importable

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads import FastRCNNConvFCHead, FastRCNNOutputLayers
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from detectron2.structures import Boxes, Instances, pairwise_iou
from detectron2.utils.events import EventStorage


# --------------------------------------------------------------------------------------- detections
@pytest.fixture(scope="module")
def arrays(golden):
    return golden.npz("nms_and_inference")


def load(arrays, name):
    return torch.from_numpy(arrays[name].copy())


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_golden_detections(golden, arrays, case):
    spec = golden.json("nms_and_inference")["frcnn"]
    assert spec["order"] == "score_thresh, nms_thresh, topk_per_image"
    boxes = [load(arrays, f"in_pb{i}") for i in range(2)]
    boxes[0][3, 2] = float("inf")
    scores = [load(arrays, f"in_ps{i}") for i in range(2)]
    shapes = [tuple(shape) for shape in spec["image_shapes"]]
    found, rows = fast_rcnn_inference(boxes, scores, shapes, *spec[case])
    for i in range(2):
        name = f"frcnn_{case}_{i}"
        close = {"rtol": 0, "atol": 1e-4}
        np.testing.assert_allclose(found[i].pred_boxes.tensor, arrays[f"{name}_boxes"], **close)
        np.testing.assert_array_equal(found[i].scores, arrays[f"{name}_scores"])
        np.testing.assert_array_equal(found[i].pred_classes, arrays[f"{name}_classes"])
        np.testing.assert_array_equal(rows[i], arrays[f"{name}_inds"])
        assert found[i].image_size == shapes[i]


def test_golden_class_agnostic_boxes(arrays):
    (found,), _ = fast_rcnn_inference(
        [load(arrays, "in_pb1")[:, :4]], [load(arrays, "in_ps1")], [(64, 80)], 0.05, 0.5, 100
    )
    expected = arrays["frcnn_agn_boxes"]
    np.testing.assert_allclose(found.pred_boxes.tensor, expected, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(found.scores, arrays["frcnn_agn_scores"])
    np.testing.assert_array_equal(found.pred_classes, arrays["frcnn_agn_classes"])


def random_image(seed: int, rows: int, num_classes: int):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(rows, num_classes, 2, generator=generator) * 150
    size = torch.rand(rows, num_classes, 2, generator=generator) * 80 + 5
    scores = torch.randn(rows, num_classes + 1, generator=generator).softmax(1)
    return torch.cat([corner, corner + size], 2).flatten(1), scores


@pytest.mark.parametrize("rows", [30, 200])  # one suppression call, or one for each group
def test_batch_equals_singles(rows):
    images = [random_image(seed, rows, 5) for seed in range(3)]
    shapes = [(200, 240), (150, 220), (230, 230)]
    together, kept = fast_rcnn_inference(*zip(*images, strict=True), shapes, 0.05, 0.4, 50)
    for i, shape in enumerate(shapes):
        (alone,), (row,) = fast_rcnn_inference(
            [images[i][0]], [images[i][1]], [shape], 0.05, 0.4, 50
        )
        assert len(alone) == 50
        assert torch.equal(together[i].scores, alone.scores)
        assert torch.equal(together[i].pred_boxes.tensor, alone.pred_boxes.tensor)
        assert torch.equal(kept[i], row)


def test_no_two_of_a_class_overlap_and_rows_are_the_sources():
    boxes, scores = random_image(7, 60, 4)
    (found,), (rows,) = fast_rcnn_inference([boxes], [scores], [(300, 300)], 0.1, 0.3, -1)
    assert (found.scores > 0.1).all()
    assert torch.equal(scores[rows, found.pred_classes], found.scores)
    assert torch.equal(boxes.view(60, 4, 4)[rows, found.pred_classes], found.pred_boxes.tensor)
    iou = pairwise_iou(found.pred_boxes, found.pred_boxes)
    same = found.pred_classes[:, None] == found.pred_classes
    assert (iou[same & ~torch.eye(len(found), dtype=torch.bool)] <= 0.3).all()
    assert (iou[~same] > 0.3).any()


def test_no_detections_and_no_rows():
    nothing = torch.zeros(0, 12), torch.zeros(0, 4)
    some = torch.zeros(2, 12), torch.tensor([[0.0, 0, 0, 1]] * 2)
    found, rows = fast_rcnn_inference(*zip(nothing, some, strict=True), [(9, 9)] * 2, 0.5, 0.5, 10)
    assert [len(x) for x in found] == [0, 0]
    assert found[0].pred_boxes.tensor.shape == (0, 4)
    assert [x.numel() for x in rows] == [0, 0]


# ------------------------------------------------------------------------------------------- losses
K = 2
UNIT = Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0))


def output_layers(**kwargs) -> FastRCNNOutputLayers:
    return FastRCNNOutputLayers(3, box2box_transform=UNIT, num_classes=K, **kwargs)


def samples() -> list[Instances]:
    """Image 0: class 1 (its gt is 1 pixel to the right) and background; image 1: background."""
    first = Instances((32, 32), proposal_boxes=Boxes(torch.tensor([[0.0, 0, 10, 10]] * 2)))
    first.gt_classes = torch.tensor([1, K])
    first.gt_boxes = Boxes(torch.tensor([[1.0, 0, 11, 10]] * 2))
    second = Instances((32, 32), proposal_boxes=Boxes(torch.tensor([[3.0, 3, 9, 9]])))
    second.gt_classes = torch.tensor([K])
    return [first, second]


SCORES = torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 3.0], [4.0, 0.0, 0.0]])
DELTAS = torch.zeros(3, 4 * K) + torch.tensor([9.0] * 4 + [0.2] * 4)


def losses_of(layers, scores=SCORES, deltas=DELTAS, proposals=None):
    with EventStorage(0) as storage:
        losses = layers.losses((scores, deltas), samples() if proposals is None else proposals)
        return losses, {name: value for name, (value, _) in storage.latest().items()}


def test_losses_by_hand():
    losses, scalars = losses_of(output_layers())
    rows = [(SCORES[0], 1), (SCORES[1], 2), (SCORES[2], 2)]
    expected = sum(math.log(s.exp().sum()) - s[c].item() for s, c in rows) / 3
    assert losses["loss_cls"].item() == pytest.approx(expected, rel=1e-5)
    # The gt class's deltas are 0.2 each; wanted are (0.1, 0, 0, 0). Over all three samples.
    assert losses["loss_box_reg"].item() == pytest.approx((0.1 + 3 * 0.2) / 3, rel=1e-5)
    # Predicted 2 (background), 2, 0: one of three right; the foreground one was missed.
    assert scalars == pytest.approx(
        {
            "fast_rcnn/cls_accuracy": 1 / 3,
            "fast_rcnn/fg_cls_accuracy": 0,
            "fast_rcnn/false_negative": 1,
        }
    )


def test_smooth_l1_beta_by_hand():
    losses, _ = losses_of(output_layers(smooth_l1_beta=0.4))
    expected = (0.1**2 + 3 * 0.2**2) / (2 * 0.4) / 3
    assert losses["loss_box_reg"].item() == pytest.approx(expected, rel=1e-5)


def test_giou_by_hand():
    zero = torch.zeros(3, 4)
    losses, _ = losses_of(
        output_layers(box_reg_loss_type="giou", cls_agnostic_bbox_reg=True), deltas=zero
    )
    # Intersection 9 x 10, union 110, hull 11 x 10: GIoU = 90 / 110.
    assert losses["loss_box_reg"].item() == pytest.approx((1 - 90 / 110) / 3, rel=1e-5)


def test_sigmoid_by_hand():
    losses, _ = losses_of(output_layers(use_sigmoid_ce=True))
    softplus = torch.nn.functional.softplus
    # All K logits are negatives, but for class 1 of the first row; background's logit is unused.
    expected = softplus(SCORES[:, :K]).sum() - SCORES[0, 1]
    assert losses["loss_cls"].item() == pytest.approx(expected.item() / 3, rel=1e-5)


def test_loss_weights():
    base, _ = losses_of(output_layers())
    weighted, _ = losses_of(output_layers(loss_weight={"loss_cls": 5.0}))
    assert weighted["loss_cls"].item() == pytest.approx(5 * base["loss_cls"].item())
    assert weighted["loss_box_reg"].item() == pytest.approx(base["loss_box_reg"].item())


def test_only_the_gt_class_of_the_foreground_learns_boxes():
    deltas = DELTAS.clone().requires_grad_()
    losses, _ = losses_of(output_layers(), deltas=deltas)
    losses["loss_box_reg"].backward()
    learning = deltas.grad != 0
    assert learning[0, 4:].all()
    assert learning.sum() == 4


def test_background_only():
    layers, x = output_layers(), torch.randn(1, 3)
    proposals = [samples()[1]]
    with EventStorage(0) as storage:
        losses = layers.losses(layers(x), proposals)
    sum(losses.values()).backward()
    assert losses["loss_box_reg"].item() == 0
    assert not layers.bbox_pred.weight.grad.any()  # zero, but there
    assert list(storage.latest()) == ["fast_rcnn/cls_accuracy"]


def test_no_samples_at_all():
    layers = output_layers()
    nothing = samples()[1][:0]
    losses, scalars = losses_of(layers, *layers(torch.zeros(0, 3)), [nothing])
    assert {k: v.item() for k, v in losses.items()} == {"loss_cls": 0, "loss_box_reg": 0}
    assert scalars == {}
    sum(losses.values()).backward()


@pytest.mark.bundled
def test_zero_width_background_proposals_are_harmless():
    proposals = samples()
    proposals[1].proposal_boxes = Boxes(torch.tensor([[3.0, 3, 3, 3]]))
    losses, _ = losses_of(output_layers(), proposals=proposals)
    assert losses["loss_box_reg"].isfinite()


def federated_weights() -> torch.Tensor:
    return torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0, 1.0])


def test_federated_loss_trains_a_few_classes():
    layers = FastRCNNOutputLayers(
        3,
        box2box_transform=UNIT,
        num_classes=6,
        use_sigmoid_ce=True,
        use_fed_loss=True,
        get_fed_loss_cls_weights=federated_weights,
        fed_loss_num_classes=3,
    )
    proposals, seen = samples(), set()
    for x in proposals:
        x.gt_classes[x.gt_classes == K] = 6  # the background of six classes
    for seed in range(20):
        torch.manual_seed(seed)
        scores = torch.zeros(3, 7, requires_grad=True)
        losses, _ = losses_of(layers, scores, torch.zeros(3, 24), proposals)
        losses["loss_cls"].backward()
        trained = scores.grad.any(0).nonzero().flatten().tolist()
        # Class 1 and background are present, so one more is drawn; weight 0 means never.
        assert len(trained) == 2
        assert 1 in trained
        seen.update(trained)
    assert seen == {0, 1, 3, 4, 5}


def test_federated_loss_needs_its_parts():
    with pytest.raises(AssertionError):
        output_layers(use_fed_loss=True, get_fed_loss_cls_weights=federated_weights)
    with pytest.raises(AssertionError):
        output_layers(use_fed_loss=True, use_sigmoid_ce=True)


# ------------------------------------------------------------------------------------------ helpers
def test_start_and_inputs():
    shape = ShapeSpec(channels=8, height=4, width=4)
    layers = FastRCNNOutputLayers(shape, box2box_transform=UNIT, num_classes=80)
    assert layers.cls_score.weight.shape == (81, 128)
    assert layers.cls_score.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert layers.bbox_pred.weight.std().item() == pytest.approx(0.001, rel=0.05)
    scores, deltas = layers(torch.zeros(5, 8, 4, 4))
    assert (scores.shape, deltas.shape) == ((5, 81), (5, 320))
    assert not scores.any()


def test_predict_helpers():
    layers, proposals = output_layers(), samples()
    predictions = (SCORES, torch.zeros(3, 4 * K))
    boxes = layers.predict_boxes(predictions, proposals)
    assert [tuple(b.shape) for b in boxes] == [(2, 8), (1, 8)]
    assert boxes[1].tolist() == [[3, 3, 9, 9] * 2]
    of_class = layers.predict_boxes_for_gt_classes((SCORES, DELTAS), proposals)
    # Class 1: the centre (5, 5) moves by 0.2 * 10 and both sides grow by exp(0.2).
    half = 5 * math.exp(0.2)
    assert of_class[0][0].tolist() == pytest.approx([7 - half, 7 - half, 7 + half, 7 + half])
    probs = layers.predict_probs(predictions, proposals)
    assert torch.allclose(probs[0].sum(1), torch.ones(2))
    sigmoid = output_layers(use_sigmoid_ce=True).predict_probs(predictions, proposals)
    assert torch.allclose(sigmoid[1], SCORES[2:].sigmoid())


def test_inference_method_is_the_function():
    layers = output_layers(test_score_thresh=0.3, test_topk_per_image=1)
    found, rows = layers.inference((SCORES, torch.zeros(3, 4 * K)), samples())
    assert [len(x) for x in found] == [0, 1]
    assert found[1].pred_boxes.tensor.tolist() == [[3, 3, 9, 9]]
    assert (found[1].pred_classes.item(), rows[1].item()) == (0, 0)


def test_box_head_layout():
    shape = ShapeSpec(channels=4, height=3, width=3)
    head = FastRCNNConvFCHead(shape, conv_dims=[6], fc_dims=[10, 5], conv_norm="BN")
    names = [name for name, _ in head.named_children()]
    assert names == ["conv1", "flatten", "fc1", "fc_relu1", "fc2", "fc_relu2"]
    assert head.conv1.bias is None
    assert head.output_shape.channels == 5
    assert head(torch.zeros(0, 4, 3, 3)).shape == (0, 5)
    assert (head(torch.randn(7, 4, 3, 3)) >= 0).all()


def test_box_head_without_fully_connected_layers():
    shape = ShapeSpec(channels=4, height=3, width=3)
    head = FastRCNNConvFCHead(shape, conv_dims=[6], fc_dims=[])
    spec = head.output_shape
    assert (spec.channels, spec.height, spec.width) == (6, 3, 3)
    with pytest.raises(AssertionError):
        FastRCNNConvFCHead(shape, conv_dims=[], fc_dims=[])


def test_a_score_at_the_threshold_is_no_detection():
    boxes = torch.tensor([[0.0, 0, 4, 4], [5, 5, 9, 9]])
    scores = torch.tensor([[0.5, 0.5], [0.75, 0.25]])
    (found,), (rows,) = fast_rcnn_inference([boxes], [scores], [(9, 9)], 0.5, 0.5, 10)
    assert found.scores.tolist() == [0.75]
    assert rows.tolist() == [1]
