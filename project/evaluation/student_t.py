"""Student's t distribution for any degrees of freedom, whole or not."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np

NORMAL = NormalDist()


def t_cdf(t: float, freedom: float) -> float:
    """P(T <= t), to about 1e-12; the normal distribution's for infinite degrees of freedom.

    With t = sqrt(freedom) tan(a), the density of the angle a is proportional to
    cos(a) ** (freedom - 1), which Gauss-Legendre quadrature integrates.
    """
    if not freedom > 0:
        raise ValueError(f"degrees of freedom must be above 0, got {freedom}")
    if freedom > 1e6:
        return NORMAL.cdf(t)
    angle = math.atan(abs(t) / math.sqrt(freedom))
    # Beyond 12 standard deviations nothing is left; a narrow peak needs a narrow range.
    angle = min(angle, 12 / math.sqrt(freedom))
    nodes, weights = _quadrature()
    area = angle / 2 * float(weights @ np.cos(angle / 2 * (nodes + 1)) ** (freedom - 1))
    whole = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    half = min(area * whole / math.sqrt(math.pi), 0.5)
    return 0.5 + math.copysign(half, t)


@lru_cache(maxsize=1)
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(96)


@lru_cache(maxsize=4096)
def t_quantile(probability: float, freedom: float) -> float:
    """The t that `t_cdf` maps to ``probability`` (between 0 and 1), to 1e-10 of it."""
    if not 0 < probability < 1:
        raise ValueError(f"probability must lie between 0 and 1, got {probability}")
    if probability < 0.5:
        return -t_quantile(1 - probability, freedom)
    low, high = 0.0, 2.0
    while t_cdf(high, freedom) < probability:
        low, high = high, 2 * high
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, freedom) < probability else (low, middle)
    return (low + high) / 2
