"""Student's t, paired intervals, the power law: against tables and hand-worked numbers."""

import math

from project.errors import UserError
from project.experiments.groups import Group, mean_sd
from project.experiments.paired import difference, differences, half_width, t_cdf, t_quantile
from project.experiments.power_law import fit_power_law
from project.experiments.runs import RunRecord

import numpy as np
import pytest


def group(label: str, numbers: dict[int, float]) -> Group:
    runs = [
        RunRecord(None, {}, None, seed, "d", {"segm/AP": value}, [], 0)
        for seed, value in numbers.items()
    ]
    return Group(label, {}, runs)


# scipy.stats.t.ppf(0.975, n) of scipy 1.17
T975 = {1: 12.706204736, 2: 4.302652730, 3: 3.182446305, 4: 2.776445105, 9: 2.262157163}
T975 |= {10: 2.228138852, 29: 2.045229642, 100: 1.983971519}


@pytest.mark.parametrize("freedom", T975)
def test_t_quantiles_are_those_of_the_tables(freedom):
    assert t_quantile(0.975, freedom) == pytest.approx(T975[freedom], abs=1e-8)
    assert t_quantile(0.025, freedom) == pytest.approx(-T975[freedom], abs=1e-8)
    assert t_cdf(T975[freedom], freedom) == pytest.approx(0.975, abs=1e-9)
    assert t_cdf(0.0, freedom) == 0.5


def test_t_has_a_domain():
    with pytest.raises(ValueError, match="between 0 and 1, got 1"):
        t_quantile(1, 3)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        t_cdf(1.0, 0)


def test_a_paired_interval_worked_by_hand():
    # Differences 1, 2, 3 (seed 9 has no partner): mean 2, sd 1, t(2) = 4.302653.
    found = difference(
        group("new", {0: 11, 1: 12, 2: 13, 9: 99}), group("old", {0: 10, 1: 10, 2: 10}), "segm/AP"
    )
    assert (found.num_seeds, found.mean) == (3, 2.0)
    assert found.half_width == pytest.approx(4.302652730 / math.sqrt(3))
    assert not found.is_distinct
    # What both share drops out: seeds may differ by 50 points.
    old = {seed: 10.0 + 50 * seed for seed in range(4)}
    new = {seed: value + 1 + 0.1 * (seed % 2) for seed, value in old.items()}
    found = difference(group("new", new), group("old", old), "segm/AP")
    assert found.low == pytest.approx(1.05 - 3.182446305 * 0.1 / math.sqrt(3) / 2)
    assert found.is_distinct


def test_too_few_seeds_tell_no_interval():
    one = difference(group("a", {0: 5.0}), group("b", {0: 3.0, 1: 4.0}), "segm/AP")
    assert (one.num_seeds, one.mean, one.is_distinct) == (1, 2.0, False)
    none = difference(group("a", {0: 5.0}), group("b", {1: 4.0}), "segm/AP")
    assert none.num_seeds == 0
    assert math.isnan(none.mean)
    undefined = difference(group("a", {0: math.nan}), group("b", {0: 4.0}), "segm/AP")
    assert undefined.num_seeds == 0
    assert math.isnan(half_width(np.array([1.0])))


def test_the_baseline_is_not_compared_to_itself():
    a, b = group("a", {0: 1.0}), group("b", {0: 2.0})
    assert [(d.setting, d.metric) for d in differences([a, b], b, ["segm/AP", "x"])] == [
        ("a", "segm/AP"),
        ("a", "x"),
    ]


def test_mean_and_sd():
    assert mean_sd(np.array([1.0, 3.0, np.nan])) == (2.0, pytest.approx(math.sqrt(2)))
    mean, spread = mean_sd(np.array([4.0]))
    assert mean == 4.0
    assert math.isnan(spread)
    assert math.isnan(mean_sd(np.array([]))[0])


SIZES = np.array([50, 100, 200, 400, 800.0])


@pytest.mark.parametrize("a, b, c", [(20, 300, 0.5), (0, 500, 0.35), (40, 900, 1.2)])
def test_a_known_power_law_is_found(a, b, c):
    fit = fit_power_law(SIZES, a + b * SIZES**-c)
    assert fit.a == pytest.approx(a, abs=0.05)
    assert fit.c == pytest.approx(c, rel=2e-3)
    assert fit.b * fit.scale**fit.c == pytest.approx(b, rel=1e-2)
    assert fit.at(1600) == pytest.approx(a + b * 1600**-c, abs=0.05)


def test_noise_widens_the_band_and_more_runs_narrow_it():
    rng = np.random.default_rng(0)

    def width(sd: float, repeats: int) -> float:
        x = np.repeat(SIZES, repeats)
        noisy = 20 + 300 * x**-0.5 + sd * rng.standard_normal(len(x))
        low, high = fit_power_law(x, noisy, num_samples=400).band(1600)[:, 0]
        return high - low

    assert width(0.5, 3) < width(2.0, 3)
    assert width(1.0, 30) < width(1.0, 3)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(1)
    x = np.repeat(SIZES, 3)
    hits = 0
    for number in range(40):
        noisy = 20 + 300 * x**-0.5 + rng.standard_normal(len(x))
        low, high = fit_power_law(x, noisy, num_samples=300, seed=number).interval("c")
        hits += low <= 0.5 <= high
    assert hits >= 34  # of 40 at 95 %: fewer than 34 has a chance of 0.3 %


def test_three_runs_fit_without_uncertainty():
    fit = fit_power_law(SIZES[:3], 20 + 300 * SIZES[:3] ** -0.5)
    assert fit.c == pytest.approx(0.5, rel=2e-3)
    assert fit.band(100) is None
    assert fit.interval("a") is None


def test_an_error_that_does_not_fall_is_a_constant():
    fit = fit_power_law(SIZES, np.array([10, 11, 12, 13, 14.0]))
    assert fit.b == 0
    assert fit.at(50) == fit.at(1e6) == pytest.approx(12)


def test_two_sizes_are_too_few():
    with pytest.raises(UserError, match=r"3 data set sizes or more; these have 2 \(50, 100\)"):
        fit_power_law(np.array([50, 50, 100]), np.array([1, 2, 3.0]))
    with pytest.raises(UserError, match="errors that are numbers"):
        fit_power_law(SIZES, np.full(5, np.nan))
