"""The watchdog: names the process that a run waits for, dumps stacks, and ends the run.

In a run of several processes, one that hangs makes all others wait in a collective, and nothing
says which one it is. Here the training loop says where it is (`Watchdog.beat`, a note in memory:
about a microsecond), and a thread in every process publishes that note, with its age, in the
key-value store of the process group. That works across machines, needs no shared folder and no
synchronised clocks. A process whose thread is silent counts from its last sign of life.

The late process is the one that has come least far; the others wait for it. So a main process that
writes a checkpoint while the others stand in the next step is judged by what it does itself.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from project.engine import meeting
from project.engine.children import RESUME, STUCK_CODE, say

import torch.distributed as dist

logger = logging.getLogger(__name__)

# What may take much longer than a step, in which one process may work alone.
SLOW_PHASES = frozenset({"start", "evaluation", "checkpoint", "pictures"})
SLOWER = 12  # their limit in time-outs: two hours at the default


class Sign(NamedTuple):
    """How far a process came and how long ago it said so."""

    rank: int
    phase: str
    iteration: int
    count: int  # beats before this one in the same iteration
    age: float  # seconds
    done: bool = False

    @property
    def progress(self) -> tuple[int, int]:
        return self.iteration, self.count


def limit_of(phase: str, timeout: float) -> float:
    """Seconds that a phase may last without a further beat."""
    return timeout * (SLOWER if phase in SLOW_PHASES else 1)


def find_late(signs: list[Sign], timeout: float) -> Sign | None:
    """The process that all wait for, if it is over its limit.

    Of those that came least far it is the one that has been silent longest.
    """
    running = [sign for sign in signs if not sign.done]
    if not running:
        return None
    least = min(sign.progress for sign in running)
    late = max((s for s in running if s.progress == least), key=lambda s: s.age)
    return late if late.age > limit_of(late.phase, timeout) else None


class Watchdog:
    """Ends a run in which a process hangs, with the name of that process.

    Use it as a context manager, or call `start` and `stop`, in every process of the run. In a run
    of one process it watches that process, e.g. a loader's worker that never answers.

    Args:
        output_dir: the run folder; stacks go to ``stacks/rank<k>.txt`` in it. There is no such file
            while nothing went wrong.
        timeout: seconds that a step may last; a phase of `SLOW_PHASES` may last `SLOWER` times as
            long. 0 switches the watchdog off.

    SIGUSR1 (``kill -USR1 PID``) makes a process of the run add its stacks to the file at any time.
    """

    def __init__(
        self, output_dir: str | Path, rank: int = 0, world_size: int = 1, timeout: float = 600.0
    ) -> None:
        self.file = Path(output_dir, "stacks", f"rank{rank}.txt")
        self.rank, self.world_size, self.timeout = rank, world_size, timeout
        self._period = min(5.0, max(0.1, timeout / 10))
        self._note = ("start", -1, 0, time.monotonic())
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._store: dist.Store | None = None
        self._round_number = 0

    def __enter__(self) -> Watchdog:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start watching; the run is in the phase "start"."""
        if not self.timeout or self._thread:
            return
        if self.world_size > 1:
            self._store = meeting.connect("watchdog")
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._stacks = self.file.open("a", encoding="utf-8")
        # Loader processes are forked later and inherit it.
        faulthandler.register(signal.SIGUSR1, file=self._stacks, all_threads=True)
        self._note = ("start", -1, 0, time.monotonic())
        self._seen = {rank: ("", time.monotonic()) for rank in range(self.world_size)}
        self._reached = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def beat(self, phase: str, iteration: int) -> None:
        """Say that this process begins ``phase`` of ``iteration``.

        All processes should beat at the same places of a step; the main one may do so at more.
        """
        _, last, count, _ = self._note
        count = count + 1 if iteration == last else 0
        self._note = (phase, iteration, count, time.monotonic())

    def stop(self) -> None:
        """This process is done; the others may go on."""
        if not self._thread:
            return
        self._done.set()
        self._thread.join(timeout=2 * self._period)
        faulthandler.cancel_dump_traceback_later()
        faulthandler.unregister(signal.SIGUSR1)
        self._thread = self._store = None
        self._stacks.close()
        if not self.file.stat().st_size:
            self.file.unlink()
            with suppress(OSError):  # others' stacks are in it, or another process removed it
                self.file.parent.rmdir()

    # ---- in the watchdog's thread ----

    def _watch(self) -> None:
        while not self._done.wait(self._period):
            self._guard_against_a_held_interpreter()
            if text := self._round():
                self._end(text)
        self._exchange(self._sign(done=True))

    def _guard_against_a_held_interpreter(self) -> None:
        """Have the stacks dumped by a C thread if this one doesn't get to run any more.

        Alone, the process ends then; otherwise another one finds that this one is silent.
        """
        limit = limit_of(self._note[0], self.timeout) + 2 * self._period
        faulthandler.dump_traceback_later(limit, file=self._stacks, exit=self.world_size == 1)

    def _sign(self, *, done: bool = False) -> Sign:
        phase, iteration, count, when = self._note
        return Sign(self.rank, phase, iteration, count, time.monotonic() - when, done)

    def _round(self) -> str:
        """Publish, read, judge; the alarm's text, or "" where all is well."""
        mine = self._sign()
        if self._store is None:
            late = find_late([mine], self.timeout)
            return self._describe(late, [mine]) if late else ""
        signs = self._exchange(mine)
        if signs is None:
            silent = time.monotonic() - self._reached
            return self._describe_lost(silent) if silent > self.timeout else ""
        try:
            late = find_late(signs, self.timeout)
            if late:  # of all that found one, the first is right
                text = self._describe(late, signs)
                return self._store.compare_set("alarm", "", text).decode()
            return self._store.get("alarm").decode() if self._store.check(["alarm"]) else ""
        except RuntimeError:
            return ""  # the store went away meanwhile: the next round tells

    def _exchange(self, mine: Sign) -> list[Sign] | None:
        """The signs of all processes; None if the store, in the main process, doesn't answer."""
        if self._store is None:
            return None
        self._round_number += 1
        try:
            self._store.set(f"sign/{self.rank}", json.dumps([self._round_number, *mine]))
            signs = [self._read(rank) for rank in range(self.world_size)]
        except RuntimeError:
            return None
        self._reached = time.monotonic()
        return signs

    def _read(self, rank: int) -> Sign:
        key, now = f"sign/{rank}", time.monotonic()
        text, since = self._seen[rank]
        if text or self._store.check([key]):
            newest = self._store.get(key).decode()
            if newest != text:
                text, since = self._seen[rank] = newest, now
        if not text:  # not yet started
            return Sign(rank, "start", -1, 0, now - since)
        sign = Sign(*json.loads(text)[1:])
        return sign._replace(age=sign.age + now - since)

    def _describe(self, late: Sign, signs: list[Sign]) -> str:
        since = datetime.now() - timedelta(seconds=late.age)
        others = "; ".join(
            f"process {s.rank} in {s.phase} of iteration {s.iteration} for {s.age:.0f} s"
            for s in signs[:16]
            if s.rank != late.rank and not s.done
        )
        return (
            f"process {late.rank} of {self.world_size} is late: in {late.phase} of iteration "
            f"{late.iteration} since {since:%Y-%m-%d %H:%M:%S} ({late.age:.0f} s); "
            + (f"the others wait ({others}); " if others else "")
            + f"all stacks are in {self.file.parent}; {RESUME}, or allow more time with "
            f"train.watchdog.timeout"
        )

    def _describe_lost(self, seconds: float) -> str:
        return (
            f"process {self.rank} of {self.world_size}: the main process has not answered for "
            f"{seconds:.0f} s; the stacks of the others are in {self.file.parent}; {RESUME}"
        )

    def _end(self, text: str) -> None:
        """Dump, tell, and end this process, whatever its other threads are stuck in."""
        # A full or absent disk, or a lock that the main thread holds, must not stop the end.
        _within(5.0, self._dump, text)
        for process in multiprocessing.active_children():
            process.kill()  # a stuck loader process would outlive this one
        _within(2 * self._period + 1.0, self._wait_for_dumps)
        if not say("stuck", text) and self.rank == 0:
            os.write(2, f"error: {text}\n".encode())
        os._exit(STUCK_CODE)

    def _dump(self, text: str) -> None:
        self._stacks.write(f"{text}\nprocess {self.rank}:\n")
        self._stacks.flush()
        faulthandler.dump_traceback(file=self._stacks, all_threads=True)
        if loaders := multiprocessing.active_children():
            self._stacks.write(f"then the {len(loaders)} loader processes of {self.rank}:\n")
            self._stacks.flush()
            for process in loaders:
                os.kill(process.pid, signal.SIGUSR1)
            time.sleep(0.3)
        frame = sys._current_frames().get(threading.main_thread().ident)
        stack = "".join(traceback.format_stack(frame))
        logger.critical("%s\nprocess %d is at\n%s", text, self.rank, stack)

    def _wait_for_dumps(self) -> None:
        """The first process to end takes the others along, so it waits until they have dumped."""
        if self._store is None:
            return
        dumped, deadline = self._store.add("dumped", 1), time.monotonic() + 2 * self._period
        while dumped < self.world_size and time.monotonic() < deadline:
            time.sleep(0.05)
            dumped = self._store.add("dumped", 0)
        if self.rank == 0:  # the store lives here
            time.sleep(0.2)


def _within(seconds: float, function: Callable, *args: object) -> None:
    """Call a function, but go on after so many seconds or when it fails."""

    def call() -> None:
        try:
            function(*args)
        except Exception:
            traceback.print_exc()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(timeout=seconds)
