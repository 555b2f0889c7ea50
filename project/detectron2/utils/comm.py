"""Ranks, barriers and exchange of Python objects between the processes of one run.

Follows the API of ``detectron2.utils.comm``. Better: objects travel over one gloo group per process
group (a stale one is never reused), `reduce_dict` gives the result to every rank, and all of it
answers at once, without a process group, for a single process.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

_local_group = None  # the processes of this machine; set by `create_local_process_group`


def _initialized() -> bool:
    return dist.is_available() and dist.is_initialized()


def get_world_size() -> int:
    """Number of processes of the run; 1 without a process group."""
    return dist.get_world_size() if _initialized() else 1


def get_rank() -> int:
    """Rank of this process among all; 0 without a process group."""
    return dist.get_rank() if _initialized() else 0


def is_main_process() -> bool:
    """Whether this process has rank 0: the one that logs, writes and evaluates."""
    return get_rank() == 0


def create_local_process_group(num_workers_per_machine: int) -> None:
    """Make the group of the processes of each machine; every process calls it once.

    Machine ``i`` holds the ranks ``i * n ... (i + 1) * n - 1``.

    Raises:
        AssertionError: if the world size is no multiple of ``num_workers_per_machine``.
    """
    global _local_group
    world, n = get_world_size(), num_workers_per_machine
    splits = n > 0 and world % n == 0
    assert splits, f"{world} processes don't split into machines of {n}"
    for first in range(0, world, n):  # every process takes part in making every group
        members = list(range(first, first + n))
        group = dist.new_group(members)
        if get_rank() in members:
            _local_group = group


def _local() -> dist.ProcessGroup:
    assert _local_group is not None, (
        "no local process group: start the run with engine.launch, or call "
        "comm.create_local_process_group after init_process_group"
    )
    return _local_group


def get_local_rank() -> int:
    """Rank of this process on its machine, which is also the index of its GPU."""
    return dist.get_rank(_local()) if _initialized() else 0


def get_local_size() -> int:
    """Number of processes on this machine."""
    return dist.get_world_size(_local()) if _initialized() else 1


def synchronize() -> None:
    """Wait until every process got here."""
    if get_world_size() > 1:
        # NCCL warns when it has to guess the device of a barrier.
        on_gpu = dist.get_backend() == "nccl"
        dist.barrier(device_ids=[torch.cuda.current_device()] if on_gpu else None)


@functools.lru_cache(maxsize=1)
def _gloo_twin(world: dist.ProcessGroup) -> dist.ProcessGroup:
    """A group of all ranks that can carry CPU tensors; ``world`` is the cache's key."""
    if dist.get_backend(world) == "gloo":
        return world
    return dist.new_group(backend="gloo")


def _object_group(group: dist.ProcessGroup | None) -> dist.ProcessGroup:
    return _gloo_twin(dist.group.WORLD) if group is None else group


def all_gather(data: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
    """The ``data`` (any picklable object) of every rank, in rank order, on every rank."""
    if get_world_size() == 1:
        return [data]
    group = _object_group(group)
    everyone: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(everyone, data, group=group)
    return everyone


def gather(data: Any, dst: int = 0, group: dist.ProcessGroup | None = None) -> list[Any]:
    """The ``data`` (any picklable object) of every rank on rank ``dst``; ``[]`` on the others."""
    if get_world_size() == 1:
        return [data]
    group = _object_group(group)
    received = [None] * dist.get_world_size(group) if dist.get_rank() == dst else None
    dist.gather_object(data, received, dst=dst, group=group)
    return received or []


def shared_random_seed() -> int:
    """An int in [0, 2**31) that NumPy's global generator of rank 0 draws; the same on all ranks.

    Every rank draws once, so their generators stay in step.
    """
    return all_gather(int(np.random.randint(2**31)))[0]


@torch.no_grad()
def reduce_dict(input_dict: dict[str, torch.Tensor], average: bool = True):
    """The mean (or the sum) over ranks of each tensor of a dict, in one exchange.

    Args:
        input_dict: the same keys on every rank, 0-d tensors (or equal shapes) of one device.
        average: divide by the number of ranks.

    Returns:
        A dict with the same keys; a single process gets ``input_dict`` itself.
    """
    world = get_world_size()
    if world == 1 or not input_dict:
        return input_dict
    names = sorted(input_dict)  # the insertion order may differ between ranks
    total = torch.stack([input_dict[name] for name in names])
    dist.all_reduce(total)
    if average:
        total = total / world
    return dict(zip(names, total, strict=True))
