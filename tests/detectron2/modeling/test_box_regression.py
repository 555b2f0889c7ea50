"""Box deltas against the golden figures, and the losses on them by hand."""

from __future__ import annotations

import math

import project  # noqa: F401  makes `detectron2` importable

import numpy as np
import pytest
import torch
from detectron2.modeling.box_regression import Box2BoxTransform
from omegaconf import OmegaConf

WEIGHTS = {"1111": (1.0, 1.0, 1.0, 1.0), "10_10_5_5": (10.0, 10.0, 5.0, 5.0)}


@pytest.fixture(scope="module")
def arrays(golden):
    return golden.npz("box2box")


def tensors(arrays, *names):
    return [torch.from_numpy(arrays[name]) for name in names]


@pytest.mark.parametrize("tag", list(WEIGHTS))
def test_golden(arrays, tag):
    src, dst, deltas = tensors(arrays, "in_src", "in_dst", "in_deltas")
    transform = Box2BoxTransform(weights=WEIGHTS[tag])
    found = transform.get_deltas(src, dst)
    close = {"rtol": 1e-5, "atol": 1e-4}
    np.testing.assert_allclose(found, arrays[f"deltas_{tag}"], **close)
    np.testing.assert_allclose(
        transform.apply_deltas(deltas, src), arrays[f"decoded_{tag}"], **close
    )
    back = transform.apply_deltas(found, src)
    np.testing.assert_allclose(back, arrays[f"roundtrip_{tag}"], **close)
    np.testing.assert_allclose(back, dst, rtol=1e-4, atol=1e-3)


def test_scale_clamp(arrays):
    src, deltas = tensors(arrays, "in_src", "in_deltas")
    decoded = Box2BoxTransform(weights=WEIGHTS["1111"], scale_clamp=1.0).apply_deltas(deltas, src)
    np.testing.assert_allclose(decoded, arrays["decoded_clamp1"], rtol=1e-5, atol=1e-4)
    default = Box2BoxTransform(weights=WEIGHTS["1111"]).scale_clamp
    assert default == pytest.approx(arrays["default_scale_clamp"][0], rel=1e-9)


def test_zero_width_source(golden):
    assert golden.json("box2box_errors")["zero width source"] == "AssertionError"
    flat, target = torch.tensor([[1.0, 1, 1, 2]]), torch.tensor([[1.0, 1, 2, 2]])
    with pytest.raises(AssertionError):
        Box2BoxTransform(weights=(1.0,) * 4).get_deltas(flat, target)


def test_by_hand():
    # From 10 x 20 at (0, 0) to 20 x 20 at (5, 10): centre (5, 10) -> (15, 20), width doubled.
    src, dst = torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[5.0, 10, 25, 30]])
    transform = Box2BoxTransform(weights=OmegaConf.create([10.0, 10.0, 5.0, 5.0]))
    expected = [[10 * 1.0, 10 * 0.5, 5 * math.log(2), 0.0]]
    assert transform.get_deltas(src, dst).tolist() == [pytest.approx(expected[0], abs=1e-6)]


def test_half_precision_deltas_decode_in_float32():
    boxes = torch.tensor([[0.0, 0, 1000, 1000]])
    deltas = torch.zeros(1, 8, dtype=torch.bfloat16)
    decoded = Box2BoxTransform(weights=(1.0,) * 4).apply_deltas(deltas, boxes)
    assert decoded.dtype == torch.float32
    assert decoded.tolist() == [[0, 0, 1000, 1000] * 2]


def test_no_boxes():
    transform, nothing = Box2BoxTransform(weights=(1.0,) * 4), torch.zeros(0, 4)
    assert transform.get_deltas(nothing, nothing).shape == (0, 4)
    assert transform.apply_deltas(torch.zeros(0, 12), nothing).shape == (0, 12)
