"""timm's networks as backbones: their own arithmetic in Detectron2's stages, and all options."""

import copy
import sys
from collections import Counter
from pathlib import Path

from project.engine.config import load_config
from project.engine.optimizer import lr_factors
from project.errors import UserError
from project.modeling.checkpointing import checkpoint_activations
from project.modeling.timm_backbone import STAGES, TimmBackbone

import pytest
import timm
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import instantiate
from detectron2.modeling import FPN
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.file_io import PathManager
from torch import nn

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
LIGHT = "mobilenetv3_small_050"
# Channels of the stages, from the papers' tables (mobilenetv3_small's halved, at least 8).
NETWORKS = {
    "resnet18": [64, 128, 256, 512],
    "efficientnet_b0": [24, 40, 112, 320],
    "mobilenetv3_large_100": [24, 40, 112, 960],
    "convnextv2_atto": [40, 80, 160, 320],
    LIGHT: [8, 16, 24, 288],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_maps_are_timms_own(name):
    torch.manual_seed(0)
    ours = TimmBackbone(name).eval()
    torch.manual_seed(0)
    theirs = timm.create_model(name, features_only=True).eval()
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        maps, expected = ours(images), theirs(images)[-4:]
    assert list(maps) == list(ours.output_shape()) == list(STAGES)
    for (stage, found), wanted in zip(maps.items(), expected, strict=True):
        shape = ours.output_shape()[stage]
        assert found.shape == (2, shape.channels, 64 // shape.stride, 96 // shape.stride)
        torch.testing.assert_close(found, wanted)
    assert [s.channels for s in ours.output_shape().values()] == NETWORKS[name]
    assert [s.stride for s in ours.output_shape().values()] == [4, 8, 16, 32]
    assert len(ours.state_dict()) == len(theirs.state_dict())


def test_an_fpn_takes_them():
    fpn = FPN(TimmBackbone(LIGHT), in_features=list(STAGES), out_channels=8)
    sizes = {name: tuple(x.shape[1:]) for name, x in fpn(torch.rand(2, 3, 64, 96)).items()}
    assert sizes == {"p2": (8, 16, 24), "p3": (8, 8, 12), "p4": (8, 4, 6), "p5": (8, 2, 3)}


def test_what_nobody_asked_for_is_not_computed():
    net = TimmBackbone(LIGHT, out_features=["res2", "res4"])
    net.res5 = None
    assert list(net(torch.rand(2, 3, 32, 32))) == ["res2", "res4"]


@pytest.mark.parametrize("freeze_at, trained", [(0, "stem"), (1, "res2"), (3, "res4"), (5, None)])
def test_frozen_stages(freeze_at, trained):
    net = TimmBackbone(LIGHT, freeze_at=freeze_at)
    order = ["stem", *STAGES]
    alive = {name.split(".")[0] for name, p in net.named_parameters() if p.requires_grad}
    assert alive == set(order[order.index(trained) :] if trained else [])
    before = copy.deepcopy(net.state_dict())
    net.train()(torch.rand(2, 3, 64, 64))
    changed = {
        k.split(".")[0] for k, v in net.state_dict().items() if not torch.equal(v, before[k])
    }
    assert changed == alive  # running statistics


def test_a_network_without_batch_norm_is_frozen_too():
    net = TimmBackbone("convnextv2_atto", freeze_at=2)
    alive = {name.split(".")[0] for name, p in net.named_parameters() if p.requires_grad}
    assert alive == {"res3", "res4", "res5"}


def test_norms():
    names = ("BatchNorm", "FrozenBatchNorm", "SyncBatchNorm")

    def kinds(norm):
        found = Counter()
        for module in TimmBackbone(LIGHT, norm=norm).modules():
            found.update(n for n in names if type(module).__name__.startswith(n))
        return dict(found)

    assert kinds("") == kinds("BN") == {"BatchNorm": 34}
    assert kinds("FrozenBN") == {"FrozenBatchNorm": 34}
    assert kinds("SyncBN") == {"SyncBatchNorm": 34}


def test_frozen_norms_are_the_evaluated_ones():
    trained, frozen = TimmBackbone(LIGHT), TimmBackbone(LIGHT, norm="FrozenBN", freeze_at=2)
    images = torch.rand(4, 3, 64, 64)
    trained.train()(images)  # other statistics than 0 and 1
    frozen.load_state_dict(trained.state_dict(), strict=False)
    with torch.no_grad():
        expected, found = trained.eval()(images)["res5"], frozen.train()(images)["res5"]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "options, why",
    [
        ({"name": "resnet18x"}, "timm has no network 'resnet18x'; it has resnet18"),
        ({"name": "hrnet_w18_small"}, "hrnet_w18_small isn't made of stages of strides 4, 8"),
        ({"name": "vit_tiny_patch16_224"}, "vit_tiny_patch16_224 isn't made of stages"),
        ({"name": LIGHT, "norm": "GN"}, "unknown norm of timm backbones 'GN'.*known: , BN, Sync"),
        ({"name": "convnextv2_atto", "norm": "FrozenBN"}, "no batch norm that could become Fro"),
        ({"name": LIGHT, "freeze_at": 6}, "freeze_at=6 must be from 0"),
        ({"name": LIGHT, "out_features": ["res6"]}, "unknown stage 'res6'; did you mean"),
    ],
)
def test_what_is_refused(options, why):
    with torch.device("meta"), pytest.raises(UserError, match=why):
        TimmBackbone(**options)


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[semantic\]'"):
        TimmBackbone(LIGHT)


def test_layers_learn_by_their_depth():
    fpn = FPN(TimmBackbone(LIGHT), in_features=list(STAGES), out_channels=8)
    factor = lr_factors(layer_decay=0.5, backbone=0.1)
    rates = {factor(f"backbone.{name}") for name, _ in fpn.bottom_up.named_parameters("bottom_up")}
    assert sorted(rates) == pytest.approx([0.1 / 2**k for k in (5, 4, 3, 2, 1)])


@pytest.mark.parametrize("name", [LIGHT, "convnextv2_atto"])
def test_activations_computed_again(name):
    net = TimmBackbone(name)
    again = copy.deepcopy(net)
    assert checkpoint_activations(again) >= 4
    images = torch.rand(2, 3, 64, 64)
    for model in (net, again):
        model(images)["res5"].square().sum().backward()
    for (key, one), other in zip(net.named_parameters(), again.parameters(), strict=True):
        assert one.grad.abs().sum() > 0, key
        torch.testing.assert_close(other.grad, one.grad)
    for one, other in zip(net.buffers(), again.buffers(), strict=True):
        torch.testing.assert_close(other, one)  # statistics were counted once


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    return tmp_path


def detector(**options) -> nn.Module:
    model = nn.Module()
    bottom_up = TimmBackbone(LIGHT, **options)
    model.backbone = FPN(bottom_up, in_features=list(STAGES), out_channels=8)
    return model.eval()


@pytest.mark.parametrize("options", [{}, {"norm": "FrozenBN", "freeze_at": 2}])
def test_weights_by_their_address(cache, monkeypatch, options):
    published = timm.create_model(LIGHT, features_only=True).eval()
    create = timm.create_model
    asked = []

    def from_hub(name, pretrained=False, **kwargs):
        asked.append((name, pretrained))
        return copy.deepcopy(published) if pretrained else create(name, **kwargs)

    monkeypatch.setattr(timm, "create_model", from_hub)
    images = torch.rand(1, 3, 64, 64)
    for _ in range(2):
        model = detector(**options)
        DetectionCheckpointer(model).load(f"timm://{LIGHT}")
        with torch.no_grad():
            expected, found = published(images)[-1], model.backbone.bottom_up(images)["res5"]
        torch.testing.assert_close(found, expected)
    assert asked.count((LIGHT, True)) == 1  # then it lies in the cache
    assert [p.name for p in cache.rglob("*.pth*")] == [f"{LIGHT}.pth"]


def test_weights_that_nobody_has(cache, monkeypatch):
    detector()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache / "hub"))
    with pytest.raises(UserError, match="weights resnet18.a1_in1k can't be had.*copy ~/.cache/hug"):
        PathManager.get_local_path("timm://resnet18.a1_in1k")
    with pytest.raises(UserError, match="timm has no network 'resnet18.a1_in2k'"):
        PathManager.get_local_path("timm://resnet18.a1_in2k")
    assert not list(cache.rglob("*.pth*"))


def square_on(image: torch.Tensor) -> Instances:
    """One object of class 1, a bright square."""
    image[:, 16:48, 16:48] = 255
    target = Instances(tuple(image.shape[-2:]))
    target.gt_boxes = Boxes([[16.0, 16.0, 48.0, 48.0]])
    target.gt_classes = torch.tensor([1])
    target.gt_masks = BitMasks((image[0] == 255)[None])
    return target


@pytest.mark.parametrize(
    "network, millions",
    [
        ("mobilenetv3", 8.0),
        pytest.param("efficientnet_b0", 8.5, marks=pytest.mark.slow),
        pytest.param("resnet18", 30.9, marks=pytest.mark.slow),
        pytest.param("convnext_tiny", 47.7, marks=pytest.mark.slow),
    ],
)
def test_a_training_step_of_each_config(network, millions):
    options = ["model.roi_heads.num_classes=4", "train.init_checkpoint=''"]
    options += ["model.backbone.bottom_up.norm=''", "model.backbone.bottom_up.freeze_at=0"]
    cfg = load_config(CONFIGS / f"mask_rcnn_{network}_FPN.py", options)
    assert cfg.dataloader.train.mapper.image_format == cfg.model.input_format == "RGB"
    torch.manual_seed(0)
    model = instantiate(cfg.model).train()
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    image = torch.randint(0, 100, (3, 64, 80), dtype=torch.uint8)
    target = square_on(image)
    losses = model([{"image": image, "instances": target}])
    assert set(losses) >= {"loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"}
    sum(losses.values()).backward()
    gradients = {n: p.grad for n, p in model.backbone.named_parameters()}
    assert not [n for n, g in gradients.items() if g is None or not g.isfinite().all()]
    last = list(model.backbone.bottom_up.res5.parameters())[-1]
    before = last.detach().clone()
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    assert not torch.equal(last, before)
    with torch.no_grad():
        assert len(model.eval()([{"image": image, "height": 64, "width": 80}])) == 1


@pytest.mark.parametrize(
    "network, frozen", [("mobilenetv3", 2), ("resnet18", 2), ("convnext_tiny", 0)]
)
def test_what_a_config_freezes(network, frozen):
    cfg = load_config(CONFIGS / f"mask_rcnn_{network}_FPN.py", ["train.init_checkpoint=''"])
    with torch.device("meta"):
        net = instantiate(cfg.model.backbone.bottom_up)
    still = {n.split(".")[0] for n, p in net.named_parameters() if not p.requires_grad}
    assert still == set(["stem", *STAGES][:frozen])
    assert not [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
