"""Checkpointed stages against the same stages without: all numbers are equal, memory is less."""

import copy

from project.errors import UserError
from project.modeling.backbones import build_small_resnet
from project.modeling.checkpointing import checkpoint_activations

import pytest
import torch
from torch import nn


def pair(norm: str = "BN", **options) -> tuple[nn.Module, nn.Module]:
    plain = build_small_resnet([4, 6, 8], blocks=2, norm=norm, out_features=["res4"], **options)
    other = copy.deepcopy(plain)
    assert checkpoint_activations(other) == 6
    return plain, other


def step(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    net.train()
    loss = net(x)["res4"].square().mean()
    loss.backward()
    return loss


def grads(net: nn.Module) -> list[torch.Tensor]:
    return [p.grad for p in net.parameters() if p.requires_grad]


@pytest.mark.parametrize("norm", ["BN", "GN", "FrozenBN", "naiveSyncBN"])
def test_losses_gradients_and_statistics_are_equal(norm):
    plain, other = pair(norm)
    for _ in range(2):
        x = torch.randn(2, 3, 32, 32)
        assert torch.equal(step(plain, x), step(other, x))
    assert all(map(torch.equal, grads(plain), grads(other)))
    # The running statistics among them: the batch counts once, not twice.
    assert list(plain.state_dict()) == list(other.state_dict())
    assert all(map(torch.equal, plain.state_dict().values(), other.state_dict().values()))
    assert [m.momentum for m in other.modules() if isinstance(m, nn.BatchNorm2d)].count(0.0) == 0


def test_a_cumulative_average():
    plain, other = pair()
    for net in (plain, other):
        for m in net.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.momentum = None
    for _ in range(3):
        x = torch.randn(2, 3, 32, 32)
        step(plain, x), step(other, x)
    assert all(map(torch.equal, plain.state_dict().values(), other.state_dict().values()))


def test_a_graph_gone_through_twice():
    _, net = pair()
    loss = net(torch.randn(2, 3, 32, 32))["res4"].square().mean()
    loss.backward(retain_graph=True)
    once = [g.clone() for g in grads(net)]
    state = copy.deepcopy(net.state_dict())
    loss.backward()
    torch.testing.assert_close(grads(net), [2 * g for g in once])
    assert all(map(torch.equal, state.values(), net.state_dict().values()))


def test_frozen_stages_and_evaluation():
    plain, other = pair(freeze_at=2)
    x = torch.randn(2, 3, 32, 32)
    step(plain, x), step(other, x)
    assert all(map(torch.equal, grads(plain), grads(other)))
    plain.eval(), other.eval()
    with torch.no_grad():
        assert torch.equal(plain(x)["res4"], other(x)["res4"])


def test_less_is_kept_for_the_backward_pass():
    def kept(net: nn.Module) -> int:
        sizes = {}

        def pack(t: torch.Tensor) -> torch.Tensor:
            sizes[t.data_ptr()] = t.numel()
            return t

        x = torch.randn(2, 3, 64, 64)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            out = net(x)["res4"]
        del out
        return sum(sizes.values())

    plain, other = pair()
    nn.Module.requires_grad_(plain.stem, False), nn.Module.requires_grad_(other.stem, False)
    assert kept(other) < kept(plain) / 3


def test_copies_stay_checkpointed():
    _, net = pair()
    again = copy.deepcopy(net)
    assert type(again.res2) is type(net.res2) is not nn.Sequential
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(step(net, x), step(again, x))


def test_compiled_as_well():
    plain = build_small_resnet([4], out_features=["res2"])
    other = copy.deepcopy(plain)
    checkpoint_activations(other)
    other.compile(backend="aot_eager")
    x = torch.randn(2, 3, 32, 32)
    for net in (plain, other):
        net(x)["res2"].square().mean().backward()
    torch.testing.assert_close(grads(other), grads(plain))
    # One repetition that counted would show in the statistics.
    for a, b in zip(plain.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_model_without_stages():
    with pytest.raises(UserError, match="no stage of residual blocks"):
        checkpoint_activations(nn.Sequential(nn.Linear(2, 2)))
