"""Dividing images among splits: sizes, shares of each class, rare classes, groups."""

from __future__ import annotations

from project.data.stratification import UNUSED, divide, sizes_by_ratio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "total, ratios, sizes",
    [
        (8, [75, 12.5, 12.5], [6, 1, 1]),
        (300, [75, 12.5, 12.5], [225, 38, 37]),  # 37.5 twice: the first gets the odd one
        (10, [1, 1, 1], [4, 3, 3]),
        (100, [0.7, 0.2, 0.1], [70, 20, 10]),  # 0.7 * 100 is 70 minus a rounding error
        (0, [50, 50], [0, 0]),
    ],
)
def test_sizes_by_ratio(total, ratios, sizes):
    assert sizes_by_ratio(total, ratios) == sizes


def unlabelled(num_images):
    return np.zeros((num_images, 0), bool)


def test_without_labels_only_the_sizes_count():
    assert np.bincount(divide([3, 2, 1], unlabelled(6)), minlength=3).tolist() == [3, 2, 1]
    assert np.bincount(divide([3, 1], unlabelled(9)) + 1).tolist() == [5, 3, 1]
    assert divide([0, 0], unlabelled(0)).tolist() == []


def test_each_class_is_divided_like_the_images():
    rng = np.random.default_rng(0)
    labels = rng.random((800, 6)) < [0.5, 0.3, 0.2, 0.1, 0.05, 0.02]
    assigned = divide([600, 100, 100], labels)
    counts = np.array([labels[assigned == split].sum(0) for split in range(3)])
    exact = np.outer([0.75, 0.125, 0.125], labels.sum(0))
    # Counts are whole numbers; a random split misses the larger classes by 5 images and more.
    assert np.abs(counts - exact).max() < 1.5


@pytest.mark.parametrize("seed", range(20))
def test_rare_classes_reach_every_split(seed):
    labels = np.zeros((200, 2), bool)
    labels[:, 0] = True
    labels[np.random.default_rng(seed).choice(200, 3, replace=False), 1] = True
    assigned = divide([60, 60, 10], labels)  # 70 images stay unused: none of the rare ones
    assert sorted(assigned[labels[:, 1]]) == [0, 1, 2]


def test_the_only_image_of_a_class_goes_to_the_first_of_equal_splits():
    labels = np.zeros((20, 1), bool)
    labels[13] = True
    assert divide([10, 10], labels)[13] == 0


def test_groups_stay_together_and_sizes_are_met_nearly():
    groups = np.arange(100) // 4  # 25 groups of four
    assigned = divide([75, 13, 12], unlabelled(100), groups, exact=False)
    assert all(len(set(assigned[groups == group])) == 1 for group in range(25))
    assert np.abs(np.bincount(assigned) - [75, 13, 12]).max() <= 3


def test_exact_sizes_cut_a_group_rather_than_spread_it():
    groups = np.array([0, 0, 0, 0, 1, 2])
    assigned = divide([2, 2], unlabelled(6), groups)
    assert sorted(np.bincount(assigned[assigned != UNUSED])) == [2, 2]
    assert len(set(assigned[:4]) - {UNUSED}) <= 1


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"sizes \[3, 2\] don't fit 4 images"):
        divide([3, 2], unlabelled(4))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_group_is_shared_and_no_split_overfull(data):
    num_images = data.draw(st.integers(0, 25))
    labels = np.array(
        data.draw(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=num_images,
                           max_size=num_images)), bool
    ).reshape(num_images, 3)  # fmt: skip
    groups = np.array(
        data.draw(st.lists(st.integers(0, 9), min_size=num_images, max_size=num_images)), int
    )
    sizes = [data.draw(st.integers(0, num_images // 3)) for _ in range(3)]
    alone = divide(sizes, labels)
    assert np.bincount(alone[alone != UNUSED], minlength=3).tolist() == sizes
    together = divide(sizes, labels, groups)
    used = np.bincount(together[together != UNUSED], minlength=3)
    assert (used <= sizes).all()
    for group in set(groups.tolist()):
        assert len(set(together[groups == group].tolist()) - {UNUSED}) <= 1
    whole = divide(sizes_by_ratio(num_images, [2, 1]), labels, groups, exact=False)
    assert (whole != UNUSED).all()
    for group in set(groups.tolist()):
        assert len(set(whole[groups == group].tolist())) == 1
