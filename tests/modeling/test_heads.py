"""Heads with options: the parents' results when neutral, and what each option changes."""

from __future__ import annotations

from project.errors import UserError
from project.modeling.heads import BalancedOutputLayers, DiceMaskHead, DropoutBoxHead
from project.modeling.losses import dice_loss

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads import (
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    MaskRCNNConvUpsampleHead,
)
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks
from detectron2.utils.events import EventStorage
from omegaconf import OmegaConf
from torch.nn import functional as F

K = 3
SQUARE = [[4.0, 4.0, 20.0, 4.0, 20.0, 20.0, 4.0, 20.0]]
WEDGE = [[2.0, 2.0, 28.0, 2.0, 2.0, 28.0]]


@pytest.fixture(autouse=True)
def storage():
    with EventStorage() as storage:
        yield storage


def predictor(kind=BalancedOutputLayers, **options):
    torch.manual_seed(0)
    transform = Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0))
    return kind(8, num_classes=K, box2box_transform=transform, **options)


def proposals(*classes_of_images):
    """Proposals of one image for each list of classes; those of a class are foreground."""
    found = []
    for classes in classes_of_images:
        boxes = torch.tensor([[2.0, 3.0, 25.0, 28.0]]).repeat(len(classes), 1)
        found.append(
            Instances(
                (32, 32),
                proposal_boxes=Boxes(boxes),
                gt_boxes=Boxes(boxes + 1),
                gt_classes=torch.tensor(classes, dtype=torch.int64),
            )
        )
    return found


def losses(layers, samples, dtype=torch.float32):
    features = torch.randn(sum(map(len, samples)), 8, generator=torch.Generator().manual_seed(1))
    return layers.losses(layers(features.to(dtype)), samples)


def same(mine, parents):
    assert mine.keys() == parents.keys()
    assert all(torch.equal(mine[name], parents[name]) for name in mine)


def test_neutral_options_are_the_parent_bit_for_bit():
    samples = proposals([0, 3, 2], [1])
    neutral = predictor(class_weights=[1, 1, 1], background_weight=1.0, focal_gamma=0)
    same(losses(neutral, samples), losses(predictor(FastRCNNOutputLayers), samples))


def test_checkpoints_go_both_ways():
    ours = predictor(class_weights=[1, 2, 3], focal_gamma=2.0, background_prior=0.9)
    parent = predictor(FastRCNNOutputLayers)
    assert ours.state_dict().keys() == parent.state_dict().keys()
    ours.load_state_dict(parent.state_dict())
    shape = ShapeSpec(channels=4, width=2, height=2)
    for kind, parent, options in [
        (DropoutBoxHead, FastRCNNConvFCHead, {"fc_dims": [5, 6], "conv_dims": [3]}),
        (DiceMaskHead, MaskRCNNConvUpsampleHead, {"num_classes": 2, "conv_dims": [3, 3]}),
    ]:
        kind(shape, **options).load_state_dict(parent(shape, **options).state_dict())


def test_weights_count_classes_and_background():
    samples = proposals([0, 3, 2], [1])
    layers = predictor(class_weights=OmegaConf.create([0.5, 2, 4]), background_weight=0.25)
    parent = predictor(FastRCNNOutputLayers)
    features = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    each = F.cross_entropy(parent(features)[0], torch.tensor([0, 3, 2, 1]), reduction="none")
    expected = (each * torch.tensor([0.5, 0.25, 4, 2])).sum() / 4
    found = losses(layers, samples)
    torch.testing.assert_close(found["loss_cls"], expected)
    assert torch.equal(found["loss_box_reg"], losses(parent, samples)["loss_box_reg"])


def test_focal_loss_is_smaller_and_the_loss_weight_scales_it(storage):
    samples = proposals([0, 3, 2], [1])
    plain, focal = (losses(predictor(focal_gamma=g), samples)["loss_cls"] for g in (0.0, 2.0))
    # Scores are nearly equal at first: p is 1/4, so the factor is about (3/4)^2.
    assert (focal / plain).item() == pytest.approx(9 / 16, rel=0.05)
    doubled = predictor(focal_gamma=2.0, loss_weight={"loss_cls": 2.0})
    torch.testing.assert_close(losses(doubled, samples)["loss_cls"], 2 * focal)
    assert "fast_rcnn/cls_accuracy" in storage.latest()


def test_the_background_prior_is_the_first_prediction():
    layers = predictor(background_prior=0.75)
    probabilities = layers.predict_probs(layers(torch.zeros(2, 8)), proposals([0, 1]))[0]
    expected = torch.tensor([1 / 12, 1 / 12, 1 / 12, 3 / 4]).expand(2, -1)
    torch.testing.assert_close(probabilities, expected)


@pytest.mark.parametrize("samples", [proposals(), proposals([]), proposals([3, 3], [])])
def test_no_proposals_or_no_foreground_are_finite(samples):
    layers = predictor(class_weights=[1, 2, 3], focal_gamma=0.5)
    found = losses(layers, samples)
    sum(found.values()).backward()
    assert all(loss.isfinite() for loss in found.values())
    assert layers.bbox_pred.weight.grad.abs().max() == 0
    if not sum(map(len, samples)):
        assert found["loss_cls"].item() == 0
        assert layers.cls_score.weight.grad.abs().max() == 0


def test_bfloat16_gives_finite_float32_losses():
    layers = predictor(class_weights=[1, 2, 3], focal_gamma=2.0)
    with torch.autocast("cpu", torch.bfloat16):
        found = losses(layers, proposals([0, 3, 2], [1]))["loss_cls"]
    assert found.isfinite()
    assert found.dtype == torch.float32
    exact = losses(layers, proposals([0, 3, 2], [1]))["loss_cls"]
    torch.testing.assert_close(found, exact, rtol=1e-2, atol=0)  # bfloat16 has 8 bits


@pytest.mark.parametrize(
    "options, message",
    [
        ({"class_weights": [1, 2]}, "2 numbers for 3 classes"),
        ({"class_weights": [1, -2, 3]}, "must be numbers >= 0, got"),
        ({"background_weight": float("nan")}, "must be numbers >= 0, got"),
        ({"focal_gamma": -1}, "focal_gamma=-1 must be a number of at least 0"),
        ({"background_prior": 1.0}, "background_prior=1.0 must be above 0 and below 1"),
        ({"focal_gamma": 1.0, "use_sigmoid_ce": True}, "set use_sigmoid_ce=False"),
        ({"background_prior": 0.9, "use_sigmoid_ce": True}, "set use_sigmoid_ce=False"),
    ],
)
def test_wrong_options_of_the_predictor(options, message):
    with pytest.raises(UserError, match=message):
        predictor(**options)


def box_head(kind=DropoutBoxHead, **options):
    torch.manual_seed(0)
    shape = ShapeSpec(channels=4, width=2, height=2)
    return kind(shape, conv_dims=[6], fc_dims=[400, 300], **options)


def test_dropout_acts_in_training_only():
    features = torch.randn(10, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    head, parent = box_head(dropout=0.5), box_head(FastRCNNConvFCHead)
    assert torch.equal(head.eval()(features), parent(features))
    assert head.output_shape == parent.output_shape
    assert torch.equal(box_head(dropout=0.0).train()(features), parent(features))


def test_dropout_drops_its_share_and_keeps_the_mean():
    features = torch.randn(200, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    head, outputs, inputs = box_head(dropout=0.25), [], []
    for layer in (head.fc_relu1, head.fc_relu2):
        layer.register_forward_hook(lambda module, args, output: outputs.append(output))
    head.fc2.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    inputs.append(head.train()(features))
    for whole, part in zip(outputs, inputs, strict=True):
        gone = (part == 0) & (whole > 0)
        assert gone.sum() / (whole > 0).sum() == pytest.approx(0.25, abs=0.02)
        torch.testing.assert_close(part, torch.where(gone, 0.0, whole / 0.75))


def test_wrong_options_of_the_box_head():
    with pytest.raises(UserError, match="dropout=1 must be at least 0 and below 1"):
        box_head(dropout=1)
    with pytest.raises(UserError, match="needs fully connected layers"):
        DropoutBoxHead(ShapeSpec(channels=4, width=2, height=2), conv_dims=[3], fc_dims=[])


def mask_head(kind=DiceMaskHead, num_classes=K, **options):
    torch.manual_seed(0)
    return kind(ShapeSpec(channels=4), num_classes=num_classes, conv_dims=[5, 5], **options)


def with_masks(bitmasks=False):
    """Three boxes in the first image, none in the second, one in the third."""
    samples = proposals([0, 2, 1], [], [1])
    for x, polygons in zip(samples, [[SQUARE, WEDGE, SQUARE], [], [WEDGE]], strict=True):
        masks = PolygonMasks(polygons)
        x.gt_masks = BitMasks.from_polygon_masks(masks.polygons, 32, 32) if bitmasks else masks
    return samples


FEATURES = torch.randn(4, 4, 7, 7, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("bitmasks", [False, True])
@pytest.mark.parametrize("num_classes", [1, K])
def test_the_mask_head_adds_dice_to_the_parents_loss(bitmasks, num_classes, storage):
    samples = with_masks(bitmasks)
    parent = mask_head(MaskRCNNConvUpsampleHead, num_classes)
    before = parent(FEATURES, samples)
    accuracy = float(storage.latest()["mask_rcnn/accuracy"][0])
    same(mask_head(num_classes=num_classes, dice_weight=0)(FEATURES, samples), before)

    head = mask_head(num_classes=num_classes, dice_weight=0.5, loss_weight=3.0)
    found = head(FEATURES, samples)
    assert found.keys() == {"loss_mask", "loss_mask_dice"}
    assert torch.equal(found["loss_mask"], 3 * before["loss_mask"])
    assert float(storage.latest()["mask_rcnn/accuracy"][0]) == accuracy
    boxes = torch.tensor([[2.0, 3.0, 25.0, 28.0]])
    targets = [x.gt_masks.crop_and_resize(boxes.repeat(len(x), 1), 14) for x in samples if len(x)]
    own = [0, 2, 1, 1] if num_classes > 1 else [0] * 4
    expected = dice_loss(parent.layers(FEATURES)[torch.arange(4), own], torch.cat(targets))
    torch.testing.assert_close(found["loss_mask_dice"], 1.5 * expected)
    assert [type(x.gt_masks) for x in samples] == [type(with_masks(bitmasks)[0].gt_masks)] * 3


def test_masks_without_foreground_give_connected_zeros():
    head = mask_head()
    found = head(FEATURES[:0], [x[:0] for x in with_masks()])
    sum(found.values()).backward()
    assert all(loss.item() == 0 for loss in found.values())
    assert head.predictor.weight.grad.abs().max() == 0


def test_masks_in_bfloat16_are_finite():
    with torch.autocast("cpu", torch.bfloat16):
        found = mask_head()(FEATURES, with_masks())
    assert all(loss.isfinite() and loss.dtype == torch.float32 for loss in found.values())


def test_inference_of_masks_is_the_parents():
    def predicted(head):
        detections = Instances((32, 32), pred_classes=torch.tensor([0, 2, 1, 1]))
        return head.eval()(FEATURES, [detections])[0].pred_masks

    assert torch.equal(predicted(mask_head()), predicted(mask_head(MaskRCNNConvUpsampleHead)))


def test_a_wrong_dice_weight():
    with pytest.raises(UserError, match="dice_weight=-1 must be a number of at least 0"):
        mask_head(dice_weight=-1)
