"""Matching and label sampling against the golden figures, and their rules."""

from __future__ import annotations

import project  # noqa: F401  makes `detectron2` importable

import numpy as np
import pytest
import torch
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.sampling import subsample_labels
from omegaconf import OmegaConf

INPUTS = ("q", "z", "nogt", "nopred")


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("case", ["rpn", "rpn_no_lq", "roi", "three"])
def test_golden(golden, case, name):
    spec, arrays = golden.json("matcher")["cases"][case], golden.npz("matcher")
    empty = {"nogt": np.zeros((0, 6), np.float32), "nopred": np.zeros((3, 0), np.float32)}
    quality = torch.from_numpy(empty[name] if name in empty else arrays[f"in_{name}"])
    index, label = Matcher(**spec)(quality)
    assert (index.dtype, label.dtype) == (torch.int64, torch.int8)
    np.testing.assert_array_equal(index, arrays[f"{case}_{name}_idx"])
    np.testing.assert_array_equal(label, arrays[f"{case}_{name}_lab"])


@pytest.mark.parametrize(
    "case, thresholds, labels",
    [
        ("threshold 0", [0.0], [0, 1]),
        ("unsorted", [0.7, 0.3], [0, -1, 1]),
        ("label 2", [0.5], [0, 2]),
        ("len", [0.5], [0, -1, 1]),
    ],
)
def test_misuse(golden, case, thresholds, labels):
    assert golden.json("matcher")["errors"][case] == "AssertionError"
    with pytest.raises(AssertionError):
        Matcher(thresholds, labels)


def test_negative_quality(golden):
    assert golden.json("matcher")["errors"]["negative quality"] == "AssertionError"
    with pytest.raises(AssertionError):
        Matcher([0.5], [0, 1])(torch.tensor([[0.9, -0.1]]))


def test_takes_omegaconf_lists():
    matcher = Matcher(OmegaConf.create([0.5]), OmegaConf.create([0, 1]))
    assert matcher(torch.tensor([[0.4, 0.5]]))[1].tolist() == [0, 1]


def test_low_quality_matches_keep_the_best_gt():
    # gt 1 reaches at most 0.2, at predictions 0 and 2; prediction 0 still belongs to gt 0.
    quality = torch.tensor([[0.6, 0.8, 0.1], [0.2, 0.1, 0.2]])
    index, label = Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True)(quality)
    assert index.tolist() == [0, 0, 1]
    assert label.tolist() == [1, 1, 1]


LABELS = torch.tensor([0, 2, -1, 0, 1, 0, -1, 3, 0, 0])  # background 0: 3 positives, 5 negatives


@pytest.mark.parametrize(
    "num, fraction, expected",
    [(4, 0.5, (2, 2)), (8, 0.5, (3, 5)), (6, 0.25, (1, 5)), (2, 1, (2, 0))],
)
def test_subsample_counts(num, fraction, expected):
    positive, negative = subsample_labels(LABELS, num, fraction, 0)
    assert (len(positive), len(negative)) == expected
    assert len({*positive.tolist(), *negative.tolist()}) == sum(expected)
    assert all(LABELS[i] > 0 for i in positive)
    assert all(LABELS[i] == 0 for i in negative)


def test_subsample_follows_the_global_seed():
    labels = torch.arange(100) % 2
    torch.manual_seed(3)
    first = subsample_labels(labels, 20, 0.5, 0)
    other = subsample_labels(labels, 20, 0.5, 0)
    torch.manual_seed(3)
    again = subsample_labels(labels, 20, 0.5, 0)
    assert [x.tolist() for x in again] == [x.tolist() for x in first]
    assert other[1].tolist() != first[1].tolist()


def test_subsample_of_nothing():
    positive, negative = subsample_labels(torch.full((4,), -1), 8, 0.5, 0)
    assert len(positive) == len(negative) == 0
