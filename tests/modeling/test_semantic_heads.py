"""A semantic network's last layers under other classes: rows, and U²-Net's columns, by name."""

from __future__ import annotations

from project.modeling.head_transfer import (
    BY_NAME,
    FRESH,
    num_source_classes,
    pair_heads,
    transfer_heads,
)
from project.modeling.u2net import U2Net

import pytest
import torch
from torch import nn


def state_of(network: nn.Module) -> dict[str, torch.Tensor]:
    holder = nn.Module()
    holder.network = network
    return holder.state_dict()


def transfer(state: dict, model_state: dict, rows: list) -> dict[str, str]:
    pairs = pair_heads(state, model_state)
    return transfer_heads(state, model_state, pairs, rows, num_source_classes(state, pairs))


def head(outputs: int, seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    network = nn.Module()
    network.segmentation_head = nn.Sequential(nn.Conv2d(4, outputs, 3))
    return state_of(network)


def test_rows_of_a_segmentation_head():
    state, model_state = head(4, 0), head(3, 1)  # 3 classes and 2, with their backgrounds
    old = dict(state)
    done = transfer(state, model_state, [2, None])
    assert done == {"network.segmentation_head.0": BY_NAME}
    for key, value in model_state.items():
        assert torch.equal(state[key], torch.stack([old[key][2], value[1], old[key][3]]))


def test_a_single_output_has_no_background():
    state, model_state = head(1, 0), head(1, 1)
    old = dict(state)
    assert num_source_classes(state, pair_heads(state, model_state)) == 1
    assert set(transfer(state, model_state, [0]).values()) == {BY_NAME}
    assert all(torch.equal(state[key], old[key]) for key in old)
    assert set(transfer(state, model_state, [None]).values()) == {BY_NAME}
    assert all(torch.equal(state[key], model_state[key]) for key in old)


@pytest.mark.parametrize("sizes", [(1, 2), (2, 1)])
def test_a_sigmoid_and_a_softmax_do_not_fit(sizes):
    state, model_state = (head(n, n) for n in sizes)
    assert set(transfer(state, model_state, [0]).values()) == {FRESH}
    assert state == {}


def test_u2net_under_permuted_classes_gives_permuted_maps():
    torch.manual_seed(0)
    first, second = (U2Net(4, "small").eval() for _ in range(2))
    rows = [2, 0, 1]
    state = state_of(first)
    for key in state:
        if key.endswith("bias") and ("sides" in key or "fuse" in key):
            state[key].normal_()  # they start at 0 in both
    done = transfer(state, state_of(second), rows)
    assert set(done) == {"network.fuse", *(f"network.sides.{k}" for k in range(6))}
    assert set(done.values()) == {BY_NAME}
    second.load_state_dict({key.removeprefix("network."): v for key, v in state.items()})
    x = torch.randn(1, 3, 33, 40)
    with torch.no_grad():
        a, b = first(x), second(x)
    torch.testing.assert_close(b, a[:, [*rows, 3]])


@pytest.mark.parametrize("sizes", [(4, 3), (3, 4), (2, 1)])
def test_u2net_for_more_and_fewer_classes(sizes):
    source, target = (U2Net(n, "small") for n in sizes)
    state, model_state = state_of(source), state_of(target)
    old = dict(state)
    rows = [1, 0, None][: max(sizes[1] - 1, 1)] if sizes != (2, 1) else [0]
    done = transfer(state, model_state, rows)
    if sizes == (2, 1):
        assert set(done.values()) == {FRESH}
        return
    assert set(done.values()) == {BY_NAME}
    key = "network.fuse.weight"
    c_old, c_new = sizes
    for side in range(6):
        got = state[key].view(c_new, 6, c_new)[:, side]
        was = old[key].view(c_old, 6, c_old)[:, side]
        assert got[0, 1] == was[1, 0]
        assert got[1, -1] == was[0, -1]
        if c_new == 4:  # the class that is new keeps the model's own weights
            assert torch.equal(got[2], model_state[key].view(4, 6, 4)[2, side])
