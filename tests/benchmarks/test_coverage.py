"""The coverage benchmark, small; its bounds are what chance allows in so few simulations."""

import math

from project.benchmarks.coverage import measure_coverage
from project.benchmarks.simulated_matches import CLASSES, simulate_runs

import numpy as np
import pytest

SIMULATIONS = 120


def binomial_range(count: int, low: float, high: float) -> tuple[int, int]:
    """Counts that probabilities from low to high give, but for 1 in 1,000 on either side."""

    def cumulative(probability: float) -> np.ndarray:
        terms = [math.comb(count, n) * probability**n for n in range(count + 1)]
        return np.cumsum([t * (1 - probability) ** (count - n) for n, t in enumerate(terms)])

    return (
        int(np.searchsorted(cumulative(low), 0.001)),
        int(np.searchsorted(cumulative(high), 0.999)),
    )


@pytest.fixture(scope="module")
def figures() -> dict:
    return measure_coverage(SIMULATIONS, num_truth=300, num_images=100, num_resamples=120)


def test_intervals_cover_and_tests_err_as_promised(figures):
    """A third of the images, so cakes and dogs are in too few to be promised anything."""
    covering, erring = (
        binomial_range(SIMULATIONS, 0.93, 0.97),
        binomial_range(SIMULATIONS, 0.035, 0.065),
    )
    # Intervals half as wide would cover 67 % and tests on them err in 33 %.
    assert covering[0] / SIMULATIONS > 0.67
    assert erring[1] / SIMULATIONS < 0.33
    promised = [row for row in figures["rows"] if row["images"] >= 30]
    assert {row["class"] for row in promised} == {"", "car", "person"}
    for row in promised:
        assert row["intervals"] == SIMULATIONS
        assert covering[0] <= row["coverage"] * SIMULATIONS / 100 <= covering[1], row
        assert erring[0] <= row["false_positives"] * SIMULATIONS / 100 <= erring[1], row


def test_intervals_are_as_wide_as_datasets_vary(figures):
    """A 95 % interval spans about four standard deviations of the metric over datasets."""
    for row in figures["rows"]:
        if row["images"] >= 30:
            assert 3.2 < row["width"] / row["sd"] < 5


def test_rows_name_every_metric_of_every_class(figures):
    keys = [(row["metric"], row["class"]) for row in figures["rows"]]
    assert len(set(keys)) == len(keys) == 5 * (1 + len(CLASSES))
    assert figures["resampling"]["seconds"] > 0


def test_binomial_range():
    """Of ten fair coins none is heads in 1 of 1,024, which is below 1 in 1,000."""
    assert binomial_range(10, 0.5, 0.5) == (1, 9)


def test_runs_of_a_simulation_share_images_and_objects():
    first, second = simulate_runs(np.random.default_rng(0), 50, num_runs=2)
    np.testing.assert_array_equal(first.matches.num_objects, second.matches.num_objects)
    assert not np.array_equal(first.matches.score, second.matches.score)
    again, _ = simulate_runs(np.random.default_rng(0), 50, num_runs=2)
    np.testing.assert_array_equal(first.matches.score, again.matches.score)
    for run in (first, second):
        found = np.zeros_like(run.matches.num_objects)
        rows = run.matches.matched[0]
        np.add.at(found, (run.matches.image[rows], run.matches.category[rows]), 1)
        assert (found <= run.matches.num_objects).all()
        assert (run.intersection <= run.union + 1e-6).all()
        order = np.lexsort((-run.matches.score, run.matches.category, run.matches.image))
        assert (order == np.arange(len(order))).all()
