"""Target-balanced sampling: the image weights that bring the classes' shares nearest to a target.

A rule that weighs each image by its heaviest class can't balance a class that stands in nearly
every picture: whatever is drawn, persons come along. Here the weights w (mean 1, each within
``min_repeat`` and ``max_repeat``) are solved for: they minimise

    J(w) = 1/2 * sum_k (share_k(w) - target_k)^2  +  evenness/2 * variance(w) / density(w)

where share_k is class k's part of all that is drawn, and density(w) the objects of a draw relative
to plain sampling. J has one minimum; `project.data.balance_solver` says why and finds it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from project.data.balance_solver import solve, weighted_shares
from project.data.statistics import ClassStatistics
from project.errors import UserError, unknown_name

import numpy as np

UNITS = ("instances", "images")
MIN_EVENNESS = 1e-6  # below, rounding would decide between weights that are as good

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TargetBalanced:
    """Image weights under a cap on repetition, for class shares as near to ``target`` as possible.

    Images without objects weigh 1, the mean; they don't change any share.

    Attributes:
        target: "uniform" gives every class that occurs the same share. Or class name → share, in
            [0, 1]; classes that aren't named divide the rest as they do in the dataset.
        strength: how far to go from the dataset's own shares (0) to the target (1).
        max_repeat: the most often an image is drawn, relative to the mean; at least 1.
        min_repeat: the least; at most 1. With 0 an image may never be drawn.
        unit: "instances": shares are of all objects. "images": an image counts once for each class
            in it, and shares are of all these.
        evenness: strength towards equal weights. The default costs the shares about
            a thousandth; 1e-6 is the least.
    """

    target: str | Mapping[str, float] = "uniform"
    strength: float = 1.0
    max_repeat: float = 5.0
    min_repeat: float = 0.1
    unit: str = "instances"
    evenness: float = 1e-4

    def __call__(self, statistics: ClassStatistics) -> np.ndarray:
        """Image weights, float64 [N], mean 1.

        Raises:
            UserError: if an argument is out of its range, or the target doesn't fit the classes.
        """
        self._check()
        counts = statistics.present if self.unit == "images" else statistics.counts
        weights, some = np.ones(len(counts)), counts.any(1)
        if not some.any():
            return weights
        counts = counts[some].astype(np.float64)
        target = self._target(statistics.class_names, counts.sum(0) / counts.sum())
        weights[some] = solve(counts, target, self.min_repeat, self.max_repeat, self.evenness)
        self._log(statistics.class_names, target, counts, weights[some])
        return weights

    def _check(self) -> None:
        if isinstance(self.target, str) and self.target != "uniform":
            raise UserError(
                f"sampling: target={self.target!r} must be 'uniform' or class names with shares"
            )
        if self.unit not in UNITS:
            raise UserError(f"sampling: {unknown_name('unit', self.unit, UNITS)}")
        if not 0 <= self.strength <= 1:
            raise UserError(f"sampling: strength={self.strength} must be from 0 to 1")
        if not 0 <= self.min_repeat <= 1 <= self.max_repeat < np.inf:
            raise UserError(
                f"sampling: min_repeat={self.min_repeat} and max_repeat={self.max_repeat} must be "
                f"numbers with 0 <= min_repeat <= 1 <= max_repeat"
            )
        if not MIN_EVENNESS <= self.evenness < np.inf:
            raise UserError(
                f"sampling: evenness={self.evenness} must be a number of at least {MIN_EVENNESS:g}"
            )

    def _target(self, names: tuple[str, ...], plain: np.ndarray) -> np.ndarray:
        """Wanted shares, float64 [K], sum 1, of classes whose shares are ``plain``."""
        if isinstance(self.target, str):
            wanted = (plain > 0) / (plain > 0).sum()
        else:
            wanted = _named_shares(self.target, names, plain)
        return (1 - self.strength) * plain + self.strength * wanted

    def _log(self, names: tuple[str, ...], target: np.ndarray, counts: np.ndarray, weights) -> None:
        reached, plain = weighted_shares(counts, weights), counts.sum(0) / counts.sum()
        worst = int(np.abs(reached - target).argmax())
        logger.info(
            "target-balanced sampling: largest gap to the target shares %.1f points (%s: %.1f %%, "
            "target %.1f %%), %.1f with equal weights; %.0f %% of the images at the cap of %g",
            100 * np.abs(reached - target).max(),
            names[worst],
            100 * reached[worst],
            100 * target[worst],
            100 * np.abs(plain - target).max(),
            100 * (weights > self.max_repeat * (1 - 1e-6)).mean(),
            self.max_repeat,
        )


def _named_shares(
    target: Mapping[str, float], names: tuple[str, ...], plain: np.ndarray
) -> np.ndarray:
    """The shares of ``target``; other classes divide the rest in proportion to ``plain``."""
    wanted = np.full(len(names), np.nan)
    for name, share in target.items():
        if name not in names:
            raise UserError(f"sampling: {unknown_name('class', name, names)}")
        if not 0 <= share <= 1:
            raise UserError(f"sampling: target share {share} of {name!r} must be from 0 to 1")
        k = names.index(name)
        if share > 0 and not plain[k]:
            raise UserError(
                f"sampling: {name!r} has a target share of {share}, but the dataset has none of it"
            )
        wanted[k] = share
    others, rest = np.isnan(wanted), 1 - np.nansum(wanted)
    divisible = plain[others].sum()
    if rest < -1e-6 or (rest > 1e-6 and not divisible):
        allowed = "at most 1" if divisible else "1, as they name every class that occurs"
        raise UserError(f"sampling: target shares sum to {1 - rest:g}; expected {allowed}")
    wanted[others] = plain[others] * (max(rest, 0) / max(divisible, 1e-300))
    return wanted / wanted.sum()
