"""The small ResNet's shapes, size, norms and frozen stages, and compiled backbones."""

import copy
from collections import Counter
from pathlib import Path

from project.engine.config import load_config
from project.errors import UserError
from project.modeling.backbones import build_small_resnet, compile_backbone

import pytest
import torch
from detectron2.config import instantiate
from detectron2.layers import FrozenBatchNorm2d, get_norm
from torch import nn

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_strides_and_widths():
    net = build_small_resnet([8, 12, 16, 20], blocks=2)
    features = net(torch.zeros(1, 3, 64, 96))
    shapes = {name: tuple(f.shape[1:]) for name, f in features.items()}
    assert shapes == {
        "res2": (8, 16, 24),
        "res3": (12, 8, 12),
        "res4": (16, 4, 6),
        "res5": (20, 2, 3),
    }
    assert {n: s.stride for n, s in net.output_shape().items()} == {
        "res2": 4,
        "res3": 8,
        "res4": 16,
        "res5": 32,
    }


def test_parameters_counted_by_hand():
    # Stem 7x7x3x4 + norm 8. res2: two 3x3x4x4 + two norms of 8. res3: 3x3x4x6 + 3x3x6x6 + 1x1x4x6,
    # three norms of 12.
    net = build_small_resnet([4, 6], out_features=["res3"])
    expected = (588 + 8) + (144 + 144 + 16) + (216 + 324 + 24 + 36)
    assert sum(p.numel() for p in net.parameters()) == expected


@pytest.mark.parametrize("norm", ["BN", "GN", "FrozenBN", "SyncBN", "naiveSyncBN", "LN"])
def test_the_norm_is_chosen_by_name(norm):
    net = build_small_resnet([24, 48], norm=norm, out_features=["res3"])  # 32 divides neither
    kinds = {type(m).__name__ for m in net.modules() if "Norm" in type(m).__name__}
    names = {"BN": "BatchNorm2d", "GN": "GroupNorm", "FrozenBN": "FrozenBatchNorm2d"}
    names |= {"SyncBN": "SyncBatchNorm", "naiveSyncBN": "NaiveSyncBatchNorm", "LN": "LayerNorm"}
    assert kinds == {names[norm]}
    assert net(torch.randn(2, 3, 32, 32))["res3"].isfinite().all()


def test_a_norm_that_is_none():
    with pytest.raises(UserError, match="unknown norm 'FrozenBn'; did you mean 'FrozenBN'"):
        build_small_resnet([4], norm="FrozenBn", out_features=["res2"])


def test_widths_must_change():
    with pytest.raises(UserError, match=r"another width than the one before, got \[8, 16, 16\]"):
        build_small_resnet([8, 16, 16])


@pytest.mark.parametrize("freeze_at, trained", [(0, "stem"), (1, "res2"), (2, "res3"), (3, "res4")])
def test_frozen_stages(freeze_at, trained):
    net = build_small_resnet([4, 6, 8], out_features=["res4"], freeze_at=freeze_at)
    order = ["stem", "res2", "res3", "res4"]
    alive = {name.split(".")[0] for name, p in net.named_parameters() if p.requires_grad}
    assert alive == set(order[order.index(trained) :])
    for name in order[:freeze_at]:
        assert not [m for m in getattr(net, name).modules() if isinstance(m, nn.BatchNorm2d)]
        assert [m for m in getattr(net, name).modules() if isinstance(m, FrozenBatchNorm2d)]


def test_frozen_stages_and_norm_from_a_config():
    options = ["model.backbone.bottom_up.freeze_at=2", "model.backbone.bottom_up.norm=GN"]
    net = instantiate(load_config(CONFIGS / "quickstart.py", options).model.backbone.bottom_up)
    alive = {name.split(".")[0] for name, p in net.named_parameters() if p.requires_grad}
    assert alive == {"res3", "res4", "res5"}
    assert sum(isinstance(m, nn.GroupNorm) for m in net.modules()) == 1 + 2 + 3 * 3


# 53 convolutions have a norm, 11 of them in the frozen stages (stem, 3 x 3, shortcut).
@pytest.mark.parametrize(
    "norm, trained, frozen",
    [("BN", 42, 11), ("SyncBN", 42, 11), ("GN", 53, 0), ("FrozenBN", 0, 53)],
)
def test_one_key_sets_the_norm_of_a_resnet_50(norm, trained, frozen):
    options = [f"model.backbone.bottom_up.stem.norm={norm}", "train.init_checkpoint=''"]
    cfg = load_config(CONFIGS / "mask_rcnn_R_50_FPN.py", options)
    with torch.device("meta"):
        net = instantiate(cfg.model.backbone.bottom_up)
    kinds = Counter(type(m) for m in net.modules())
    assert kinds[FrozenBatchNorm2d] == frozen
    assert norm == "FrozenBN" or kinds[type(get_norm(norm, 32))] == trained


def test_a_compiled_backbone_is_the_same():
    model = nn.Module()
    model.backbone = build_small_resnet([4, 6], out_features=["res3"])
    model.eval()
    x = torch.randn(1, 3, 32, 32)
    keys, expected = list(model.state_dict()), model.backbone(x)["res3"]
    compile_backbone(model, backend="eager")
    assert list(model.state_dict()) == keys
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    torch.testing.assert_close(model.backbone(x)["res3"], expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiled + 1
    copied = copy.deepcopy(model)  # as for a moving average of the weights
    torch.testing.assert_close(copied.backbone(x)["res3"], expected)


def test_nothing_to_compile():
    with pytest.raises(UserError, match="train.compile=True needs a model with a backbone"):
        compile_backbone(nn.Linear(1, 1))
