"""Student's t, and images that would settle a difference."""

import math

from project.evaluation.sample_size import images_needed
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
