"""Student's t, images that would settle a difference, and summaries over seeds."""

import math

from project.evaluation.sample_size import half_width_at, images_needed, over_seeds
from project.evaluation.student_t import t_cdf, t_quantile

import pytest


@pytest.mark.parametrize(
    "t, freedom, expected",
    [  # closed forms: Cauchy, 1/2 + t / (2 sqrt(2 + t²)); then the table of any textbook
        (1.0, 1, 0.75),
        (-3.0, 1, 0.5 - math.atan(3) / math.pi),
        (1.5, 2, 0.5 + 1.5 / (2 * math.sqrt(2 + 1.5**2))),
        (2.2281388519649385, 10, 0.975),
        (1.959963984540054, math.inf, 0.975),
        (1.9839715185235518, 100, 0.975),
        (-40.0, 500, 0.0),
        (0.0, 3.7, 0.5),
    ],
)
def test_t_distribution(t, freedom, expected):
    assert t_cdf(t, freedom) == pytest.approx(expected, abs=1e-11)
    if 0.5 < expected < 1:
        assert t_quantile(expected, freedom) == pytest.approx(t, rel=1e-8)


def test_fractions_of_a_degree_of_freedom_lie_between_and_tails_mirror():
    assert t_quantile(0.975, 5) < t_quantile(0.975, 4.3) < t_quantile(0.975, 4)
    assert t_quantile(0.05, 4.3) == -t_quantile(0.95, 4.3)
    assert t_cdf(2, 2_000_000) == pytest.approx(t_cdf(2, 999_999), abs=1e-6)
    with pytest.raises(ValueError, match="above 0, got 0"):
        t_cdf(1, 0)
    with pytest.raises(ValueError, match="between 0 and 1, got 1"):
        t_quantile(1, 5)


def test_images_needed():
    """1 point with a standard error of 1 on 300 images: 300 (1.95996 + 0.84162)² = 2,354.7."""
    assert images_needed(1.0, 1.0, 300) == 2355
    assert images_needed(-2.0, 1.0, 300) == 589  # a quarter
    assert images_needed(1.0, 1.0, 300, power=0.5) == math.ceil(300 * 1.959964**2)
    assert images_needed(1.0, 0.0, 300) == 1
    assert images_needed(0.0, 1.0, 300) is None
    assert images_needed(math.nan, math.nan, 300) is None
    with pytest.raises(ValueError, match="power and level must lie between 0 and 1"):
        images_needed(1, 1, 300, power=1.0)


def test_intervals_shrink_with_the_root_of_the_images():
    assert half_width_at(4.0, 300, 1200) == pytest.approx(2)
    with pytest.raises(ValueError, match="at least 1, got 300 and 0"):
        half_width_at(4.0, 300, 0)


def test_seeds():
    """30, 31, 35: mean 32, sd sqrt(7); t of 2 degrees of freedom 4.30265."""
    found = over_seeds([30, 31, 35, math.nan])
    assert (found.mean, found.sd) == pytest.approx((32, math.sqrt(7)))
    assert found.high - found.mean == pytest.approx(4.30265 * math.sqrt(7 / 3), rel=1e-5)
    assert found.low == pytest.approx(2 * 32 - found.high)
    assert str(found) == "32.0 ± 2.6 (3 seeds)"
    assert str(over_seeds([30.0])) == "30.0 (one seed)"
    assert str(over_seeds([])) == "–"
    assert over_seeds([30.0]).num_seeds == 1
