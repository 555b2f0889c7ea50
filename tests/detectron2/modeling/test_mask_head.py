"""Mask targets, loss, statistics and results by hand."""

from __future__ import annotations

import math

import project  # noqa: F401  makes `detectron2` importable

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import BaseMaskRCNNHead, MaskRCNNConvUpsampleHead
from detectron2.modeling.roi_heads.mask_head import mask_rcnn_inference, mask_rcnn_loss
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks
from detectron2.utils.events import EventStorage

LEFT_HALF = [0.0, 0, 8, 0, 8, 16, 0, 16]  # of the box (0, 0, 16, 16)


def sample(classes, image_size=(16, 16), bitmasks=False) -> Instances:
    """Boxes (0, 0, 16, 16) whose masks fill the left half."""
    count = len(classes)
    out = Instances(image_size, proposal_boxes=Boxes(torch.tensor([[0.0, 0, 16, 16]] * count)))
    out.gt_classes = torch.tensor(classes, dtype=torch.int64)
    masks = PolygonMasks([[LEFT_HALF] for _ in range(count)])
    out.gt_masks = BitMasks.from_polygon_masks(masks, *image_size) if bitmasks else masks
    return out


def loss_of(logits, instances):
    with EventStorage(0) as storage:
        loss = mask_rcnn_loss(logits, instances)
        return loss, {name: value for name, (value, _) in storage.latest().items()}


def test_loss_and_statistics_by_hand():
    # Class 1 of 3 says: foreground (logit 2) in the upper half; the other channels are noise.
    logits = torch.randn(1, 3, 4, 4)
    logits[:, 1] = -2
    logits[:, 1, :2] = 2
    loss, scalars = loss_of(logits, [sample([1])])
    # Every quarter (upper/lower x left/right) has a quarter of the pixels; two are right.
    expected = (math.log1p(math.exp(-2)) + math.log1p(math.exp(2))) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert scalars == {
        "mask_rcnn/accuracy": 0.5,
        "mask_rcnn/false_positive": 0.5,
        "mask_rcnn/false_negative": 0.5,
    }


def test_only_the_gt_class_learns():
    logits = torch.zeros(2, 3, 4, 4, requires_grad=True)
    loss, _ = loss_of(logits, [sample([2]), sample([0])])
    loss.backward()
    assert logits.grad.abs().sum((2, 3)).bool().tolist() == [
        [False, False, True],
        [True] + [False] * 2,
    ]


def test_one_channel_needs_no_classes():
    instances = sample([5, 7])
    instances.remove("gt_classes")
    loss, _ = loss_of(torch.zeros(2, 1, 4, 4), [instances])
    assert loss.item() == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize("bitmasks", [False, True])
def test_batch_is_the_mean_of_singles(bitmasks):
    """Images of different sizes; one without foreground in between."""
    logits = torch.randn(3, 4, 8, 8)
    parts = [
        sample([1, 3], (16, 16), bitmasks),
        sample([], (20, 24), bitmasks),
        sample([0], (32, 18), bitmasks),
    ]
    whole = loss_of(logits, parts)[0].item()
    first, last = loss_of(logits[:2], parts[:1])[0].item(), loss_of(logits[2:], parts[2:])[0].item()
    assert whole == pytest.approx((2 * first + last) / 3, rel=1e-5)


def test_polygons_and_bitmaps_agree():
    logits = torch.randn(2, 2, 8, 8)
    polygon = loss_of(logits, [sample([0, 1])])[0]
    bitmap = loss_of(logits, [sample([0, 1], bitmasks=True)])[0]
    assert polygon.item() == pytest.approx(bitmap.item(), rel=1e-6)


def test_no_foreground_keeps_the_graph():
    head = small_head()
    nothing = sample([])
    with EventStorage(0) as storage:
        losses = head(torch.zeros(0, 6, 7, 7), [nothing])
    losses["loss_mask"].backward()
    assert losses["loss_mask"].item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in head.parameters())
    assert storage.latest() == {}


def test_masks_must_be_square():
    with pytest.raises(AssertionError):
        loss_of(torch.zeros(1, 1, 4, 5), [sample([0])])


def test_inference_takes_the_predicted_class():
    logits = torch.arange(3.0).view(1, 3, 1, 1).repeat(3, 1, 2, 2)
    a = Instances((9, 9), pred_classes=torch.tensor([2, 0]))
    b = Instances((9, 9), pred_classes=torch.tensor([1]))
    mask_rcnn_inference(logits, [a, b])
    assert a.pred_masks.shape == (2, 1, 2, 2)
    assert torch.allclose(a.pred_masks[:, 0, 0, 0], torch.tensor([2.0, 0.0]).sigmoid())
    assert torch.allclose(b.pred_masks, torch.full((1, 1, 2, 2), 1.0).sigmoid())


def test_inference_without_detections():
    empty = Instances((9, 9), pred_classes=torch.zeros(0, dtype=torch.int64))
    mask_rcnn_inference(torch.zeros(0, 3, 28, 28), [empty])
    assert empty.pred_masks.shape == (0, 1, 28, 28)


def small_head(**kwargs) -> MaskRCNNConvUpsampleHead:
    shape = ShapeSpec(channels=6, height=7, width=7)
    return MaskRCNNConvUpsampleHead(shape, num_classes=3, conv_dims=[4, 5, 8], **kwargs)


def test_layout_and_start():
    head = small_head(conv_norm="BN")
    names = [name for name, _ in head.named_children()]
    assert names == ["mask_fcn1", "mask_fcn2", "deconv", "deconv_relu", "predictor"]
    assert head.mask_fcn1.bias is None
    assert head.deconv.weight.shape == (5, 8, 2, 2)
    assert head.predictor.weight.abs().max() < 0.006  # six standard deviations
    assert not head.predictor.bias.any()
    assert head.layers(torch.randn(2, 6, 7, 7)).shape == (2, 3, 14, 14)


def test_only_the_upsampling_is_required():
    shape = ShapeSpec(channels=6, height=7, width=7)
    head = MaskRCNNConvUpsampleHead(shape, num_classes=1, conv_dims=[8])
    assert head.layers(torch.randn(1, 6, 7, 7)).shape == (1, 1, 14, 14)
    with pytest.raises(AssertionError):
        MaskRCNNConvUpsampleHead(shape, num_classes=1, conv_dims=[])


class FixedMasks(BaseMaskRCNNHead):
    """Logits of 1 for two classes."""

    def layers(self, x):
        return torch.ones(len(x), 2, 4, 4)


def test_a_subclass_says_only_how_masks_are_predicted():
    x, instances = torch.zeros(1, 6, 7, 7), [sample([1])]
    with EventStorage(0):
        single = FixedMasks()(x, instances)["loss_mask"]
        double = FixedMasks(loss_weight=2.0)(x, instances)["loss_mask"]
    assert double.item() == pytest.approx(2 * single.item())
    found = [Instances((16, 16), pred_classes=torch.tensor([0]))]
    assert FixedMasks().eval()(x, found)[0].pred_masks.shape == (1, 1, 4, 4)


def test_any_logit_above_zero_is_predicted_foreground():
    _, scalars = loss_of(torch.full((1, 1, 4, 4), 0.25), [sample([0])])
    assert scalars == {
        "mask_rcnn/accuracy": 0.5,
        "mask_rcnn/false_positive": 1.0,
        "mask_rcnn/false_negative": 0.0,
    }
