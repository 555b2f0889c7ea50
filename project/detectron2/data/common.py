"""Datasets that store, map and stream records, and the grouping of images by their shape.

Follows the API of ``detectron2.data.common``. What is better here: records lie in two tensors that
forked *and* spawned workers share, and a grouped batch doesn't depend on the number of workers.
"""

from __future__ import annotations

import copy
import io
import logging
import pickle
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, Sampler, get_worker_info

__all__ = ["AspectRatioGroupedDataset", "DatasetFromList", "MapDataset", "ToIterableDataset"]

logger = logging.getLogger(__name__)

_TRIES_BEFORE_WARNING = 3


class DatasetFromList(Dataset):
    """A list as a dataset; item ``i`` is a copy that its receiver may change.

    Python objects are reference counted, so reading them in a forked worker copies their memory
    pages, and a spawned worker gets all of them anew. Serialised into one uint8 tensor (record i is
    ``buffer[offsets[i]:offsets[i + 1]]``, pickled), they are kept once for all processes:
    ``torch.multiprocessing`` hands tensors over as shared memory.

    Args:
        lst: records; picklable if ``serialize``.
        copy: without ``serialize``: give out deep copies instead of the objects themselves.
        serialize: keep the pickled bytes instead of the objects.
    """

    def __init__(self, lst: list, copy: bool = True, serialize: bool = True) -> None:
        self._copy = copy
        self._records = None if serialize else lst
        if serialize:
            self._buffer, self._offsets = _pack(lst)

    def __len__(self) -> int:
        return len(self._offsets) - 1 if self._records is None else len(self._records)

    def __getitem__(self, index: int) -> Any:
        if self._records is not None:
            record = self._records[index]
            return copy.deepcopy(record) if self._copy else record
        # `range` brings negative indices in order and raises IndexError beyond the ends.
        index = range(len(self))[index]
        start, end = self._offsets[index : index + 2].tolist()
        return pickle.loads(memoryview(self._buffer[start:end].numpy()))


def _pack(records: Iterable) -> tuple[torch.Tensor, torch.Tensor]:
    """Pickled records behind each other, uint8, and their N + 1 borders, int64."""
    stream, offsets = io.BytesIO(), [0]
    for record in records:
        pickle.dump(record, stream, protocol=pickle.HIGHEST_PROTOCOL)
        offsets.append(stream.tell())
    logger.info("Serialised %d records to %.2f MiB", len(offsets) - 1, offsets[-1] / 2**20)
    # Through numpy, because `torch.frombuffer` refuses an empty buffer; neither copies.
    buffer = torch.from_numpy(np.frombuffer(stream.getbuffer(), dtype=np.uint8))
    return buffer, torch.tensor(offsets, dtype=torch.int64)


class MapDataset(Dataset):
    """``dataset`` with ``map_func`` applied to each item; its length is that of ``dataset``.

    Where ``map_func`` returns None for an item (an unusable image), the result of another, randomly
    chosen item takes its place. Over an `IterableDataset` such items are skipped instead, and the
    object made is an `IterableDataset` too. Workers that are spawned need a picklable ``map_func``.

    Raises:
        RuntimeError: (when indexed) if ``map_func`` returned None for every item.
    """

    def __new__(cls, dataset: Dataset | IterableDataset, map_func: Callable):
        if isinstance(dataset, IterableDataset):
            return _MappedStream(dataset, map_func)
        return super().__new__(cls)

    def __init__(self, dataset: Dataset, map_func: Callable) -> None:
        self._dataset = dataset
        self._map_func = map_func
        # Private and fixed, so that a replacement disturbs no other random stream.
        self._rng = random.Random(42)
        self._unusable: set[int] = set()

    def __getnewargs__(self) -> tuple:
        return self._dataset, self._map_func  # `__new__` asks for them when unpickling

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        index, failures = int(index), 0
        while (item := self._map_func(self._dataset[index])) is None:
            self._unusable.add(index)
            failures += 1
            if failures == _TRIES_BEFORE_WARNING:
                logger.warning(
                    "The mapper returned None %d times in a row, last for item %d", failures, index
                )
            index = self._replacement()
        self._unusable.discard(index)
        return item

    def _replacement(self) -> int:
        candidates = [i for i in range(len(self)) if i not in self._unusable]
        if not candidates:
            raise RuntimeError(
                f"{self._map_func!r} returned None for all {len(self)} items of the dataset"
            )
        return self._rng.choice(candidates)


class _MappedStream(IterableDataset):
    """``dataset`` with ``map_func`` applied to each item; items that become None are left out."""

    def __init__(self, dataset: IterableDataset, map_func: Callable) -> None:
        self._dataset = dataset
        self._map_func = map_func

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator:
        return (item for item in map(self._map_func, self._dataset) if item is not None)


class ToIterableDataset(IterableDataset):
    """The items of a map-style dataset in the order of a sampler.

    Args:
        dataset: map-style dataset.
        sampler: yields indices of ``dataset``.
        shard_sampler: True: each of W workers takes its share of ``sampler``; False: every worker
            yields all of it (for samplers that know their worker).
        shard_chunk_size: worker w takes the chunks w, w + W, … of this many indices. With the batch
            size as chunk size, batches are the same for every number of workers.
    """

    def __init__(
        self,
        dataset: Dataset,
        sampler: Sampler,
        shard_sampler: bool = True,
        shard_chunk_size: int = 1,
    ) -> None:
        assert not isinstance(dataset, IterableDataset), "The dataset is iterable already"
        assert isinstance(sampler, Sampler), f"Expected a torch Sampler, got {type(sampler)}"
        assert shard_chunk_size > 0, f"Chunks of {shard_chunk_size} indices can't be made"
        self._dataset = dataset
        self._sampler = sampler
        self._shard_sampler = shard_sampler
        self._chunk = shard_chunk_size

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator:
        indices = iter(self._sampler)
        if self._shard_sampler and (worker := get_worker_info()) is not None:
            indices = _every_nth_chunk(indices, self._chunk, worker.id, worker.num_workers)
        return map(self._dataset.__getitem__, indices)


def _every_nth_chunk(stream: Iterator, size: int, first: int, step: int) -> Iterator:
    """The chunks ``first``, ``first + step``, … of ``size`` items of ``stream``."""
    place = 0
    for item in stream:
        if place // size == first:
            yield item
        place = (place + 1) % (size * step)


class AspectRatioGroupedDataset(IterableDataset):
    """Lists of ``batch_size`` items that are all wider than high, or all not: little padding.

    Two buckets are filled from ``dataset``; a bucket is given out as soon as it is full. What is
    left in them when ``dataset`` ends is dropped.

    Args:
        dataset: iterable of dicts with ``width`` and ``height``.
        batch_size: items in a list.
        collate_fn: applied to each list; None gives the list itself.
    """

    def __init__(
        self, dataset: Iterable[dict], batch_size: int, collate_fn: Callable | None = None
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self._collate_fn = collate_fn

    def __iter__(self) -> Iterator:
        buckets: dict[bool, list[dict]] = {True: [], False: []}
        for item in self.dataset:
            bucket = buckets[bool(item["width"] > item["height"])]
            bucket.append(item)
            if len(bucket) == self.batch_size:
                batch = bucket.copy()
                # Emptied before the consumer runs: it may stop here and iterate again.
                bucket.clear()
                yield batch if self._collate_fn is None else self._collate_fn(batch)
