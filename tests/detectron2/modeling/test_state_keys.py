"""Names, shapes, order and starting weights of the standard Mask R-CNN: model-zoo files fit."""

from __future__ import annotations

import project  # noqa: F401  makes `detectron2` importable

import pytest
import torch


@pytest.fixture(scope="module")
def facts(golden):
    return golden.json("mask_rcnn_keys")


@pytest.fixture(scope="module")
def standard(build_mask_rcnn):
    torch.manual_seed(0)
    return build_mask_rcnn(50, 80)


@pytest.mark.parametrize("name", ["R50_FPN_4", "R50_FPN_80", "R101_FPN_4", "R101_FPN_80"])
def test_keys(facts, build_mask_rcnn, name):
    depth, _, num_classes = name[1:].split("_")
    with torch.device("meta"):
        model = build_mask_rcnn(int(depth), int(num_classes))
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert list(shapes.items()) == list(facts["keys"][name].items())


def test_parameters_and_buffers(facts, standard):
    info, state = facts["R50_FPN_80_info"], standard.state_dict()
    named = list(standard.named_parameters())
    assert [name for name, p in named if p.requires_grad] == info["trainable"]
    assert [name for name, _ in named] == info["parameters"]
    assert sum(p.numel() for _, p in named) == info["num_parameters"]
    buffers = dict(standard.named_buffers())
    assert [name for name in buffers if name in state] == info["persistent_buffers"]
    others = {name: list(b.shape) for name, b in buffers.items() if name not in state}
    assert others == info["non_persistent_buffers"]


def test_backbone_description(facts, standard):
    info, backbone = facts["R50_FPN_80_info"], standard.backbone
    shapes = {name: [s.channels, s.stride] for name, s in backbone.output_shape().items()}
    assert shapes == info["backbone_output_shape"]
    assert backbone.size_divisibility == info["size_divisibility"]
    assert backbone.padding_constraints == info["padding_constraints"]


def test_initial_weights(facts, standard):
    """Standard deviations within 5 % for large parameters, ends of uniform ones within 2 %."""
    assert facts["init_stats_R50_FPN_80"]["columns"] == ["numel", "mean", "std", "absmax"]
    stats = facts["init_stats_R50_FPN_80"]["values"]
    assert list(stats) == [name for name, _ in standard.named_parameters()]
    for name, p in standard.named_parameters():
        numel, _, std, largest = stats[name]
        p = p.detach()
        if std == 0:
            assert not p.any(), name
        elif numel > 10000:
            assert p.std(correction=0).item() == pytest.approx(std, rel=0.05), name
            if largest < 2 * std:  # a uniform distribution ends at sqrt(3) standard deviations
                assert p.abs().max().item() == pytest.approx(largest, rel=0.02), name


@pytest.mark.bundled
def test_no_registry_of_architectures():
    """transformers takes ``detectron2.modeling.META_ARCH_REGISTRY`` for the real Detectron2."""
    import detectron2.modeling

    assert not hasattr(detectron2.modeling, "META_ARCH_REGISTRY")
