"""Each image once, over all processes.

Follows the API of ``detectron2.data.samplers.InferenceSampler``.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Sampler

from ...utils import comm

__all__ = ["InferenceSampler"]


class InferenceSampler(Sampler[int]):
    """A contiguous piece of ``range(size)`` for each process; the first ones get the remainder.

    Contiguous pieces keep the gathered predictions in the order of the dataset, and no image is
    seen twice to make the pieces equal; a process may get none.

    Args:
        size: images in the dataset.

    Raises:
        AssertionError: if ``size`` isn't positive.
    """

    def __init__(self, size: int) -> None:
        assert size > 0, f"A sampler over {size} images would be empty"
        rank, world_size = comm.get_rank(), comm.get_world_size()
        share, remainder = divmod(size, world_size)
        start = rank * share + min(rank, remainder)
        self._piece = range(start, start + share + (rank < remainder))

    def __iter__(self) -> Iterator[int]:
        return iter(self._piece)

    def __len__(self) -> int:
        return len(self._piece)
