"""Data loaders for training (infinite) and testing (one pass).

Follows the API of ``detectron2.data.build``. What is better here: workers hand over whole batches,
also when images are grouped by shape, so that fewer messages pass between processes and the batches
of a seed are the same for every number of workers (as far as the mapper isn't random).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from ..utils import comm
from ..utils.env import seed_all_rng
from .common import AspectRatioGroupedDataset, DatasetFromList, MapDataset, ToIterableDataset
from .dataset_dicts import get_detection_dataset_dicts
from .samplers import InferenceSampler, TrainingSampler

__all__ = [
    "build_batch_data_loader",
    "build_detection_test_loader",
    "build_detection_train_loader",
    "get_detection_dataset_dicts",
    "trivial_batch_collator",
    "worker_init_reset_seed",
]


def build_detection_train_loader(
    dataset: list | Dataset,
    *,
    mapper: Callable[[dict], Any] | None,
    sampler: Sampler | None = None,
    total_batch_size: int | None,
    aspect_ratio_grouping: bool = True,
    num_workers: int = 0,
    collate_fn: Callable | None = None,
    **kwargs,
) -> Iterable:
    """Batches of mapped records, for ever.

    Args:
        dataset: records, or a map-style or iterable dataset of them.
        mapper: record → model input; None leaves records as they are. A record that it maps to None
            is replaced by another one (left out, in an iterable dataset).
        sampler: order of the records; by default `TrainingSampler`. Must be None for an iterable
            dataset.
        total_batch_size: images in a step, over all processes.
        aspect_ratio_grouping: see `AspectRatioGroupedDataset`; mapped records need ``width`` and
            ``height``.
        num_workers: processes that load; 0 loads in this one.
        collate_fn: list of mapped records → batch; None gives the list.
        **kwargs: see `build_batch_data_loader`.

    Raises:
        AssertionError: for a sampler that is no torch `Sampler`, or that comes with an iterable
            dataset, and for a batch size that isn't positive or not divisible.
    """
    dataset = _mapped(dataset, mapper, sampler)
    if not isinstance(dataset, IterableDataset):
        sampler = TrainingSampler(len(dataset)) if sampler is None else sampler
        assert isinstance(sampler, Sampler), f"Expected a torch Sampler, got {type(sampler)}"
    return build_batch_data_loader(
        dataset,
        sampler,
        total_batch_size,
        collate_fn=collate_fn,
        num_workers=num_workers,
        aspect_ratio_grouping=aspect_ratio_grouping,
        **kwargs,
    )


def build_batch_data_loader(
    dataset: Dataset,
    sampler: Sampler | None,
    total_batch_size: int | None,
    *,
    aspect_ratio_grouping: bool = False,
    num_workers: int = 0,
    collate_fn: Callable | None = None,
    seed: int | None = None,
    drop_last: bool = True,
    single_gpu_batch_size: int | None = None,
    pin_memory: bool = False,
    persistent_workers: bool = False,
    prefetch_factor: int | None = 2,
    **kwargs,
) -> Iterable:
    """Batches of ``dataset`` in the order of ``sampler``.

    Args:
        dataset: map-style, or iterable (then ``sampler`` is None).
        sampler: yields indices of ``dataset``.
        total_batch_size: batch size over all processes; each gets its ``world_size``-th part.
        aspect_ratio_grouping: see `AspectRatioGroupedDataset`.
        num_workers: processes that load; 0 loads in this one.
        collate_fn: list of items → batch; None gives the list.
        seed: of the generator that seeds the workers; None takes the global one of torch.
        drop_last: leave out the last batch of a finite dataset if it is incomplete (grouped batches
            always do).
        single_gpu_batch_size: batch size of each process, instead of ``total_batch_size``.
        pin_memory: copy tensors into page-locked memory, for a faster way to a GPU.
        persistent_workers: keep workers from one iteration over the loader to the next.
        prefetch_factor: batches that each worker prepares ahead; no effect without workers.
        **kwargs: go to `torch.utils.data.DataLoader`.

    Raises:
        ValueError: if both batch sizes are given.
        AssertionError: if the batch size isn't positive or not divisible by the world size.
    """
    batch_size = _batch_size_per_process(total_batch_size, single_gpu_batch_size)
    if sampler is not None:
        dataset = ToIterableDataset(dataset, sampler, shard_chunk_size=batch_size)
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        # A grouped loader takes its lists apart again: an incomplete one may fill a bucket.
        drop_last=drop_last and not aspect_ratio_grouping,
        num_workers=num_workers,
        collate_fn=(not aspect_ratio_grouping and collate_fn) or trivial_batch_collator,
        worker_init_fn=worker_init_reset_seed,
        prefetch_factor=prefetch_factor if num_workers > 0 else None,
        persistent_workers=persistent_workers and num_workers > 0,
        pin_memory=pin_memory,
        generator=None if seed is None else torch.Generator().manual_seed(seed),
        **kwargs,
    )
    if not aspect_ratio_grouping:
        return loader
    return AspectRatioGroupedDataset(_Unbatched(loader), batch_size, collate_fn)


def build_detection_test_loader(
    dataset: list | Dataset,
    *,
    mapper: Callable[[dict], Any] | None,
    sampler: Sampler | None = None,
    batch_size: int = 1,
    num_workers: int = 0,
    collate_fn: Callable | None = None,
) -> DataLoader:
    """Batches of mapped records, each record once over all processes; the last may be smaller.

    Args:
        dataset: records, or a map-style or iterable dataset of them.
        mapper: record → model input; None leaves records as they are.
        sampler: by default `InferenceSampler`, which cuts the dataset into one contiguous piece for
            each process. Must be None for an iterable dataset.
        batch_size: images of this process in a batch.
        num_workers: processes that load; 0 loads in this one.
        collate_fn: list of mapped records → batch; None gives the list.

    Raises:
        AssertionError: if a sampler comes with an iterable dataset.
    """
    dataset = _mapped(dataset, mapper, sampler)
    if sampler is None and not isinstance(dataset, IterableDataset):
        sampler = InferenceSampler(len(dataset))
    return DataLoader(
        dataset,
        batch_size,
        sampler=sampler,
        collate_fn=collate_fn or trivial_batch_collator,
        num_workers=num_workers,
    )


def _mapped(dataset: list | Dataset, mapper: Callable | None, sampler: Sampler | None) -> Dataset:
    """``dataset`` with ``mapper`` applied to its items; an iterable one comes without a sampler."""
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    if mapper is not None:
        dataset = MapDataset(dataset, mapper)
    if isinstance(dataset, IterableDataset):
        assert sampler is None, "An iterable dataset has its own order; sampler must be None"
    return dataset


class _Unbatched:
    """The items of the lists of a loader, one by one."""

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader

    def __iter__(self):
        return itertools.chain.from_iterable(self.loader)


def trivial_batch_collator(batch: list) -> list:
    """The list of items itself: images of different sizes can't be stacked."""
    return batch


def worker_init_reset_seed(worker_id: int) -> None:
    """Seed numpy, torch and random of a worker, each worker and each loader differently."""
    seed_all_rng(torch.initial_seed() % 2**31 + worker_id)


def _batch_size_per_process(total: int | None, per_process: int | None) -> int:
    if per_process:
        if total:
            raise ValueError(
                f"Give one batch size: total_batch_size={total} or "
                f"single_gpu_batch_size={per_process}, not both"
            )
        return per_process
    world_size = comm.get_world_size()
    assert (total or 0) > 0, f"total_batch_size={total} must be positive"
    assert total % world_size == 0, (
        f"total_batch_size={total} must be divisible by the {world_size} processes"
    )
    return total // world_size
