"""Starting the processes of a run: one, several on this machine, several machines, or torchrun's.

`detectron2.engine.launch` serves GPUs. This one also runs several processes on the CPU of a machine
that has GPUs, joins the processes of ``torchrun``, and ends a failed run with the message of the
process that failed first.
"""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from project.errors import UserError

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import multiprocessing as mp


@dataclass(frozen=True)
class Processes:
    """How many processes a run has and where they meet; the fields are the tools' flags."""

    num_gpus: int = 1
    num_machines: int = 1
    machine_rank: int = 0
    dist_url: str = "auto"

    @property
    def world_size(self) -> int:
        """Processes of the whole run; under ``torchrun`` it is torchrun that says."""
        if under_torchrun():
            return int(os.environ["WORLD_SIZE"])
        return self.num_gpus * self.num_machines

    def check(self) -> None:
        """Raise a `UserError` unless the flags describe a run."""
        if under_torchrun():
            if (self.num_gpus, self.num_machines, self.machine_rank) != (1, 1, 0):
                raise UserError(
                    "torchrun says how many processes there are; leave out --num-gpus, "
                    "--num-machines and --machine-rank"
                )
            return
        for flag, number in (("gpus", self.num_gpus), ("machines", self.num_machines)):
            if number < 1:
                raise UserError(f"--num-{flag} {number}: expected at least 1")
        if not 0 <= self.machine_rank < self.num_machines:
            raise UserError(
                f"--machine-rank {self.machine_rank}: expected 0 to {self.num_machines - 1} with "
                f"--num-machines {self.num_machines}"
            )
        if self.num_machines > 1 and self.dist_url == "auto":
            raise UserError("several machines need --dist-url tcp://FIRST_MACHINE:PORT")


def under_torchrun() -> bool:
    """Whether this process was started by ``torchrun``."""
    return "LOCAL_RANK" in os.environ and "WORLD_SIZE" in os.environ


def speaks() -> bool:
    """Whether this process is the one that tells the user how a run ended."""
    return not under_torchrun() or os.environ.get("RANK") == "0"


def choose_device(wanted: str, processes: Processes) -> str:
    """The device for what ``train.device`` asks; one process without a GPU takes the CPU.

    Raises:
        UserError: if more GPUs are asked for than there are, or the device is unknown.
    """
    kind, _, number = str(wanted).partition(":")
    if kind not in ("cuda", "cpu") or (number and not number.isdecimal()):
        raise UserError(f"train.device={wanted}: expected 'cuda' or 'cpu'")
    if kind == "cpu":
        return "cpu"
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    needed = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if under_torchrun() else processes.num_gpus
    if available == 0 and needed == 1:
        return "cpu"
    if needed > available:
        raise UserError(
            f"{needed} GPUs were asked for and {available} found; start fewer processes "
            f"(--num-gpus, torchrun's --nproc-per-node), or add train.device=cpu to run "
            f"{needed} of them on the CPU"
        )
    if number and (processes.world_size > 1 or int(number) >= available):
        raise UserError(
            f"train.device={wanted}: this machine has {available} GPUs, counted from 0, and "
            f"several processes need train.device=cuda, which gives each its own"
        )
    return str(wanted)


def launch(function: Callable, processes: Processes, device: str, args: tuple = ()) -> None:
    """Call ``function(*args)`` in every process of the run, in this one if it is the only one.

    Args:
        function: importable by name from a module, since new processes are spawned.
        device: ``"cuda"`` (NCCL) or ``"cpu"`` (gloo), as `choose_device` gives it.

    Raises:
        UserError: a process's user error, or flags that don't fit together.
        RuntimeError: with the traceback of the process that failed first.
    """
    processes.check()
    if under_torchrun():
        rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
        local_size = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        _join(device, rank, int(os.environ["WORLD_SIZE"]), local_rank, local_size, "env://")
        _call(function, args)
    elif processes.world_size == 1:
        function(*args)
    else:
        _spawn(function, processes, device, args)


def _spawn(function: Callable, processes: Processes, device: str, args: tuple) -> None:
    url = processes.dist_url
    if url == "auto":
        url = f"tcp://127.0.0.1:{_free_port()}"
    failures = mp.get_context("spawn").SimpleQueue()
    context = mp.start_processes(
        _worker,
        args=(function, processes, device, url, failures, args),
        nprocs=processes.num_gpus,
        join=False,
        start_method="spawn",
    )
    try:
        while not context.join():
            pass
    except (mp.ProcessRaisedException, mp.ProcessExitedException) as error:
        # Whoever fails writes here before its connections close, so the first entry is the cause
        # and later ones are its victims.
        if failures.empty():
            raise RuntimeError(f"a process died without a word: {error}") from None
        rank, is_user_error, text = failures.get()
        if is_user_error:
            raise UserError(text) from None
        raise RuntimeError(f"process {rank} failed:\n{text}") from None
    except BaseException:  # Ctrl-C: nobody is left behind
        for process in context.processes:
            process.terminate()
        raise


def _worker(local_rank, function, processes, device, url, failures, args) -> None:
    rank = processes.machine_rank * processes.num_gpus + local_rank
    try:
        _join(device, rank, processes.world_size, local_rank, processes.num_gpus, url)
        _call(function, args)
    except UserError as error:
        failures.put((rank, True, str(error)))
        sys.exit(2)
    except Exception:
        failures.put((rank, False, traceback.format_exc()))
        sys.exit(1)


def _join(device: str, rank: int, size: int, local_rank: int, local_size: int, url: str) -> None:
    if device == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // local_size))
    else:
        torch.cuda.set_device(local_rank)
    backend = "gloo" if device == "cpu" else "nccl"
    try:
        dist.init_process_group(backend, init_method=url, world_size=size, rank=rank)
    except (RuntimeError, ValueError) as error:  # a wrong or used address, a firewall, a time-out
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"process {rank} of {size} can't meet the others at {url}: {reason}; check --dist-url"
        ) from error
    comm.create_local_process_group(local_size)
    comm.synchronize()


def _call(function: Callable, args: tuple) -> None:
    function(*args)
    comm.synchronize()
    dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
