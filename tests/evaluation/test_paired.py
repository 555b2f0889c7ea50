"""Two runs on the same images: differences, p-values, and what can't be compared."""

import math

from project.errors import UserError
from project.evaluation.average_precision import AveragePrecision
from project.evaluation.image_sums import RatioOfSums
from project.evaluation.paired import compare, differences, holm, percentile_p_value
from project.evaluation.uncertainty import percentile_interval, resample

import numpy as np
import pytest

NAMES = ("cake", "car")


def run(numerator, *, ids=None, names=NAMES, truth=None) -> RatioOfSums:
    numerator = np.asarray(numerator, float)
    ids = np.arange(1, len(numerator) + 1) if ids is None else ids
    return RatioOfSums("IoU", ids, names, numerator, np.ones_like(numerator), truth=truth)


def test_identical_runs_differ_by_nothing():
    found = np.random.default_rng(0).random((30, 2))
    for row in compare(run(found), run(found), num_resamples=200):
        assert (row.difference, row.low, row.high, row.p_value) == (0, 0, 0, pytest.approx(1))
        assert row.images_needed is None
        assert str(row) == "+0.0 [+0.0, +0.0]"


def test_what_both_runs_share_drops_out():
    """Images vary by 29 points, the gain of 5 points doesn't: its interval has no width."""
    found = np.random.default_rng(0).random((30, 2)) * 0.9
    mean, *_ = compare(run(found), run(found + 0.05), num_resamples=200)
    assert (mean.difference, mean.low, mean.high) == pytest.approx((5, 5, 5))
    assert mean.second - mean.first == pytest.approx(5)
    assert mean.p_value < 0.02
    assert mean.images_needed == 1


def test_what_is_defined_in_no_resample_has_no_p_value():
    """The first run takes nothing for a car: no precision, and no part in Holm's correction."""
    taken = np.ones((30, 2)) * (1, 0)
    truth = np.ones((30, 2))
    runs = [
        RatioOfSums("precision", range(30), NAMES, right * found, found, truth=truth)
        for right, found in ((0.5, taken), (np.arange(30)[:, None] % 2, truth))
    ]
    assert math.isnan(percentile_p_value(np.full(9, np.nan), 5.0))
    _, cake, car = compare(*runs, num_resamples=100)
    assert math.isnan(car.p_value)
    assert str(car) == "–"
    assert cake.adjusted_p == cake.p_value


def test_exchanged_runs_exchange_the_sign():
    rng = np.random.default_rng(2)
    a, b = run(rng.random((40, 2))), run(rng.random((40, 2)))
    for row, back in zip(compare(a, b), compare(b, a), strict=True):
        assert row.difference == pytest.approx(-back.difference)
        assert (row.low, row.high) == pytest.approx((-back.high, -back.low))
        assert row.p_value == pytest.approx(back.p_value)
        assert row.images_needed == back.images_needed


def test_two_images_enumerated():
    """Differences 0.1 and -0.3: means 0.1, -0.1 (half of the resamples) and -0.3."""
    first, second = (resample(run([[x], [y]], names=("a",))) for x, y in ((0.2, 0.5), (0.3, 0.2)))
    gaps = np.unique((second.samples - first.samples)[:, 0, 1].round(9))
    assert gaps.tolist() == [-0.3, -0.1, 0.1]
    (_, row) = differences(first, second)
    assert row.difference == pytest.approx(-10)
    assert (row.note, str(row)) == ("too few images", "-10.0 (too few images)")
    assert math.isnan(row.p_value)


def test_the_p_value_belongs_to_the_interval():
    """For a normal distribution and many images, it is the z test's: 0.0455 two sd off zero."""
    normal = np.random.default_rng(0).normal(size=200_000)
    assert percentile_p_value(normal + 2, 1e7) == pytest.approx(0.0455, abs=0.002)
    assert percentile_p_value(normal - 2, 1e7) == pytest.approx(0.0455, abs=0.002)
    # Of t with 9 degrees of freedom, 2 / sqrt(10 / 9) = 1.897 leaves 9.03 % outside.
    assert percentile_p_value(normal + 2, 10) == pytest.approx(0.0903, abs=0.003)
    for shift in np.linspace(1.5, 2.8, 27):
        low, _ = percentile_interval(normal[:2000] + shift, 12)
        assert (low > 0) == (percentile_p_value(normal[:2000] + shift, 12) < 0.05)


def test_holm():
    """Sorted 0.01, 0.02, 0.04 times 3, 2, 1, never falling; NaN isn't a test."""
    assert holm([0.04, 0.01, math.nan, 0.02])[:2] == pytest.approx([0.04, 0.03])
    assert holm([0.04, 0.01, math.nan, 0.02])[3] == pytest.approx(0.04)
    assert math.isnan(holm([math.nan])[0])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []


def test_classes_are_adjusted_and_the_mean_is_not():
    rng = np.random.default_rng(4)
    a, b = rng.random((60, 2)), rng.random((60, 2))
    mean, cake, car = compare(run(a), run(b))
    assert mean.adjusted_p == mean.p_value
    smaller, larger = sorted((cake, car), key=lambda row: row.p_value)
    assert smaller.adjusted_p == pytest.approx(min(1, 2 * smaller.p_value))
    assert larger.adjusted_p >= larger.p_value


@pytest.mark.parametrize(
    "other, text",
    [
        (dict(ids=[1, 2, 7]), r"different images: image 3 is in the first run only"),
        (dict(ids=[1, 3, 2]), r"in different order, first at place 2"),
        (dict(names=("cake", "dog")), r"different classes: cake, car and cake, dog"),
        (
            dict(truth=[[1, 0], [2, 3], [0, 0]]),
            r"image 2 has 2 of class 'car' in the first run and 3 in the second",
        ),
    ],
)
def test_different_data_is_refused(other, text):
    truth = np.array([[1, 0], [2, 2], [0, 0]])
    with pytest.raises(UserError, match=text):
        compare(run(np.ones((3, 2)), truth=truth), run(np.ones((3, 2)), **{"truth": truth} | other))


def test_more_images_in_the_second_run_are_named():
    with pytest.raises(UserError, match=r"image 4 is in the second run only.*have 3 and 4 images"):
        compare(run(np.ones((3, 2))), run(np.ones((4, 2))))


def test_other_metrics_and_seeds_are_refused():
    first = run(np.ones((3, 2)))
    other = RatioOfSums("Dice", [1, 2, 3], NAMES, np.ones((3, 2)), np.ones((3, 2)))
    with pytest.raises(UserError, match="different metrics"):
        compare(first, other)
    with pytest.raises(ValueError, match="different seeds"):
        differences(resample(first, seed=0), resample(first, seed=1))


def test_a_clearly_better_detector_is_found_better(simulated_pair):
    """The second run lost a third of its true detections."""
    first, second = simulated_pair
    rows = {(r.metric, r.class_name): r for r in compare(first, second, num_resamples=300)}
    assert rows["AP", ""].high < 0
    assert rows["AP", "person"].adjusted_p < 0.05
    assert rows["AP", ""].images_needed < 150


@pytest.fixture
def simulated_pair() -> list[AveragePrecision]:
    from dataclasses import replace

    from project.benchmarks.simulated_matches import simulate_runs

    (run,) = simulate_runs(np.random.default_rng(0), 150)
    lost = np.random.default_rng(1).random(run.matches.matched.shape[1]) < 1 / 3
    worse = replace(run.matches, matched=run.matches.matched & ~lost)
    return [AveragePrecision(run.matches), AveragePrecision(worse)]
