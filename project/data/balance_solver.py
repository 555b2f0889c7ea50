"""The image weights whose class shares are nearest to a target: a convex problem and its solver.

Minimised over weights w of mean 1, each within two bounds:

    J(w) = 1/2 * |shares(w) - target|^2  +  evenness/2 * variance(w) / density(w)

shares(w) are the classes' parts of all that is drawn, density(w) the objects of a draw relative to
equal weights. In v = w / density(w) the bounds stay linear, the shares become linear, and the
second term, a square over a linear function, is convex; so J has no stationary point but its
minimum, which is unique. Gauss-Newton steps go there from equal weights, J falling with each.
A step's quadratic problem has as many dual variables as there are classes, however many images:
Newton's method solves it, with images at a bound left out of the Hessian.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def weighted_shares(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Each class's share, float64 [K], of what ``weights`` [N] draw from ``counts`` [N, K]."""
    drawn = weights @ counts
    return drawn / drawn.sum()


def objective(
    counts: np.ndarray, weights: np.ndarray, target: np.ndarray, evenness: float
) -> float:
    """J of the module's docstring, for weights of mean 1."""
    gap = weighted_shares(counts, weights) - target
    density = (weights @ counts).sum() / counts.sum()
    return float(gap @ gap + evenness * ((weights - 1) ** 2).mean() / density) / 2


def solve(
    counts: np.ndarray, target: np.ndarray, low: float, high: float, evenness: float
) -> np.ndarray:
    """The weights, float64 [N], mean 1, that minimise `objective` within ``low`` and ``high``.

    Args:
        counts: float64 [N, K], N > 0; no row is all 0.
        target: float64 [K], sum 1.
        low, high: with 0 <= low <= 1 <= high.
        evenness: at least 1e-6 for a solution to many digits.
    """
    weights = np.ones(len(counts))
    if not low < 1 < high:
        return weights  # a mean of 1 leaves no other choice
    counts = counts / counts.sum(1).mean()
    value, dual = objective(counts, weights, target, evenness), np.zeros(len(target))
    for _ in range(100):
        step = _Step.at(counts, weights, target, low, high, evenness)
        dual = step.best_dual(dual)
        direction = step.weights(dual) - weights
        for length in 0.5 ** np.arange(30):  # the longest that lowers J
            moved = weights + length * direction
            lower = objective(counts, moved, target, evenness)
            if lower < value:
                break
        if value - lower <= 1e-11 * value:
            break
        weights, value = moved, lower
    return weights


@dataclass(frozen=True)
class _Step:
    """J with shares and density linearised at some weights: a quadratic problem in new ones.

    Minimise ``|gap + mean(w * slopes)|^2 / 2 + mean(w * tilt) + stiffness/2 * mean((w - 1)^2)``
    over w within the bounds and of mean 1. ``slopes`` [N, K] are ``counts @ mix``.
    """

    counts: np.ndarray
    mix: np.ndarray
    gap: np.ndarray
    tilt: np.ndarray
    stiffness: float
    low: float
    high: float

    @classmethod
    def at(cls, counts, weights, target, low, high, evenness) -> _Step:
        """``counts`` are relative to the objects of the mean image."""
        shares, size = weighted_shares(counts, weights), counts.sum(1)
        density = (weights * size).mean()
        variance = ((weights - 1) ** 2).mean()
        return cls(
            counts,
            mix=(np.eye(len(target)) - shares) / density,
            gap=shares - target,
            tilt=size * (-evenness / 2 * variance / density**2),
            stiffness=evenness / density,
            low=low,
            high=high,
        )

    def weights(self, dual: np.ndarray) -> np.ndarray:
        """The weights [N] that minimise the Lagrangian at ``dual`` [K]."""
        pull = self.counts @ (self.mix @ dual) + self.tilt
        return _nearest(1 - pull / self.stiffness, self.low, self.high)

    def best_dual(self, dual: np.ndarray) -> np.ndarray:
        """The dual solution [K], from a first guess: Newton steps, halved until they lower."""
        value, gradient, weights = self._negative_dual(dual)
        for _ in range(100):
            direction = -np.linalg.solve(self._hessian(weights), gradient)
            slope = gradient @ direction
            for length in 0.5 ** np.arange(40):
                point = dual + length * direction
                lower, *rest = self._negative_dual(point)
                if lower <= value + 1e-4 * length * slope:
                    break
            if not lower < value - 1e-14 * abs(value):
                break
            dual, value, (gradient, weights) = point, lower, rest
        return dual

    def _negative_dual(self, dual: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient [K] and the weights [N] behind them; convex."""
        weights = self.weights(dual)
        change = self.gap + (weights @ self.counts / len(weights)) @ self.mix
        rest = weights @ self.tilt + self.stiffness / 2 * ((weights - 1) ** 2).sum()
        return dual @ dual / 2 - dual @ change - rest / len(weights), dual - change, weights

    def _hessian(self, weights: np.ndarray) -> np.ndarray:
        free = self.counts[(weights > self.low) & (weights < self.high)]
        total = free.sum(0)
        spread = free.T @ free - np.outer(total, total) / max(len(free), 1)
        return np.eye(len(self.gap)) + self.mix.T @ spread @ self.mix / (
            self.stiffness * len(weights)
        )


def _nearest(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """The point nearest to ``values`` with entries in ``low`` to ``high`` and mean 1.

    It is ``clip(values + shift)``; the shift is a root of an increasing, piecewise linear function:
    Newton's steps, or half the bracket where they would leave it.
    """
    least, most = low - values.max(), high - values.min()
    shift = min(max(1 - values.mean(), least), most)
    for _ in range(200):
        clipped = np.clip(values + shift, low, high)
        excess = clipped.mean() - 1
        if excess > 0:
            most = shift
        else:
            least = shift
        slope = ((clipped > low) & (clipped < high)).mean()
        step = shift - excess / slope if slope else np.inf
        previous, shift = shift, step if least < step < most else (least + most) / 2
        if abs(excess) < 1e-14 or shift == previous:
            break
    return clipped
