"""Starting the processes of a run: one, several on this machine, several machines, or torchrun's.

`detectron2.engine.launch` serves GPUs. This one also runs several processes on the CPU of a machine
that has GPUs, joins the processes of ``torchrun``, hands signals on, and ends a failed run with the
message of the process that failed first (`project.engine.children`).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from project.engine import meeting
from project.engine.children import ignore_repeats, run_children
from project.errors import UserError

import torch
from detectron2.utils import comm


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


def restarted() -> bool:
    """Whether ``torchrun --max-restarts`` started this process again: it should then resume."""
    return under_torchrun() and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


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
        UserError: a process's user error, or flags that don't fit together; `ProcessDied` where a
            process ended without a word, `Stuck` where the watchdog ended the run.
        RuntimeError: with the traceback of the process that failed first.
        Interrupted: SIGTERM or SIGINT came, and the processes saved and stopped.
    """
    processes.check()
    if under_torchrun():
        rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
        local_size = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        _join(device, rank, int(os.environ["WORLD_SIZE"]), local_rank, local_size, "env://")
        ignore_repeats()
        _call(function, args)
    elif processes.world_size == 1:
        function(*args)
    else:
        _spawn(function, processes, device, args)


def _spawn(function: Callable, processes: Processes, device: str, args: tuple) -> None:
    url = processes.dist_url
    if url == "auto":
        url = f"tcp://127.0.0.1:{_free_port()}"
    first = processes.machine_rank * processes.num_gpus
    ranks = range(first, first + processes.num_gpus)
    run_children(_worker, ranks, (function, processes, device, url, args))


def _worker(rank: int, function, processes: Processes, device: str, url: str, args: tuple) -> None:
    local_rank = rank - processes.machine_rank * processes.num_gpus
    _join(device, rank, processes.world_size, local_rank, processes.num_gpus, url)
    ignore_repeats()
    _call(function, args)


def _join(device: str, rank: int, size: int, local_rank: int, local_size: int, url: str) -> None:
    if device == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // local_size))
    else:
        torch.cuda.set_device(local_rank)
    try:
        meeting.join("gloo" if device == "cpu" else "nccl", url, rank, size)
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
    meeting.leave()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
