"""How an error falls with the number of training images: error = a + b * n^-c, how sure that is.

The form and its use are those of Hestness et al. 2017 (arXiv 1712.00409): c is how fast more data
help, a what no amount of data removes.
"""

from __future__ import annotations

from dataclasses import dataclass

from project.errors import UserError

import numpy as np

MIN_SIZES = 3
_EXPONENTS = np.geomspace(0.02, 4.0, 90)  # outside, the curve is a constant or a step


@dataclass(frozen=True)
class PowerLaw:
    """A fitted curve.

    Attributes:
        a, b: in the error's unit, at least 0. ``b`` is the error beyond ``a`` at ``scale`` images.
        c: between 0.02 and 4.
        scale: number of images that ``b`` refers to (the geometric mean of the sizes): there ``b``
            can be read from the data, which at one image it can't.
        spread: standard deviation of a run about the curve; NaN without spare runs.
        samples: [S, 3], curves (a, b, c) as probable as the data allow; [0, 3] without spare runs.
    """

    a: float
    b: float
    c: float
    scale: float
    spread: float
    samples: np.ndarray

    def at(self, sizes: np.ndarray | float) -> np.ndarray:
        """The error at ``sizes``."""
        return self.a + self.b * (np.asarray(sizes, float) / self.scale) ** -self.c

    def band(self, sizes: np.ndarray | float, level: float = 0.95) -> np.ndarray | None:
        """Where the curve lies with probability ``level``: [2, ...], or None without samples."""
        if not len(self.samples):
            return None
        a, b, c = (column[:, None] for column in self.samples.T)
        curves = a + b * (np.atleast_1d(np.asarray(sizes, float)) / self.scale) ** -c
        return np.quantile(curves, [(1 - level) / 2, (1 + level) / 2], axis=0)

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float] | None:
        """The interval of "a", "b" or "c", or None without samples."""
        if not len(self.samples):
            return None
        column = self.samples[:, "abc".index(name)]
        low, high = np.quantile(column, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


def fit_power_law(
    sizes: np.ndarray, errors: np.ndarray, *, num_samples: int = 2000, seed: int = 0
) -> PowerLaw:
    """The least-squares curve through the runs, with a >= 0 and b >= 0.

    The uncertainty is a parametric bootstrap: new errors are drawn about the curve with the runs'
    spread (itself drawn from its chi-square distribution, as few runs tell it badly) and fitted
    again. That takes more runs than the three numbers that are fitted.

    Args:
        sizes, errors: of each run, [N].

    Raises:
        UserError: for fewer than three different sizes: three numbers can't be told from two.
    """
    sizes, errors = np.asarray(sizes, float), np.asarray(errors, float)
    different = np.unique(sizes)
    if len(different) < MIN_SIZES:
        raise UserError(
            f"a power law needs runs at {MIN_SIZES} data set sizes or more; these have "
            f"{len(different)} ({', '.join(f'{s:g}' for s in different)})"
        )
    if not (np.isfinite(errors).all() and (sizes > 0).all()):
        raise UserError("a power law needs sizes above 0 and errors that are numbers")
    scale = float(np.exp(np.log(different).mean()))
    a, b, c = _fit(sizes / scale, errors[:, None])[0]
    curve = a + b * (sizes / scale) ** -c
    spare = len(errors) - 3
    if spare < 1:
        return PowerLaw(a, b, c, scale, np.nan, np.zeros((0, 3)))
    spread = float(np.sqrt(((errors - curve) ** 2).sum() / spare))
    rng = np.random.default_rng(seed)
    widths = spread * np.sqrt(spare / rng.chisquare(spare, num_samples))
    drawn = curve[:, None] + widths * rng.standard_normal((len(errors), num_samples))
    return PowerLaw(a, b, c, scale, spread, _fit(sizes / scale, drawn))


def _fit(x: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """(a, b, c) [S, 3] of each column of ``errors`` [N, S]; ``x`` [N] are scaled sizes.

    For each c the best a and b are a linear problem, so only c is searched: over a grid, then three
    times finer between the neighbours of the best.
    """
    cells = [_Cells(x, errors, np.tile(_EXPONENTS[:, None], errors.shape[1]))]
    for _ in range(3):
        best, exponents = cells[-1].loss.argmin(0), cells[-1].exponents
        columns = np.arange(errors.shape[1])
        low = exponents[np.maximum(best - 1, 0), columns]
        high = exponents[np.minimum(best + 1, len(exponents) - 1), columns]
        cells.append(_Cells(x, errors, np.linspace(low, high, 13)))
    return cells[-1].best()


class _Cells:
    """The best a and b for each exponent [C, S], and the squared error they leave."""

    def __init__(self, x: np.ndarray, errors: np.ndarray, exponents: np.ndarray) -> None:
        self.exponents = exponents
        count = len(x)
        sums = np.zeros((4, *exponents.shape))  # of powers, of their squares, with errors, errors
        for size, error in zip(x, errors, strict=True):
            power = size**-exponents
            sums += np.stack([power, power**2, power * error, np.broadcast_to(error, power.shape)])
        p, pp, pe, e = sums
        variance = np.maximum(pp - p**2 / count, 1e-300)
        b = np.maximum((pe - p * e / count) / variance, 0.0)  # b < 0: the best is a constant
        a = (e - b * p) / count
        through_zero = np.maximum(pe / pp, 0.0)
        a, b = np.where(a < 0, 0.0, a), np.where(a < 0, through_zero, b)
        self.a, self.b = a, b
        self.loss = (
            (errors**2).sum(0) - 2 * a * e - 2 * b * pe + count * a**2 + 2 * a * b * p + b**2 * pp
        )

    def best(self) -> np.ndarray:
        """(a, b, c) [S, 3] of the smallest loss of each column."""
        where = (self.loss.argmin(0), np.arange(self.loss.shape[1]))
        return np.stack([self.a[where], self.b[where], self.exponents[where]], axis=1)
