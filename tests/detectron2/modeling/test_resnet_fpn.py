"""ResNet and FPN: layouts, freezing, outputs and errors of the golden figures."""

from __future__ import annotations

import project  # noqa: F401  makes `detectron2` importable

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import FPN, Backbone, BasicStem, ResNet, make_stage
from detectron2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from detectron2.modeling.backbone.resnet import BasicBlock, BottleneckBlock
from omegaconf import OmegaConf
from torch import nn


@pytest.fixture(scope="module")
def misc(golden):
    return golden.json("resnet_misc")


def small_resnet(out_features, **kwargs) -> ResNet:
    stages, channels = [], 4
    for k, out_channels in enumerate((6, 8, 10, 12)):
        stages.append(
            ResNet.make_stage(
                BasicBlock,
                1,
                in_channels=channels,
                out_channels=out_channels,
                stride_per_block=[1 if k == 0 else 2],
            )
        )
        channels = out_channels
    return ResNet(BasicStem(3, 4), stages, out_features=out_features, **kwargs)


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_default_stages(misc, depth):
    with torch.device("meta"):
        stages = ResNet.make_default_stages(depth, norm="BN")
    layout = [
        [[type(b).__name__, b.in_channels, b.out_channels, b.stride] for b in stage]
        for stage in stages
    ]
    assert layout == misc["make_default_stages"][str(depth)]


def test_classification_resnet18(misc):
    stages = ResNet.make_default_stages(18, norm="BN")
    model = ResNet(BasicStem(norm="BN"), stages, num_classes=10)
    assert list(model.state_dict()) == misc["r18_cls_keys"]
    outputs = {name: list(x.shape) for name, x in model(torch.zeros(2, 3, 64, 64)).items()}
    assert outputs == misc["r18_cls_output"]
    assert model.linear.weight.std().item() == pytest.approx(0.01, rel=0.05)
    with pytest.raises(AssertionError):
        model(torch.zeros(3, 4, 4))


def test_stages_beyond_the_last_output_are_left_out(misc):
    stages = ResNet.make_default_stages(18, norm="BN")
    model = ResNet(BasicStem(norm="BN"), stages, out_features=["stem", "res3"])
    expected = misc["r18_stem_res3"]
    assert [name for name, _ in model.named_children()] == expected["children"]
    outputs = {name: list(x.shape) for name, x in model(torch.zeros(1, 3, 64, 96)).items()}
    assert outputs == expected["out"]
    shapes = {name: [s.channels, s.stride] for name, s in model.output_shape().items()}
    assert shapes == expected["shape"]


def test_misuse(misc):
    assert misc["errors"]["unknown out feature"] == "AssertionError"
    with pytest.raises(AssertionError):
        small_resnet(["res9"])
    assert misc["errors"]["3d input"] == "AssertionError"
    with pytest.raises(AssertionError):
        small_resnet(["res2"])(torch.zeros(3, 32, 32))
    assert misc["errors"]["per_block length"] == "AssertionError"
    with pytest.raises(AssertionError):
        ResNet.make_stage(BasicBlock, 2, in_channels=3, out_channels=3, stride_per_block=[1])
    assert misc["errors"]["FPN non contiguous"] == "AssertionError"
    with pytest.raises(AssertionError):
        FPN(small_resnet(["res2", "res4"]), ["res2", "res4"], 8)
    assert misc["errors"]["depth"] == "KeyError"
    with pytest.raises(KeyError):
        ResNet.make_default_stages(77)
    with pytest.raises(AssertionError):
        FPN(small_resnet(["res2"]), ["res2"], 8, fuse_type="product")


@pytest.mark.parametrize("freeze_at", range(6))
def test_freeze_at(golden, build_mask_rcnn, freeze_at):
    expected = golden.json("mask_rcnn_keys")["freeze_at_tiny_BN"][str(freeze_at)]
    model = build_mask_rcnn(norm="BN", freeze_at=freeze_at)
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == expected["frozen_parameters"]
    kinds = [type(m).__name__ for m in model.modules()]
    assert kinds.count("FrozenBatchNorm2d") == expected["n_FrozenBatchNorm2d"]
    assert kinds.count("BatchNorm2d") == expected["n_BatchNorm2d"]


def test_frozen_layers_do_not_move():
    model = small_resnet(["res3"], freeze_at=2).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model(torch.randn(2, 3, 32, 32))["res3"].sum().backward()
    assert model.stem.conv1.weight.grad is None
    assert model.res3[0].conv1.weight.grad is not None
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert moved
    assert all(k.startswith("res3") for k in moved)


def test_stride_position():
    kwargs = {"bottleneck_channels": 2, "stride": 2}
    for in_1x1, strides in ((True, [2, 1, 1]), (False, [1, 2, 1])):
        block = BottleneckBlock(4, 8, stride_in_1x1=in_1x1, **kwargs)
        assert [c.stride[0] for c in (block.conv1, block.conv2, block.conv3)] == strides
        assert block(torch.zeros(1, 4, 8, 8)).shape == (1, 8, 4, 4)


def test_groups_and_dilation_keep_the_size():
    block = BottleneckBlock(4, 8, bottleneck_channels=4, num_groups=2, dilation=2)
    assert block.conv2.weight.shape == (4, 2, 3, 3)
    assert block(torch.zeros(1, 4, 9, 7)).shape == (1, 8, 9, 7)


def test_shortcut_exists_where_channels_change():
    assert BasicBlock(4, 4).shortcut is None
    assert BasicBlock(4, 6).shortcut is not None


def test_residual_block_by_hand():
    # Zero weights leave relu(x) of the shortcut; a norm of "" keeps the block linear.
    block = BasicBlock(2, 2, norm="")
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(1, 2, 4, 4)
    assert torch.equal(block(x.clone()), x.relu())


def test_make_stage_splits_lists_over_blocks():
    blocks = make_stage(BasicBlock, 3, in_channels=2, out_channels=4, stride_per_block=[2, 1, 1])
    assert [(b.in_channels, b.out_channels, b.stride) for b in blocks] == [
        (2, 4, 2),
        (4, 4, 1),
        (4, 4, 1),
    ]


class Constant(Backbone):
    """Maps of ones at strides 4, 8 and 16."""

    def forward(self, x):
        height, width = x.shape[-2:]
        return {f"c{s}": torch.ones(1, 2, height // s, width // s) for s in (4, 8, 16)}

    def output_shape(self):
        return {f"c{s}": ShapeSpec(channels=2, stride=s) for s in (4, 8, 16)}


def identity_fpn(**kwargs) -> FPN:
    """Every convolution sums its 2 inputs / 2, or takes the centre pixel: maps pass unchanged."""
    fpn = FPN(Constant(), ["c4", "c8", "c16"], 2, **kwargs)
    for name, conv in fpn.named_children():
        if name.startswith("fpn"):
            nn.init.dirac_(conv.weight)
    return fpn


@pytest.mark.parametrize("fuse_type, expected", [("sum", [3, 2, 1]), ("avg", [1, 1, 1])])
def test_top_down_path_by_hand(fuse_type, expected):
    out = identity_fpn(fuse_type=fuse_type)(torch.zeros(1, 3, 32, 48))
    assert list(out) == ["p2", "p3", "p4"]
    for x, value in zip(out.values(), expected, strict=True):
        assert torch.equal(x, torch.full_like(x, float(value)))


def test_fpn_describes_itself():
    names = OmegaConf.create(["c4", "c8", "c16"])
    fpn = FPN(Constant(), names, 6, norm="BN", square_pad=64)
    assert fpn.size_divisibility == 16
    assert fpn.padding_constraints == {"square_size": 64}
    shapes = {name: (s.channels, s.stride) for name, s in fpn.output_shape().items()}
    assert shapes == {"p2": (6, 4), "p3": (6, 8), "p4": (6, 16)}
    assert fpn.fpn_lateral2.bias is None
    assert list(fpn.state_dict())[0] == "fpn_lateral2.weight"


def test_max_pool_takes_every_second_pixel():
    x = torch.arange(25.0).view(1, 1, 5, 5)
    (p6,) = LastLevelMaxPool()(x)
    assert torch.equal(p6, x[:, :, ::2, ::2])


def test_p6_p7_from_a_bottom_up_map():
    fpn = identity_fpn(top_block=LastLevelP6P7(2, 2, in_feature="c16"))
    out = fpn(torch.zeros(1, 3, 64, 64))
    sizes = {name: tuple(x.shape[-2:]) for name, x in out.items()}
    assert list(sizes) == ["p2", "p3", "p4", "p5", "p6"]
    assert sizes["p5"] == (2, 2)
    assert sizes["p6"] == (1, 1)
    assert fpn.output_shape()["p6"].stride == 64


@pytest.mark.bundled
def test_inputs_of_any_size_pass():
    sizes = [tuple(x.shape[-2:]) for x in _two_level_fpn()(torch.zeros(1, 3, 36, 36)).values()]
    assert sizes == [(9, 9), (5, 5)]


def _two_level_fpn() -> FPN:
    return FPN(small_resnet(["res2", "res3"]), ["res2", "res3"], 4)


def test_base_class_defaults():
    assert Constant().size_divisibility == 0
    assert Constant().padding_constraints == {}


def test_upsampling_repeats_pixels():
    class Ramp(Constant):
        def forward(self, x):
            maps = super().forward(x)
            columns = torch.arange(float(maps["c16"].shape[-1]))
            return {**maps, "c16": maps["c16"] * columns}

    fpn = FPN(Ramp(), ["c4", "c8", "c16"], 2)
    for name, conv in fpn.named_children():
        if name.startswith("fpn"):
            nn.init.dirac_(conv.weight)
    out = fpn(torch.zeros(1, 3, 32, 48))
    assert out["p3"][0, 0, 0].tolist() == [1, 1, 2, 2, 3, 3]
    assert out["p2"][0, 0, 0].tolist() == [2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4]
