"""Names of norms, where they can work, and weights that suit other ones."""

from project.errors import UserError
from project.modeling.backbones import build_small_resnet
from project.modeling.norms import (
    NORMS,
    check_norm_names,
    check_sync_norms,
    group_norm,
    norm_mismatch,
)

import pytest
import torch
from detectron2.layers import get_norm
from torch import nn


def net(norm: str) -> nn.Module:
    return build_small_resnet([4, 6], norm=norm, out_features=["res3"])


@pytest.mark.parametrize("channels, groups", [(64, 32), (48, 16), (24, 8), (6, 2), (5, 1)])
def test_groups_divide_the_channels(channels, groups):
    assert group_norm(channels).num_groups == groups


def test_group_norm_is_detectrons_where_32_divides():
    x = torch.randn(2, 64, 3, 3)
    torch.testing.assert_close(group_norm(64)(x), get_norm("GN", 64)(x))


def test_every_name_is_detectrons():
    assert all(isinstance(get_norm(name, 32), nn.Module) for name in NORMS)


def test_names_are_checked_wherever_they_stand():
    model = {
        "stem": {"norm": "BN"},
        "stages": {"norm": "${..stem.norm}", "conv_norm": ""},
        "heads": [{"norm": None}, {"conv_norm": "GNN"}],
    }
    with pytest.raises(UserError, match=r"model.heads.1.conv_norm: unknown norm 'GNN'.*'GN'"):
        check_norm_names(model)
    model["heads"][1]["conv_norm"] = "GN"
    check_norm_names(model)


def test_sync_norm_needs_gpus_for_several_processes():
    model = net("SyncBN")
    with pytest.raises(UserError, match=r"stem.conv1.norm is SyncBN.* 2 CPU processes .*naiveSync"):
        check_sync_norms(model, "cpu", 2)
    check_sync_norms(model, "cpu", 1)
    check_sync_norms(model, "cuda", 2)
    check_sync_norms(net("naiveSyncBN"), "cpu", 2)


MSRA = ["conv1_w", "res_conv1_bn_s", "res2_0_branch2a_bn_s", "res2_0_branch2a_bn_b"]
DETECTRON2 = ["backbone.bottom_up.res2.0.conv1.norm.weight", "a.res2.0.conv1.norm.running_mean"]
GROUPS = ["res2_0_branch2a_gn_s", "res2_0_branch2a_gn_bias"]


@pytest.mark.parametrize(
    "norm, keys, why",
    [
        ("GN", MSRA, "group norm"),
        ("GN", DETECTRON2, "group norm"),
        ("GN", GROUPS, ""),
        ("BN", MSRA, "folded into these weights"),
        ("SyncBN", MSRA, "folded into these weights"),
        ("BN", [*MSRA, "res2_0_branch2a_bn_rm"], ""),
        ("BN", DETECTRON2, ""),
        ("FrozenBN", MSRA, ""),
        ("FrozenBN", DETECTRON2, ""),
        ("GN", [], ""),
    ],
)
def test_weights_of_another_norm(norm, keys, why):
    found = norm_mismatch(net(norm), keys)
    assert (why in found) if why else found == ""
