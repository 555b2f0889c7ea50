"""Intervals by resampling images: cases small enough to enumerate, relations, empty cases."""

import itertools
import json
import math

from project.evaluation.image_sums import RatioOfSums, mean_over_images
from project.evaluation.uncertainty import (
    NO_OBJECTS,
    TOO_FEW,
    draw_weights,
    effective_counts,
    estimate,
    estimates,
    format_interval,
    percentile_interval,
    plain,
    resample,
)

import numpy as np
import pytest


def ratio(numerator, denominator, names=("cake",), **more) -> RatioOfSums:
    return RatioOfSums("IoU", range(1, len(numerator) + 1), names, numerator, denominator, **more)


def test_two_images_have_three_resamples():
    """1/4 and 3/6: twice the first gives 1/4 (a quarter of resamples), both 4/10, the other 1/2."""
    resampled = resample(ratio([[1], [3]], [[4], [6]]), num_resamples=4000)
    assert resampled.values.tolist() == [[0.4, 0.4]]
    values, counts = np.unique(resampled.samples[:, 0, 1], return_counts=True)
    assert values.tolist() == [0.25, 0.4, 0.5]
    # Four standard deviations of a binomial count are 4 * sqrt(4000 / 4 * 3 / 4) = 110.
    assert counts == pytest.approx([1000, 2000, 1000], abs=130)


def test_three_images_give_the_enumerated_distribution():
    values = np.array([0.0, 0.3, 1.0])
    samples = resample(mean_over_images("x", [1, 2, 3], ("",), values), num_resamples=9000).samples
    means = [np.mean(draw) for draw in itertools.product(values, repeat=3)]
    assert samples.mean() == pytest.approx(np.mean(means), abs=0.01)
    assert samples.std() == pytest.approx(np.std(means), abs=0.01)
    assert np.unique(samples.round(6)).tolist() == np.unique(np.round(means, 6)).tolist()


def test_the_interval_of_a_mean_is_students_for_many_images():
    """Where everything is normal, the bootstrap must say what the textbook says."""
    values = np.random.default_rng(0).normal(0.5, 0.1, 40).clip(0)
    (row,) = estimate(mean_over_images("x", range(40), ("",), values), num_resamples=20_000)
    half = 2.0227 * values.std(ddof=1) / math.sqrt(40)  # t of 39 degrees of freedom
    assert row.value == pytest.approx(100 * values.mean())
    assert row.low == pytest.approx(100 * (values.mean() - half), abs=0.15)
    assert row.high == pytest.approx(100 * (values.mean() + half), abs=0.15)


def test_weights_count_whole_datasets_and_depend_on_the_seed_alone():
    weights = draw_weights(7, 50, seed=3)
    assert weights.shape == (50, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert (weights == draw_weights(7, 50, seed=3)).all()
    assert (weights != draw_weights(7, 50, seed=4)).any()
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.6)


def test_percentiles_are_pushed_out_as_far_as_students_t():
    """Of 9,999 even numbers; n = 10: the tail is Phi(-sqrt(10/9) * 2.262) = 0.00855."""
    samples = np.arange(1, 10_000) / 10_000
    assert percentile_interval(samples, 1e9) == pytest.approx((0.025, 0.975), abs=1e-6)
    assert percentile_interval(samples, 10) == pytest.approx((0.00855, 0.99145), abs=5e-5)
    assert percentile_interval(samples, 2) == pytest.approx((1e-4, 0.9999))  # no further than they
    assert percentile_interval(np.append(samples, np.nan), 1e9)[0] == pytest.approx(0.025, abs=1e-6)
    assert all(math.isnan(end) for end in percentile_interval(np.array([np.nan]), 10))


def test_effective_counts():
    """Equal images count in full; one that holds half of 2n counts like few: 40² / (20² + 20)."""
    extent = np.ones((20, 2))
    extent[0, 1] = 0
    extent[1, 1] = 20
    samples = np.random.default_rng(0).normal(size=(500, 1, 3))
    counts = effective_counts(extent, samples)[0]
    assert counts[1] == pytest.approx(20)
    assert counts[2] == pytest.approx(38**2 / (400 + 18))
    # Only the second class varies: the mean knows as much as it does.
    samples[:, 0, 1] = 0.5
    assert effective_counts(extent, samples)[0, 0] == pytest.approx(counts[2])


def test_few_images_give_a_note_and_no_interval():
    """Ten images with the first class, nine with the second, none with the third."""
    extent = np.zeros((12, 3))
    extent[:10, 0] = extent[:9, 1] = 1
    found = np.array([[1, 1, 1]]) * extent * np.linspace(0, 1, 12)[:, None]
    rows = estimate(ratio(found, extent, ("cake", "car", "dog")), num_resamples=200)
    mean, cake, car, dog = rows
    assert [row.class_name for row in rows] == ["", "cake", "car", "dog"]
    assert [row.num_images for row in rows] == [10, 10, 9, 0]
    assert mean.value == pytest.approx((cake.value + car.value) / 2)
    assert cake.low < cake.value < cake.high
    assert mean.note == "1 class is in fewer than 10 images"
    assert (car.note, dog.note) == (TOO_FEW, NO_OBJECTS)
    assert str(car) == "36.4 (too few images)"
    assert str(dog) == "–"
    assert math.isnan(car.low)
    assert math.isnan(car.standard_error)
    assert json.loads(json.dumps(plain(dog)))["value"] is None


def test_the_mean_of_a_resample_is_over_the_classes_that_it_has():
    extent = np.array([[1.0, 0], [0, 1]])
    samples = resample(ratio(extent * [1, 0], extent, ("a", "b")), num_resamples=100).samples[:, 0]
    for mean, a, b in samples:
        assert mean == pytest.approx(np.nanmean([a, b]))
    assert {tuple(np.isnan(row[1:])) for row in samples} == {
        (False, False),
        (False, True),
        (True, False),
    }


def test_truth_tells_in_how_many_images_a_class_is():
    """A false detection's union is no object."""
    union = np.ones((12, 1))
    truth = np.zeros((12, 1))
    (_, row) = estimate(ratio(0 * union, union, truth=truth), num_resamples=50)
    assert (row.num_images, row.note) == (0, NO_OBJECTS)
    assert math.isnan(row.value)
    truth[:3] = 1
    (_, row) = estimate(ratio(0 * union, union, truth=truth), num_resamples=50)
    assert (row.num_images, row.note, row.value) == (3, TOO_FEW, 0)


def test_same_seed_same_interval_and_wider_at_a_higher_level():
    rng = np.random.default_rng(1)
    statistic = ratio(rng.random((40, 1)), np.ones((40, 1)))
    resampled = resample(statistic, seed=5)
    assert estimate(statistic, seed=5) == estimates(resampled)
    wide, narrow = (estimates(resampled, level=level)[1] for level in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


def test_no_images():
    statistic = ratio(np.zeros((0, 1)), np.zeros((0, 1)))
    assert [row.note for row in estimate(statistic, num_resamples=10)] == [NO_OBJECTS, NO_OBJECTS]


@pytest.mark.parametrize(
    "numbers, text",
    [
        ((32.14, 29.75, 34.62), "32.1 [29.8, 34.6]"),
        ((32.14, math.nan, math.nan, TOO_FEW), "32.1 (too few images)"),
        ((math.nan, math.nan, math.nan, NO_OBJECTS), "–"),
    ],
)
def test_format(numbers, text):
    assert format_interval(*numbers) == text


def test_wrong_sums_and_counts_are_refused():
    with pytest.raises(ValueError, match=r"numerator must have shape \(2, 1\).*got \(3, 1\)"):
        RatioOfSums("IoU", [1, 2], ("cake",), np.ones((3, 1)), np.ones((2, 1)))
    with pytest.raises(ValueError, match="denominator must hold finite numbers of at least 0"):
        ratio(np.ones((2, 1)), [[1], [-1]])
    with pytest.raises(ValueError, match="num_resamples must be at least 2, got 1"):
        resample(ratio([[1]], [[1]]), num_resamples=1)
