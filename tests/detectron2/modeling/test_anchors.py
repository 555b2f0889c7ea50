"""Anchors against the golden figures, and by hand."""

from __future__ import annotations

import project  # noqa: F401  makes `detectron2` importable

import numpy as np
import pytest
import torch
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from omegaconf import OmegaConf

KEYS = ("sizes", "aspect_ratios", "strides", "offset")


@pytest.mark.parametrize("case", ["fpn", "c4", "bc"])
def test_golden(golden, case):
    info, arrays = golden.json("anchors"), golden.npz("anchors")
    spec = info[case]
    generator = DefaultAnchorGenerator(**{key: spec[key] for key in KEYS})
    anchors = generator([torch.zeros(2, 3, *size) for size in spec["grid"]])
    for k, boxes in enumerate(anchors):
        np.testing.assert_allclose(boxes.tensor, arrays[f"{case}_{k}"], rtol=0, atol=1e-4)
    assert len(anchors) == len(spec["grid"])
    assert generator.num_anchors == info["num_anchors"][case]
    assert generator.num_cell_anchors == info["num_anchors"][case]
    assert generator.box_dim == info["box_dim"]
    assert list(generator.state_dict()) == info["state_dict_keys"]


def test_grids_of_the_figures(golden):
    assert golden.npz("anchors")["fpn_sizes"].tolist() == golden.json("anchors")["fpn"]["grid"]


def test_default_cell_anchors(golden):
    generator = DefaultAnchorGenerator(sizes=[1], aspect_ratios=[1.0], strides=[1])
    cell = generator.generate_cell_anchors()
    np.testing.assert_allclose(cell, golden.npz("anchors")["cell_default"], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "case, arguments",
    [
        ("offset 1.0", {"offset": 1.0}),
        ("len mismatch", {"sizes": [[1], [2]], "strides": [1, 2, 3]}),
        ("not a list", {"sizes": 3}),
        ("empty", {"sizes": []}),
    ],
)
def test_misuse(golden, case, arguments):
    assert golden.json("anchors")["errors"][case] == "AssertionError"
    with pytest.raises(AssertionError):
        DefaultAnchorGenerator(
            **{"sizes": [1], "aspect_ratios": [1.0], "strides": [1], **arguments}
        )


def test_by_hand():
    # One 8-pixel square and one 4 x 16 box (h / w = 4) at (2, 2), (6, 2), then the next row.
    generator = DefaultAnchorGenerator(sizes=[8], aspect_ratios=[1.0, 4.0], strides=[4])
    (anchors,) = generator([torch.zeros(1, 1, 2, 2)])
    expected = [[-2, -2, 6, 6], [0, -6, 4, 10], [2, -2, 10, 6], [4, -6, 8, 10]]
    assert anchors.tensor[:4].tolist() == expected
    assert anchors.tensor[4].tolist() == [-2, 2, 6, 10]


def test_takes_omegaconf_lists():
    plain = {"sizes": [[8], [16]], "aspect_ratios": [[0.5, 2.0]], "strides": [4, 8]}
    features = [torch.zeros(1, 1, 3, 2), torch.zeros(1, 1, 1, 1)]
    expected = DefaultAnchorGenerator(**plain)(features)
    for boxes, wanted in zip(
        DefaultAnchorGenerator(**OmegaConf.create(plain))(features), expected, strict=True
    ):
        assert torch.equal(boxes.tensor, wanted.tensor)


def test_empty_map_has_no_anchors():
    generator = DefaultAnchorGenerator(sizes=[8], aspect_ratios=[1.0], strides=[4])
    assert len(generator([torch.zeros(1, 1, 0, 5)])[0]) == 0
