"""Runs as processes of their own, as many at once as there are devices; crashes stay alone."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from project.engine.children import describe_exit
from project.engine.interrupt import EXIT_CODE
from project.errors import UserError
from project.experiments.store import DONE, FAILED, PRUNED, WAITING, Record, SweepStore

logger = logging.getLogger(__name__)

STOPPED = (EXIT_CODE, -signal.SIGTERM, -signal.SIGINT)  # exit codes of a run that was asked to end


class Source(Protocol):
    """Where the pool gets its work."""

    def take(self) -> Record | None:
        """The next run to do; None where there is none at the moment."""

    def is_hopeless(self, record: Record) -> bool:
        """Whether a run at work should be pruned."""

    def finished(self, record: Record) -> None:
        """Hear that a run is done, failed or pruned."""


@dataclass(frozen=True)
class Slot:
    """A place for one process: its name, and what its environment says."""

    name: str
    environment: dict[str, str]


def find_slots(jobs: int | None) -> list[Slot]:
    """One slot for each GPU; without any, or where ``jobs`` is given, that many on the CPU.

    CPU slots share the cores: each process gets its part of them as ``OMP_NUM_THREADS``.
    """
    if jobs is not None and jobs < 1:
        raise UserError(f"--jobs {jobs}: expected at least 1")
    if jobs is None and (devices := _gpus()):
        return [Slot(f"GPU {d}", {"CUDA_VISIBLE_DEVICES": d}) for d in devices]
    jobs = jobs or 1
    cores = len(os.sched_getaffinity(0))
    threads = {"OMP_NUM_THREADS": str(max(cores // jobs, 1)), "CUDA_VISIBLE_DEVICES": ""}
    return [Slot(f"CPU {number}", threads) for number in range(jobs)]


def _gpus() -> list[str]:
    """What ``CUDA_VISIBLE_DEVICES`` may say to mean one GPU each."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = [d.strip() for d in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if d.strip()]
    return named[:count] or [str(number) for number in range(count)]


def run_command(tool: Path, store: SweepStore, record: Record) -> list[str]:
    """The command of a run; one that was begun is resumed."""
    run_dir = store.run_dir(record.point.name)
    command = [sys.executable, str(tool), "--config-file", record.point.config]
    if run_dir.is_dir() and any(run_dir.iterdir()):
        command.append("--resume")
    return [*command, *record.point.overrides, f"train.output_dir={quoted(run_dir)}"]


def quoted(path: Path) -> str:
    """A path as an override's value: in quotes where it holds more than letters, digits and /._+-.

    Hydra's grammar takes no other signs bare, not even letters beyond ASCII.
    """
    text = str(path)
    if re.fullmatch(r"[A-Za-z0-9/._+-]+", text):
        return text
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)  # backslashes count only before a quote
    return f"'{escaped}'"


@dataclass
class Job:
    """A run at work."""

    record: Record
    slot: Slot
    process: subprocess.Popen
    began: float
    pruned: bool = False


class Pool:
    """Works through a source's runs, one process in each slot.

    Args:
        tool: the training script.
        lock: a file number of `SweepStore.lock`, which the processes inherit.
        patience: seconds that a run gets to save itself after SIGTERM, before it is killed.
    """

    def __init__(
        self,
        tool: Path,
        store: SweepStore,
        slots: Sequence[Slot],
        lock: int,
        *,
        patience: float = 120.0,
        poll: float = 0.2,
    ) -> None:
        self.tool, self.store, self.lock = tool, store, lock
        self.patience, self.poll = patience, poll
        self.free = list(slots)
        self.jobs: list[Job] = []

    def work(self, source: Source) -> None:
        """Do all that ``source`` gives; whatever ends this ends the runs too, cleanly."""
        try:
            while self._start(source) or self.jobs:
                time.sleep(self.poll)
                self._look(source)
        finally:
            self._stop(source)

    def _start(self, source: Source) -> bool:
        """Fill the free slots; whether anything was started."""
        started = False
        while self.free and (record := source.take()) is not None:
            slot = self.free.pop(0)
            command = run_command(self.tool, self.store, record)
            log = self.store.folder / "logs" / f"{record.point.name}.txt"
            log.parent.mkdir(exist_ok=True)
            with open(log, "ab") as output:
                process = subprocess.Popen(
                    command,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, **slot.environment},
                    pass_fds=[self.lock],
                    start_new_session=True,  # Ctrl-C reaches the sweep alone, which tells its runs
                )
            logger.info("%s: %s", slot.name, record.point.name)
            self.jobs.append(Job(record, slot, process, time.monotonic()))
            started = True
        return started

    def _look(self, source: Source) -> None:
        """Book the runs that ended; prune those that are hopeless."""
        for job in list(self.jobs):
            if job.process.poll() is not None:
                self._book(job, source)
            elif not job.pruned and source.is_hopeless(job.record):
                job.pruned = True
                job.process.terminate()

    def _book(self, job: Job, source: Source) -> None:
        self.jobs.remove(job)
        self.free.append(job.slot)
        record, code = job.record, job.process.returncode
        record.seconds += time.monotonic() - job.began
        record.exit, record.error = code, ""
        if code == 0 and self.store.is_done(record):
            record.state = DONE
        elif job.pruned and code in STOPPED:
            record.state = PRUNED
        elif code in STOPPED:
            record.state = WAITING
        else:
            record.state = FAILED
            record.attempts += 1
            record.error = error_line(self.store.folder / "logs" / f"{record.point.name}.txt", code)
        logger.info(
            "%s: %s after %.0f s%s",
            record.point.name,
            record.state,
            record.seconds,
            f": {record.error}" if record.error else "",
        )
        if record.state != WAITING:
            source.finished(record)
        self.store.save()

    def _stop(self, source: Source) -> None:
        """Ask the runs that are left to save and end; kill those that don't."""
        for job in self.jobs:
            job.process.terminate()
        until = time.monotonic() + self.patience
        try:
            for job in self.jobs:
                job.process.wait(max(until - time.monotonic(), 0))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):  # too slow, or Ctrl-C again
            for job in self.jobs:
                job.process.kill()
                job.process.wait()
                job.process.returncode = -signal.SIGTERM  # asked to end, as the others
        for job in list(self.jobs):
            self._book(job, source)


def error_line(log: Path, code: int) -> str:
    """What a failed run said last: its ``error:`` line, or the last line of its output."""
    text = log.read_bytes()[-20_000:].decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    said = (errors or lines or ["no output"])[-1]
    if code < 0:
        return f"{describe_exit(code)}; its last line: {said}"[:500]
    return said.removeprefix("error: ")[:500]
