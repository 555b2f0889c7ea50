"""Class-weighted sampling: how often each image is drawn, as an infinite, resumable stream.

A scheme turns class statistics into one weight for each class. The rule from classes to images is
the same for all (that of LVIS, Gupta et al. 2019): **an image weighs as much as the heaviest class
in it**; an image without objects weighs as much as the lightest class of the dataset. Drawing rare
classes more often draws what stands beside them more often too: look at `sampling_report`. Where
that defeats the purpose, `TargetBalanced` solves for the weights of the images themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice

from project.data.balance import TargetBalanced
from project.data.statistics import ClassStatistics
from project.errors import UserError, unknown_name

import numpy as np
from detectron2.utils import comm
from torch.utils.data import Sampler


@dataclass(frozen=True)
class ClassWeights:
    """Weights by hand: class name → number; classes that aren't named weigh ``default``."""

    weights: Mapping[str, float]
    default: float = 1.0

    def __call__(self, statistics: ClassStatistics) -> np.ndarray:
        """Image weights, float64 [N], mean 1."""
        for name in self.weights:
            if name not in statistics.class_names:
                raise UserError(f"sampling: {unknown_name('class', name, statistics.class_names)}")
        values = [self.weights.get(name, self.default) for name in statistics.class_names]
        return image_weights(statistics, np.asarray(values, np.float64))


@dataclass(frozen=True)
class InverseFrequency:
    """A class with n objects weighs n^-power: 0 is plain sampling, 0.5 the square-root rule."""

    power: float = 0.5

    def __call__(self, statistics: ClassStatistics) -> np.ndarray:
        """Image weights, float64 [N], mean 1."""
        if not 0 <= self.power < np.inf:
            raise UserError(f"sampling: power={self.power} must be a number of at least 0")
        return image_weights(statistics, _at_least_one(statistics.instances) ** -self.power)


@dataclass(frozen=True)
class EffectiveNumber:
    """A class with n objects weighs (1 - beta) / (1 - beta^n) (Cui et al., CVPR 2019).

    The effective number of n objects grows to 1 / (1 - beta), 1,000 by default: classes with many
    more weigh the same, those with far fewer weigh 1 / n. ``beta=0`` is plain sampling.
    """

    beta: float = 0.999

    def __call__(self, statistics: ClassStatistics) -> np.ndarray:
        """Image weights, float64 [N], mean 1."""
        if not 0 <= self.beta < 1:
            raise UserError(f"sampling: beta={self.beta} must be at least 0 and below 1")
        return image_weights(
            statistics, (1 - self.beta) / (1 - self.beta ** _at_least_one(statistics.instances))
        )


@dataclass(frozen=True)
class RepeatFactors:
    """A class in a share f of the images weighs max(1, sqrt(threshold / f)).

    LVIS, Gupta et al., CVPR 2019. Classes in more than ``threshold`` of all images are drawn as
    usual.
    """

    threshold: float = 0.001

    def __call__(self, statistics: ClassStatistics) -> np.ndarray:
        """Image weights, float64 [N], mean 1."""
        if not 0 < self.threshold <= 1:
            raise UserError(f"sampling: threshold={self.threshold} must be above 0 and at most 1")
        share = _at_least_one(statistics.images) / max(len(statistics.counts), 1)
        return image_weights(statistics, np.maximum(1, np.sqrt(self.threshold / share)))


Scheme = ClassWeights | InverseFrequency | EffectiveNumber | RepeatFactors | TargetBalanced


def _at_least_one(counts: np.ndarray) -> np.ndarray:
    """Counts as float64; a class that never occurs has no image that its weight could reach."""
    return np.maximum(counts, 1).astype(np.float64)


def image_weights(statistics: ClassStatistics, class_weights: np.ndarray) -> np.ndarray:
    """float64 [N], mean 1: each image's heaviest class; empty images take the lightest class's.

    Raises:
        UserError: if a weight isn't a number of at least 0, or no image has a weight above 0.
    """
    if not (np.isfinite(class_weights) & (class_weights >= 0)).all():
        raise UserError(f"sampling: class weights must be numbers >= 0, got {class_weights}")
    present = statistics.present
    seen = class_weights[statistics.instances > 0]
    lightest = seen.min() if len(seen) else 1.0
    heaviest = np.where(present, class_weights, -np.inf).max(1, initial=-np.inf)
    weights = np.where(present.any(1), heaviest, lightest)
    if not weights.sum() > 0:
        raise UserError("sampling: every image has weight 0; nothing would be drawn")
    return weights * (len(weights) / weights.sum())


class WeightedSampler(Sampler[int]):
    """Infinite stream of image indices; image ``i`` comes up in proportion to ``weights[i]``.

    The stream is made of passes of N draws. With f = weights / mean(weights), each pass draws image
    i either floor(f_i) or ceil(f_i) times, f_i times on average (systematic sampling over a fresh
    shuffle), in random order. So equal weights give the usual shuffled epochs, and no image waits
    longer than its weight says, unlike with independent draws.

    A pass depends on ``seed`` and its number alone, hence starting at ``start`` costs one pass.
    Every rank makes the same stream and keeps each ``world_size``-th draw, from its ``rank`` on.

    Args:
        weights: [N], numbers >= 0, not all 0.
        seed: at least 0.
        start: draws of the whole stream, all ranks together, that are behind us.
        rank, world_size: of this process by default.
    """

    def __init__(
        self,
        weights: np.ndarray,
        seed: int = 0,
        *,
        start: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        weights = np.asarray(weights, np.float64)
        if weights.ndim != 1 or not len(weights) or not (weights >= 0).all():
            raise ValueError(f"weights must be a 1-D array of numbers >= 0, got {weights}")
        if not 0 < weights.sum() < np.inf:
            raise ValueError(f"weights must have a finite sum above 0, got {weights.sum()}")
        if seed < 0 or start < 0:
            raise ValueError(f"seed and start must be at least 0, got {seed} and {start}")
        self.weights = weights * (len(weights) / weights.sum())
        self.seed, self.start = seed, start
        self.rank = comm.get_rank() if rank is None else rank
        self.world_size = comm.get_world_size() if world_size is None else world_size

    def __iter__(self) -> Iterator[int]:
        return islice(self._stream(), self.rank, None, self.world_size)

    def _stream(self) -> Iterator[int]:
        first, skip = divmod(self.start, len(self.weights))
        for number in count(first):
            yield from self._pass(number)[skip:].tolist()
            skip = 0

    def _pass(self, number: int) -> np.ndarray:
        """The N draws of one pass, int64."""
        rng = np.random.default_rng([self.seed, number])
        order = rng.permutation(len(self.weights))
        edges = np.minimum(np.cumsum(self.weights[order]), len(order))
        edges[-1] = len(order)  # exact in spite of rounding: a pass has N draws
        offset = rng.random() * (1 - 1e-9)  # so that adding it never rounds up to the next integer
        times = np.diff(np.floor(edges + offset), prepend=0).astype(np.int64)
        return rng.permutation(np.repeat(order, times))

    def draws(self, stop: int, *, start: int = 0) -> np.ndarray:
        """int64 [N]: how often each image stands at positions ``start`` to ``stop`` of the stream.

        All ranks together, from the beginning of the run unless ``start`` is given: worked out
        from the seed, so nothing has to be counted in loader processes.
        """
        size = len(self.weights)
        drawn = np.zeros(size, np.int64)
        for number in range(start // size, -(-stop // size)):
            first, last = max(start - number * size, 0), min(stop - number * size, size)
            drawn += np.bincount(self._pass(number)[first:last], minlength=size)
        return drawn


def sampling_report(
    statistics: ClassStatistics, weights: np.ndarray, drawn: np.ndarray | None = None
) -> dict:
    """What each class will get and, if ``drawn`` [N] counts how often each image came, what it got.

    Returns:
        ``{"num_images", "num_drawn", "classes": {name: {"images": {...}, "instances": {...}}}}``.
        ``images``: percent (0-100) of the drawn images that show the class; ``instances``: percent
        of all drawn objects that are of the class; each as ``plain`` (every image as often),
        ``expected`` (under ``weights``) and, with draws, ``drawn``. Images without any object are
        the class ``(none)`` with ``images`` alone.
    """
    pulls = {"plain": np.ones(len(weights)), "expected": weights}
    if drawn is not None and drawn.sum():
        pulls["drawn"] = drawn
    shares = {key: _shares(statistics, np.asarray(pull, float)) for key, pull in pulls.items()}
    classes = {
        name: {
            "images": {key: float(images[k]) for key, (images, _) in shares.items()},
            "instances": {key: float(objects[k]) for key, (_, objects) in shares.items()},
        }
        for k, name in enumerate(statistics.class_names)
    }
    classes["(none)"] = {"images": {key: float(images[-1]) for key, (images, _) in shares.items()}}
    num_drawn = 0 if drawn is None else int(drawn.sum())
    return {"num_images": len(weights), "num_drawn": num_drawn, "classes": classes}


def _shares(statistics: ClassStatistics, pull: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Percent of images with each class (then: with none), [K + 1]; percent of objects, [K]."""
    present = statistics.present
    with_class = np.append(pull @ present, pull @ ~present.any(1))
    objects = pull @ statistics.counts
    return 100 * with_class / pull.sum(), 100 * objects / max(objects.sum(), 1e-300)


def format_sampling_report(report: dict) -> str:
    """The report as a small table, one class a line."""
    columns = ["plain", "expected"] + ["drawn"] * (report["num_drawn"] > 0)
    width = max(len("class"), *(len(name) for name in report["classes"]))
    heads = [f"{what} {key}" for what in ("images", "objects") for key in columns]
    lines = [f"{'class':<{width}}  " + "  ".join(heads) + "   (percent)"]
    for name, shares in report["classes"].items():
        cells = [shares["images"][key] for key in columns]
        cells += [shares["instances"][key] for key in columns] if "instances" in shares else []
        texts = [f"{cell:>{len(head)}.1f}" for cell, head in zip(cells, heads, strict=False)]
        lines.append(f"{name:<{width}}  " + "  ".join(texts))
    return "\n".join(lines)
