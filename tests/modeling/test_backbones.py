"""The small ResNet's shapes and size."""

from project.modeling.backbones import build_small_resnet

import pytest
import torch


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


def test_the_norm_is_chosen_by_name():
    net = build_small_resnet([32, 32], norm="GN", out_features=["res3"])
    kinds = {type(m).__name__ for m in net.modules() if "Norm" in type(m).__name__}
    assert kinds == {"GroupNorm"}
    with pytest.raises(KeyError):
        build_small_resnet([4], norm="no such norm", out_features=["res2"])
