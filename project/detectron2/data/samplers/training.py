"""Infinite, exactly reproducible streams of image indices for training.

Follows the API of ``detectron2.data.samplers.TrainingSampler`` and
``.RepeatFactorTrainingSampler``, with the same streams for the same seeds.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from ...utils import comm

__all__ = ["RepeatFactorTrainingSampler", "TrainingSampler"]


class _EpochStream(Sampler[int]):
    """One infinite stream for all processes; rank r of R takes its places r, r + R, r + 2R, …

    Splitting the stream, not the dataset, keeps the order of images over all processes the same for
    every number of them.
    """

    def __init__(self, shuffle: bool, seed: int | None) -> None:
        self._shuffle = shuffle
        self._seed = comm.shared_random_seed() if seed is None else int(seed)
        self._rank, self._world_size = comm.get_rank(), comm.get_world_size()

    def _epoch(self, generator: torch.Generator) -> torch.Tensor:
        """The indices of one epoch in order, int64 of any length."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(self._stream(), self._rank, None, self._world_size)

    def _stream(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed)
        while True:
            indices = self._epoch(generator)
            if self._shuffle:
                indices = indices[torch.randperm(len(indices), generator=generator)]
            yield from indices.tolist()


class TrainingSampler(_EpochStream):
    """Every index of ``range(size)`` once an epoch, for ever.

    Args:
        size: images in the dataset.
        shuffle: draw a new order for each epoch; else 0, 1, …, size - 1.
        seed: of all shuffles; None draws one, the same for all processes.

    Raises:
        TypeError: if ``size`` is no integer.
        ValueError: if ``size`` isn't positive.
    """

    def __init__(self, size: int, shuffle: bool = True, seed: int | None = None) -> None:
        if not isinstance(size, int):
            raise TypeError(f"size must be an int, got {size!r}")
        if size <= 0:
            raise ValueError(f"size must be positive, got {size}")
        self._size = size
        super().__init__(shuffle, seed)

    def _epoch(self, generator: torch.Generator) -> torch.Tensor:
        return torch.arange(self._size)


class RepeatFactorTrainingSampler(_EpochStream):
    """Images come up in proportion to their repeat factors (Gupta et al., LVIS, 2019, section B.2).

    In each epoch image i comes ``floor(f_i)`` times, and once more with probability
    ``f_i - floor(f_i)``.

    Args:
        repeat_factors: float [N], f_i ≥ 0.
        shuffle: draw a new order for each epoch; else indices ascend.
        seed: of all draws; None draws one, the same for all processes.

    Raises:
        AssertionError: if no factor is positive, as the stream would never yield.
    """

    def __init__(
        self, repeat_factors: torch.Tensor, *, shuffle: bool = True, seed: int | None = None
    ) -> None:
        assert bool((repeat_factors > 0).any()), "No image has a positive repeat factor"
        self._whole = repeat_factors.trunc()
        self._fraction = repeat_factors - self._whole
        super().__init__(shuffle, seed)

    @staticmethod
    def repeat_factors_from_category_frequency(
        dataset_dicts: list[dict], repeat_thresh: float, sqrt: bool = True
    ) -> torch.Tensor:
        """A factor for each image, from the rarest of its categories.

        With f the fraction of images that show a category, its factor is ``max(1, sqrt(t / f))``,
        or ``max(1, t / f)`` without ``sqrt``; an image has the largest factor of its categories.

        Args:
            dataset_dicts: records with ``annotations``.
            repeat_thresh: t; categories that are rarer are repeated.
            sqrt: take the root.

        Returns:
            float32 [N]; 1.0 for images without annotations.
        """
        shown = [
            {anno["category_id"] for anno in record["annotations"]} for record in dataset_dicts
        ]
        images_with = Counter(itertools.chain.from_iterable(shown))
        power = 0.5 if sqrt else 1.0
        factor = {
            category: max(1.0, (repeat_thresh * len(shown) / images) ** power)
            for category, images in images_with.items()
        }
        return torch.tensor(
            [max((factor[category] for category in image), default=1.0) for image in shown],
            dtype=torch.float32,
        )

    def _epoch(self, generator: torch.Generator) -> torch.Tensor:
        extra = torch.rand(len(self._fraction), generator=generator) < self._fraction
        times = self._whole.to(torch.int64) + extra
        return torch.repeat_interleave(torch.arange(len(times)), times)
