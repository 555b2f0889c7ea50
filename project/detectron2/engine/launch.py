"""Start one process per GPU; follows ``detectron2.engine.launch``.

Better: the process group is destroyed at the end, and on one machine no address need be given.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import timedelta

import torch
import torch.distributed as dist

from ..utils import comm

__all__ = ["DEFAULT_TIMEOUT", "launch"]

DEFAULT_TIMEOUT = timedelta(minutes=30)


def launch(
    main_func: Callable,
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = None,
    args: tuple = (),
    timeout: timedelta = DEFAULT_TIMEOUT,
) -> None:
    """Run ``main_func(*args)`` in ``num_machines * num_gpus_per_machine`` processes.

    One process in all means this process. Otherwise each machine calls `launch` and spawns its
    share, joined in one process group: NCCL with CUDA, gloo on the CPU. Spawned processes find
    ``main_func`` by its module's name, so it must be importable there.

    Args:
        main_func: what to run.
        num_gpus_per_machine: processes a machine, one per GPU.
        num_machines: number of machines.
        machine_rank: 0-based number of this machine.
        dist_url: where the processes meet, e.g. ``tcp://10.0.0.1:23456``. "auto" takes a free port
            of this machine; so does None, unless the environment has ``MASTER_ADDR``.
        args: positional arguments of ``main_func``.
        timeout: of the exchanges between processes.

    Raises:
        AssertionError: for "auto" with several machines, or more processes than GPUs.
    """
    if num_machines * num_gpus_per_machine <= 1:
        main_func(*args)
        return
    if torch.cuda.is_available():
        gpus = torch.cuda.device_count()
        enough = num_gpus_per_machine <= gpus
        assert enough, f"{num_gpus_per_machine} processes asked for, this machine has {gpus} GPUs"
    ranks = (machine_rank, num_machines, num_gpus_per_machine)
    meeting_point = _meeting_point(dist_url, num_machines)
    torch.multiprocessing.spawn(
        _run_rank, (ranks, meeting_point, timeout, main_func, args), nprocs=num_gpus_per_machine
    )


def _meeting_point(dist_url: str | None, num_machines: int) -> str:
    if dist_url is None and (num_machines > 1 or "MASTER_ADDR" in os.environ):
        return "env://"
    if dist_url not in (None, "auto"):
        return dist_url
    assert num_machines == 1, "dist_url='auto' works on one machine: give tcp://<host>:<port>"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def _run_rank(
    local_rank: int,
    ranks: tuple[int, int, int],
    meeting_point: str,
    timeout: timedelta,
    main_func: Callable,
    args: tuple,
) -> None:
    """What a spawned process does."""
    machine_rank, num_machines, per_machine = ranks
    on_gpu = torch.cuda.is_available()
    if on_gpu:  # before the group: NCCL takes the current device
        torch.cuda.set_device(local_rank)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        init_method=meeting_point,
        world_size=num_machines * per_machine,
        rank=machine_rank * per_machine + local_rank,
        timeout=timeout,
    )
    comm.create_local_process_group(per_machine)
    comm.synchronize()
    main_func(*args)
    # Not in a `finally`: after a failure the others may be waiting in an exchange that never
    # completes, and tearing NCCL down would wait with them. The parent ends them instead.
    comm.synchronize()
    dist.destroy_process_group()
