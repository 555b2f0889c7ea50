"""The order in which a run sees its samples: a function of the place alone, the same on all ranks.

A sampler's stream, or its draws rearranged so that the images of a batch are all wide or all high.
Detectron2 fills two buckets for ever, so that what waits in them depends on the whole past, and
each rank has its own. Here the buckets are emptied after every block of draws, and batches are
those of all ranks together: any place can be found again from its number, on any number of ranks.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from itertools import count, islice
from typing import NamedTuple

from project.data.sampler import WeightedSampler

import numpy as np
from detectron2.utils import comm
from torch.utils.data import Sampler

BLOCK = 64  # batches: at most one of so many mixes wide and high images


class Draw(NamedTuple):
    """An image, and its place in the run's stream of samples, all ranks together."""

    index: int
    position: int


class SampleOrder:
    """The images of a run, batch after batch: batch n stands at n * batch_size and after.

    Args:
        sampler: of the whole stream, from its beginning on.
        batch_size: of all ranks together.
        wide: bool [N], whether each image is wider than high. Of each block of ``BLOCK`` batches,
            a batch comes as soon as the stream has brought ``batch_size`` images of its kind, and
            last the one that is left of both. None leaves the stream as it is.
    """

    def __init__(
        self, sampler: WeightedSampler, batch_size: int, wide: np.ndarray | None = None
    ) -> None:
        self.sampler = sampler
        self._batch_size, self._wide = batch_size, wide
        self._block_size = BLOCK * batch_size

    def indices(self, start: int = 0) -> Iterator[int]:
        """The images from place ``start`` on, for ever; costs one pass of the sampler and a block.

        Args:
            start: any place, also inside a batch.
        """
        number, skip = divmod(start, self._block_size)
        ahead = copy.copy(self.sampler)
        ahead.start = number * self._block_size
        draws = iter(ahead)
        while True:
            block = np.fromiter(islice(draws, self._block_size), np.int64, self._block_size)
            yield from self._rearranged(block)[skip:].tolist()
            skip = 0

    def digest(self) -> str:
        """16 hexadecimal digits of the weights and of what is grouped."""
        wide = b"" if self._wide is None else np.packbits(self._wide).tobytes()
        return hashlib.sha256(self.sampler.weights.tobytes() + wide).hexdigest()[:16]

    def counts(self, stop: int) -> np.ndarray:
        """int64 [N]: how often each image stands before place ``stop``."""
        whole = stop // self._block_size * self._block_size
        rest = list(islice(self.indices(whole), stop - whole))
        counts = self.sampler.draws(whole)
        return counts + np.bincount(np.array(rest, np.int64), minlength=len(counts))

    def _rearranged(self, block: np.ndarray) -> np.ndarray:
        """The draws of a block, each batch of one orientation but the last, in order of arrival."""
        if self._wide is None:
            return block
        wide = self._wide[block]
        batches, left = [], []
        for places in (np.flatnonzero(wide), np.flatnonzero(~wide)):
            whole = len(places) // self._batch_size * self._batch_size
            batches.append(places[:whole].reshape(-1, self._batch_size))
            left.append(places[whole:])
        full = np.concatenate(batches)
        full = full[np.argsort(full[:, -1])]
        return block[np.concatenate([full.reshape(-1), np.sort(np.concatenate(left))])]


class RankDraws(Sampler[Draw]):
    """This rank's draws for ever: of each batch every ``world_size``-th, from its ``rank`` on.

    Args:
        start: places of the order that are behind us, whole batches.
        rank, world_size: of this process by default; the batch size is a multiple of the latter.
    """

    def __init__(
        self,
        order: SampleOrder,
        start: int = 0,
        *,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self._order, self._start = order, start
        # Loader processes iterate, and they belong to no process group.
        self._rank = comm.get_rank() if rank is None else rank
        self._world_size = comm.get_world_size() if world_size is None else world_size

    def __iter__(self) -> Iterator[Draw]:
        draws = map(Draw, self._order.indices(self._start), count(self._start))
        return islice(draws, self._rank, None, self._world_size)
