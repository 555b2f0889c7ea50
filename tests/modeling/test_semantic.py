"""The semantic model around small networks of its own: shapes, padding, labels, mistakes."""

from __future__ import annotations

import copy
import math

from project.errors import UserError
from project.modeling.backbones import compile_backbone
from project.modeling.semantic import (
    OneValueBatchNorm,
    SemanticSegmenter,
    forgive_single_values,
    num_outputs,
    without_small_parts,
)
from project.modeling.semantic_losses import IGNORE, SemanticLoss

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode


class Deep(nn.Module):
    """Logits at half size; in training a second map at a quarter."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(3, channels, 2, stride=2)
        self.second = nn.Conv2d(channels, channels, 2, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        logits = self.first(x)
        return [logits, self.second(logits)] if self.training else logits


def build(network: nn.Module, num_classes: int = 2, **options) -> SemanticSegmenter:
    mean, std = [10.0, 20.0, 30.0], [2.0, 4.0, 5.0]
    return SemanticSegmenter(network, num_classes, SemanticLoss(num_classes), mean, std, **options)


def pointwise(channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, channels, 1)


def image(h: int, w: int, seed: int = 0, **more) -> dict:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (3, h, w), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 3, (h, w), generator=generator)
    return {"image": pixels, "sem_seg": labels, **more}


def test_probabilities_of_the_size_asked_for():
    model = build(Deep(3)).eval()
    batch = [image(20, 30, height=41, width=17), image(33, 7, 1), image(20, 30, 2, height=5)]
    results = [x["sem_seg"] for x in model(batch)]
    assert [tuple(x.shape) for x in results] == [(3, 41, 17), (3, 33, 7), (3, 5, 30)]
    for x in results:
        assert x.dtype == torch.float32
        torch.testing.assert_close(x.sum(0), torch.ones(x.shape[1:]))
        assert x.min() >= 0


def test_a_pixels_result_is_the_softmax_of_its_normalised_logits():
    network = pointwise()
    model = build(network).eval()
    item = image(5, 6)
    mean, std = torch.tensor([10.0, 20.0, 30.0]), torch.tensor([2.0, 4.0, 5.0])
    x = (item["image"].float() - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(model([item])[0]["sem_seg"], network(x[None])[0].softmax(0))


def test_probabilities_are_resized_and_not_logits():
    """Between (1, 0) and (1/4, 3/4) lies (5/8, 3/8); the softmax of mean logits would be another.

    Bilinear from 2 to 4 columns takes 1, 3/4, 1/4 and 0 of the first.
    """

    class Two(nn.Module):
        def forward(self, x):
            z = torch.tensor([[100.0, 0.0], [0.0, math.log(3)]]).T
            return z.view(1, 2, 1, 2)

    model = build(Two(), 1, size_divisibility=1).eval()
    result = model([{"image": torch.zeros(3, 1, 2), "height": 1, "width": 4}])[0]["sem_seg"]
    expected = torch.tensor([1.0, 0.8125, 0.4375, 0.25])
    torch.testing.assert_close(result[:, 0], torch.stack([expected, 1 - expected]))


def test_results_do_not_depend_on_the_rest_of_the_batch():
    torch.manual_seed(0)
    # Sees the whole batch at once: padding to a neighbour's size would change its mean.
    network = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.InstanceNorm2d(3))
    model = build(network, size_divisibility=8).eval()
    batch = [image(20, 30), image(41, 9, 1), image(22, 27, 2), image(8, 8, 3)]
    for together, item in zip(model(batch), batch, strict=True):
        torch.testing.assert_close(together["sem_seg"], model([item])[0]["sem_seg"])
    assert model([]) == []


def test_small_parts_go_to_the_other_classes():
    scores = torch.zeros(3, 4, 5)
    scores[2] = 1.0
    scores[:, 0, :2] = torch.tensor([0.7, 0.1, 0.2])[:, None]  # 2 of 20 pixels
    scores[:, 2:, 2:] = torch.tensor([0.6, 0.0, 0.4])[:, None, None]  # 6 pixels
    scores[:, 0, 4] = torch.tensor([0.0, 1.0, 0.0])
    found = without_small_parts(scores, 0.15)
    assert found.argmax(0).tolist() == [[2] * 5, [2] * 5, [2, 2, 0, 0, 0], [2, 2, 0, 0, 0]]
    torch.testing.assert_close(found[:, 0, 0], torch.tensor([0.0, 1 / 3, 2 / 3]))
    torch.testing.assert_close(found.sum(0), torch.ones(4, 5))
    torch.testing.assert_close(found[:, 2, 2], scores[:, 2, 2])
    assert without_small_parts(scores, 0.1).argmax(0)[0].tolist() == [0, 0, 2, 2, 2]
    assert without_small_parts(scores, 0.0) is scores


def test_a_model_leaves_out_small_parts():
    batch = [image(20, 30), image(9, 8, 1)]
    results = [build(pointwise(), smallest_part=share).eval()(batch) for share in (0.0, 0.05)]
    for every, large in zip(*results, strict=True):
        expected = without_small_parts(every["sem_seg"], 0.05)
        assert (expected.argmax(0) != every["sem_seg"].argmax(0)).any()
        torch.testing.assert_close(large["sem_seg"], expected)
    with pytest.raises(UserError, match="smallest_part=2 must be a share of the image, 0 to 1"):
        build(pointwise(), smallest_part=2)


def test_padding_is_ignored_in_the_losses():
    """With a network that sees one pixel at a time they are those of all pixels side by side."""
    network = pointwise()
    batch = [image(5, 9), image(11, 3, 1)]
    losses = build(network, size_divisibility=8)(batch)
    pixels = torch.cat([x["image"].flatten(1) for x in batch], 1)[:, None]
    labels = torch.cat([x["sem_seg"].flatten() for x in batch])[None]
    alone = build(network, size_divisibility=1)([{"image": pixels, "sem_seg": labels}])
    assert list(losses) == ["loss_ce", "loss_dice"]
    for key, loss in losses.items():
        torch.testing.assert_close(loss, alone[key])


def test_padding_reaches_no_further_than_the_kernel():
    torch.manual_seed(0)
    network = nn.Conv2d(3, 3, 3, padding=1)
    item = image(13, 13)
    bare = build(network, size_divisibility=1).eval()([item])[0]["sem_seg"]
    padded = build(network, size_divisibility=32).eval()([item])[0]["sem_seg"]
    # Zeros stand around the image in both cases: the convolution's own, or the padding's.
    torch.testing.assert_close(bare, padded)


def test_maps_of_deep_supervision_are_brought_to_the_labels_size():
    torch.manual_seed(0)
    network = Deep(3)
    model = build(network, size_divisibility=4)
    item = image(8, 12)
    losses = model([item])
    x = (item["image"] - model.pixel_mean) / model.pixel_std
    sizes = [F.interpolate(y, (8, 12), mode="bilinear") for y in network(x[None])]
    expected = model.loss(sizes, item["sem_seg"][None])
    assert list(losses) == ["loss_ce", "loss_dice", "loss_side"]
    for key, loss in losses.items():
        torch.testing.assert_close(loss, expected[key])
    sum(losses.values()).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


def test_one_sigmoid_output_is_the_softmax_of_two():
    single = pointwise(1)
    double = nn.Conv2d(3, 2, 1)
    with torch.no_grad():
        double.weight.copy_(torch.cat([single.weight, torch.zeros_like(single.weight)]))
        double.bias.copy_(torch.cat([single.bias, torch.zeros(1)]))
    models = [build(single, 1), build(double, 1)]
    item = image(7, 9, height=10, width=11)
    item["sem_seg"].clamp_(max=1)
    a, b = (m([item]) for m in models)
    for key in a:
        torch.testing.assert_close(a[key], b[key])
    a, b = (m.eval()([item])[0]["sem_seg"] for m in models)
    torch.testing.assert_close(a, b)
    native = models[0].inference([{"image": item["image"]}])[0]["sem_seg"]
    x = (item["image"] - models[0].pixel_mean) / models[0].pixel_std
    torch.testing.assert_close(native[0], single(x[None])[0, 0].sigmoid())


class Waits(TorchDispatchMode):
    """Collects operations for which a GPU would have to be waited for."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if any(word in str(function) for word in ("_local_scalar_dense", "nonzero", "unique")):
            self.found.append(str(function))
        return function(*args, **(kwargs or {}))


def test_no_operation_of_a_training_step_waits_for_the_device():
    loss = SemanticLoss(2, focal_gamma=1.0, class_weights=[1, 2], dice_per_image=True)
    model = build(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)))
    model.loss = loss
    with Waits() as waits:
        sum(model([image(20, 30), image(9, 9, 1)]).values()).backward()
    assert waits.found == []
    with Waits() as waits:  # the check itself finds one
        torch.ones(1).item()
    assert waits.found


def test_under_bfloat16_losses_are_single():
    model = build(Deep(3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model([image(8, 8)])
    assert {x.dtype for x in losses.values()} == {torch.float32}


def test_state_and_attributes():
    model = build(pointwise(), input_format="RGB")
    assert (model.num_classes, model.input_format) == (2, "RGB")
    assert model.device == torch.device("cpu")
    assert list(model.state_dict()) == ["network.weight", "network.bias"]
    assert model.backbone is model.network
    compile_backbone(model, backend="eager")
    assert list(model.state_dict()) == ["network.weight", "network.bias"]


def test_number_of_outputs():
    assert [num_outputs(k) for k in (1, 2, 80)] == [1, 3, 81]
    assert num_outputs(1, sigmoid=False) == 2


def test_a_batch_norm_of_one_value_uses_the_running_statistics():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.SyncBatchNorm(4))
    other = copy.deepcopy(plain)
    forgive_single_values(other)
    assert [type(m) for m in other] == [nn.Conv2d, OneValueBatchNorm, nn.SyncBatchNorm]
    plain, other = plain[:2], other[:2]
    assert list(plain.state_dict()) == list(other.state_dict())
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(plain(x), other(x))
    assert all(map(torch.equal, plain.state_dict().values(), other.state_dict().values()))
    before = copy.deepcopy(other.state_dict())
    one = torch.randn(1, 3, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        plain(one)
    trained = other(one)
    trained.sum().backward()
    assert torch.equal(trained, other.eval()(one))
    assert all(map(torch.equal, before.values(), other.state_dict().values()))
    assert other[1].weight.grad.abs().sum() > 0


def test_an_image_alone_trains_with_pooled_features():
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    losses = build(network)([image(8, 8)])
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_mistakes_are_told():
    with pytest.raises(UserError, match="num_classes=0 must be"):
        build(pointwise(), 0)
    with pytest.raises(UserError, match="num_classes=255 must be at least 1 and below 255"):
        build(pointwise(), 255)
    with pytest.raises(UserError, match="size_divisibility=0: Conv2d needs a multiple of 1"):
        build(pointwise(), size_divisibility=0)
    with pytest.raises(UserError, match="without sem_seg; take project.data.semantic_mapper"):
        build(pointwise())([{"image": torch.zeros(3, 4, 4)}])
    for model in (build(pointwise(5)), build(pointwise(5)).eval()):
        with pytest.raises(UserError, match="gives 5 channels, and 2 classes"):
            model([image(4, 4)])


def test_an_image_without_a_label_that_counts():
    model = build(pointwise())
    item = image(4, 4)
    item["sem_seg"].fill_(IGNORE)
    losses = model([item])
    sum(losses.values()).backward()
    assert [x.item() for x in losses.values()] == [0, 0]
    assert all(p.grad.eq(0).all() for p in model.parameters())
