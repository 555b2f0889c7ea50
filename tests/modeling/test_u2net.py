"""U²-Net: the paper's sizes, shapes for any image, and its blocks."""

from project.errors import UserError
from project.modeling.u2net import U2Net

import pytest
import torch
from torch import nn


# The published models with one output, counted from table 1: each 3x3 convolution of the blocks has
# 9 * in * out weights and out biases, its batch norm 2 * out.
@pytest.mark.parametrize("size, count", [("full", 44_009_869), ("small", 1_131_181)])
def test_parameters_of_the_paper(size, count):
    with torch.device("meta"):
        model = U2Net(1, size)
    assert sum(p.numel() for p in model.parameters()) == count


def stage_size(height, dilated, into, mid, out):
    """Parameters of a block, counted from its drawing in the paper."""
    inputs = [into, out] + [mid] * (height - 1) + [2 * mid] * (height - 1)
    outputs = [out] + [mid] * height + [mid] * (height - 2) + [out]
    assert len(inputs) == len(outputs) == 2 * height
    return sum(9 * a * b + 3 * b for a, b in zip(inputs, outputs, strict=True))


def test_parameters_follow_from_the_table():
    rows = [(7, 3), (6, 64), (5, 64), (4, 64), (4, 64), (4, 64)]
    total = sum(stage_size(height, None, into, 16, 64) for height, into in rows)
    total += sum(stage_size(height, None, 128, 16, 64) for height in (4, 4, 5, 6, 7))
    total += 6 * (9 * 64 * 2 + 2) + (12 * 2 + 2)  # sides and fusion, for two outputs
    assert sum(p.numel() for p in U2Net(2, "small").parameters()) == total


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return U2Net(3, "small")


@pytest.mark.parametrize("hw", [(1, 1), (1, 70), (32, 32), (33, 47), (64, 96)])
def test_any_image_size(small, hw):
    small.eval()
    with torch.no_grad():
        assert small(torch.rand(1, 3, *hw)).shape == (1, 3, *hw)


def test_training_gives_seven_maps_and_all_of_them_learn(small):
    small.train()
    outputs = small(torch.rand(2, 3, 40, 33))
    assert [tuple(x.shape) for x in outputs] == [(2, 3, 40, 33)] * 7
    small.zero_grad()
    sum(x.square().mean() for x in outputs).backward()
    assert all(p.grad is not None for p in small.parameters())


def test_the_fused_map_comes_first_and_is_made_of_the_sides(small):
    small.train()
    fused, *sides = small(torch.rand(2, 3, 40, 40))
    expected = nn.functional.conv2d(torch.cat(sides, 1), small.fuse.weight, small.fuse.bias)
    torch.testing.assert_close(fused, expected)


def test_sides_go_from_fine_to_coarse(small):
    """A side of stride 32 is a stretched map: hardly any difference from pixel to pixel."""
    small.train()
    with torch.no_grad():
        _, *sides = small(torch.rand(2, 3, 128, 128))
    rough = [float(x.diff(dim=-1).std() / x.std()) for x in sides]
    assert rough[0] > 2 * rough[2] > 4 * rough[5]


def test_dilated_blocks_keep_the_size_and_see_wider(small):
    """A single pixel reaches a dilated block's output as far as its dilations add up to."""
    block = small.encoders[5].eval()
    x = torch.rand(1, 64, 61, 61, requires_grad=True)
    block(x)[0, :, 30, 30].sum().backward()
    reached = x.grad.abs().sum((0, 1)).nonzero()
    # The entry sees 1 pixel to each side, the way down 1 + 2 + 4 + 8, the way up 4 + 2 + 1.
    assert (reached.amin(0).tolist(), reached.amax(0).tolist()) == ([7, 7], [53, 53])


def test_no_output_and_another_size():
    with pytest.raises(UserError, match="unknown size 'smal'; did you mean 'small'"):
        U2Net(1, "smal")
    with pytest.raises(UserError, match="num_outputs=0 must be at least 1"):
        U2Net(0)


def test_a_single_value_has_no_variance(small):
    small.train()
    with pytest.raises(UserError, match=r"a single image of 32x20.*more than 32 pixels"):
        small(torch.rand(1, 3, 32, 20))
    assert len(small(torch.rand(1, 3, 33, 20))) == 7
