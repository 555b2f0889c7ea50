"""Target-balanced image weights: optima worked out by hand, bounds, and that nothing is better."""

from __future__ import annotations

import logging

from project.data.balance import TargetBalanced
from project.data.balance_solver import objective, weighted_shares
from project.data.sampler import InverseFrequency, Scheme, sampling_report
from project.data.statistics import ClassStatistics
from project.errors import UserError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from omegaconf import OmegaConf

FEW = ClassStatistics(np.array([[3, 0], [0, 1]]), ("person", "cake"))
# Persons stand in every picture: two | one, and a cake | four.
CROWDED = ClassStatistics(np.array([[2, 0], [1, 1], [4, 0]]), ("person", "cake"))
PRECISE = {"evenness": 1e-6}


def weigh(statistics, **options):
    return TargetBalanced(**{**PRECISE, **options})(statistics)


def test_it_is_a_scheme():
    assert isinstance(TargetBalanced(), Scheme)


@pytest.mark.parametrize(
    "statistics, options, expected",
    [
        (FEW, {}, [0.5, 1.5]),  # 3 w1 = w2, w1 + w2 = 2
        (FEW, {"max_repeat": 1.25}, [0.75, 1.25]),
        (FEW, {"min_repeat": 0.8}, [0.8, 1.2]),
        (FEW, {"max_repeat": 1}, [1, 1]),
        (FEW, {"min_repeat": 1}, [1, 1]),
        (FEW, {"unit": "images"}, [1, 1]),  # each class is in one image already
        (FEW, {"strength": 0}, [1, 1]),
        # Half way from 1/4 to 1/2: cake 3/8 of the objects, 5 w2 = 3 * 3 w1.
        (FEW, {"strength": 0.5}, [5 / 7, 9 / 7]),
        (FEW, {"target": {"cake": 0.6}, "min_repeat": 0.0}, [4 / 11, 18 / 11]),  # 2 w2 = 3 * 3 w1
        (FEW, {"target": {"cake": 0.0, "person": 1.0}}, [1.9, 0.1]),
        # One cake for each person: only the middle picture.
        (CROWDED, {"min_repeat": 0.0}, [0, 3, 0]),
        # It may come twice; of the others the one with fewer persons: 2 / 6 cakes.
        (CROWDED, {"min_repeat": 0.0, "max_repeat": 2.0}, [1, 2, 0]),
        (CROWDED, {"min_repeat": 0.2, "max_repeat": 2.0}, [0.8, 2, 0.2]),
    ],
)
def test_optima_by_hand(statistics, options, expected):
    # The tolerance: an evenness of 1e-6 moves weights by up to 24e-6 here.
    np.testing.assert_allclose(weigh(statistics, **options), expected, atol=3e-5)


def test_the_evenness_has_its_price():
    def shares(evenness):
        return weighted_shares(FEW.counts, weigh(FEW, evenness=evenness))

    distances = [abs(shares(e)[1] - 0.5) for e in (1e-6, 1e-4, 1e-2, 1.0, 100.0)]
    assert distances == sorted(distances)
    assert distances[1] < 1e-3
    np.testing.assert_allclose(weigh(FEW, evenness=1e6), 1, atol=1e-4)


def test_images_without_objects_keep_the_mean_weight():
    with_empty = ClassStatistics(np.array([[3, 0], [0, 0], [0, 1]]), ("person", "cake"))
    np.testing.assert_allclose(weigh(with_empty), [0.5, 1, 1.5], atol=1e-5)
    empty = ClassStatistics(np.zeros((3, 2), int), ("person", "cake"))
    assert weigh(empty).tolist() == [1, 1, 1]
    assert weigh(ClassStatistics(np.zeros((2, 0), int), ())).tolist() == [1, 1]


def test_classes_that_do_not_occur_have_no_part_in_a_uniform_target(caplog):
    caplog.set_level(logging.INFO)
    absent = ClassStatistics(np.array([[3, 0, 0], [0, 0, 1]]), ("person", "dog", "cake"))
    np.testing.assert_allclose(weigh(absent), [0.5, 1.5], atol=1e-5)
    assert "largest gap to the target shares 0.0 points" in caplog.text
    with pytest.raises(UserError, match="'dog' has a target share of 0.5, but the dataset has non"):
        weigh(absent, target={"dog": 0.5})
    np.testing.assert_allclose(weigh(absent, target={"dog": 0, "cake": 0.5}), [0.5, 1.5], atol=1e-5)


def test_classes_without_a_name_in_the_target_divide_the_rest():
    counts = np.diag([6, 3, 1])
    statistics = ClassStatistics(counts, ("person", "car", "cake"))
    weights = weigh(statistics, target=OmegaConf.create({"cake": 0.4}))
    np.testing.assert_allclose(weighted_shares(counts, weights), [0.4, 0.2, 0.4], atol=1e-5)


def test_the_report_shows_what_was_reached(caplog):
    with caplog.at_level(logging.INFO):
        weights = weigh(CROWDED, min_repeat=0.0, max_repeat=2.0)
    shares = sampling_report(CROWDED, weights)["classes"]["cake"]["instances"]
    assert shares == pytest.approx({"plain": 12.5, "expected": 100 / 3}, abs=1e-3)
    assert "largest gap to the target shares 16.7 points" in caplog.text
    assert "37.5 with equal weights; 33 % of the images at the cap of 2" in caplog.text


@pytest.mark.parametrize(
    "options, message",
    [
        ({"target": "even"}, "target='even' must be 'uniform' or class names with shares"),
        ({"target": {"cakes": 0.5}}, "unknown class 'cakes'; did you mean 'cake'"),
        ({"target": {"cake": 1.5}}, "target share 1.5 of 'cake' must be from 0 to 1"),
        ({"target": {"cake": 0.6, "person": 0.6}}, "sum to 1.2; expected 1, as they name every"),
        ({"target": {"cake": 0.3, "person": 0.3}}, "sum to 0.6; expected 1, as they name every"),
        ({"unit": "pixels"}, "unknown unit 'pixels'; did you mean 'images'"),
        ({"strength": 1.5}, "strength=1.5 must be from 0 to 1"),
        ({"max_repeat": 0.5}, "min_repeat=0.1 and max_repeat=0.5 must be numbers with 0 <="),
        ({"min_repeat": -1}, "min_repeat=-1 and"),
        ({"max_repeat": float("inf")}, "max_repeat=inf must be numbers"),
        ({"evenness": 0}, "evenness=0 must be a number of at least 1e-06"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(UserError, match=message):
        weigh(FEW, **options)


def test_too_large_shares_of_some_classes():
    three = ClassStatistics(np.diag([6, 3, 1]), ("person", "car", "cake"))
    with pytest.raises(UserError, match="sum to 1.4; expected at most 1$"):
        weigh(three, target={"cake": 0.7, "car": 0.7})


def within(weights, low, high):
    """Weights pushed into the bounds at mean 1, in the same order."""
    weights = np.clip(weights / weights.mean(), low, high)
    mean = weights.mean()
    if mean > 1:
        return low + (weights - low) * (1 - low) / (mean - low)
    return high - (high - weights) * (high - 1) / (high - mean)


PROBLEMS = {
    "counts": arrays(np.int64, st.tuples(st.integers(2, 9), st.integers(1, 5)),
                     elements=st.integers(0, 6)).filter(lambda c: c.sum(1).all()),
    "low": st.sampled_from([0.0, 0.1, 0.5, 0.9]),
    "high": st.sampled_from([1.2, 2.0, 5.0, 50.0]),
    "evenness": st.sampled_from([1e-6, 1e-4, 1e-2, 1.0]),
    "seed": st.integers(0, 2**32 - 1),
}  # fmt: skip


def solved(counts, low, high, evenness, seed):
    """``(counts, weights, target)`` with a random named target over the classes that occur."""
    names = tuple(f"class {k}" for k in range(counts.shape[1]))
    target = np.random.default_rng(seed).dirichlet(np.ones(len(names))) * counts.any(0)
    target /= target.sum()
    scheme = TargetBalanced(
        dict(zip(names, target.tolist(), strict=True)),
        min_repeat=low,
        max_repeat=high,
        evenness=evenness,
    )
    return scheme(ClassStatistics(counts, names)), target


@settings(max_examples=60, deadline=None)
@given(**PROBLEMS)
def test_the_weights_keep_their_bounds_and_no_exchange_lowers_the_objective(
    counts, low, high, evenness, seed
):
    weights, target = solved(counts, low, high, evenness, seed)
    assert weights.mean() == pytest.approx(1, abs=1e-9)  # values to 1 / evenness are rounded
    assert weights.min() >= low - 1e-12
    assert weights.max() <= high + 1e-12
    best = objective(counts, weights, target, evenness)
    for i in range(len(weights)):
        for j in range(len(weights)):
            amount = min(1e-3, weights[i] - low, high - weights[j])
            if i != j and amount > 1e-6:
                moved = weights.copy()
                moved[i] -= amount
                moved[j] += amount
                assert objective(counts, moved, target, evenness) >= best - 1e-9


@settings(max_examples=60, deadline=None)
@given(**PROBLEMS)
def test_no_other_weights_within_the_bounds_are_better(counts, low, high, evenness, seed):
    weights, target = solved(counts, low, high, evenness, seed)
    names = tuple(map(str, range(counts.shape[1])))
    rng = np.random.default_rng(seed)
    others = [
        np.ones(len(counts)),
        rng.random(len(counts)) + 1e-3,
        rng.pareto(1, len(counts)) + 0.1,
    ]
    others += [InverseFrequency(power)(ClassStatistics(counts, names)) for power in (0.5, 1.0)]
    best = objective(counts, weights, target, evenness)
    for other in others:
        other = within(other, low, high)
        assert best <= objective(counts, other, target, evenness) * (1 + 1e-8) + 1e-12
    plain = np.linalg.norm(counts.sum(0) / counts.sum() - target)
    assert np.linalg.norm(weighted_shares(counts, weights) - target) <= plain


def test_order_and_copies_of_images_do_not_matter():
    rng = np.random.default_rng(0)
    counts = rng.poisson([3.0, 0.5, 0.2], (60, 3))
    names = ("person", "car", "cake")
    weights = TargetBalanced()(ClassStatistics(counts, names))
    order = rng.permutation(60)
    permuted = TargetBalanced()(ClassStatistics(counts[order], names))
    np.testing.assert_allclose(permuted, weights[order], atol=1e-4)
    twice = TargetBalanced()(ClassStatistics(np.tile(counts, (2, 1)), names))
    np.testing.assert_allclose(twice, np.tile(weights, 2), atol=1e-4)
    assert np.array_equal(weights, TargetBalanced()(ClassStatistics(counts, names)))
