"""The spawned processes of a run: signals are handed on, a death is explained, nobody is left over.

The parent waits for all of them. A process that fails says why through a pipe of its own before it
ends; one that the kernel kills can't, so its exit code is told instead, and the others, who would
wait for it in a collective for ever, are ended within seconds.
"""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection
from types import FrameType
from typing import NamedTuple

from project.engine import interrupt
from project.engine.interrupt import Interrupted
from project.errors import UserError

GRACE = 3.0  # seconds that the others get to end by themselves after one has failed
LEAVING = 300.0  # ... after one has left because it was asked to: the main one may still be saving
STUCK_CODE = 70  # EX_SOFTWARE of sysexits.h: the watchdog ended the run
RESUME = "go on from the newest checkpoint with --resume"

HINTS = {
    "SIGKILL": "often out of memory: the kernel's OOM killer, see dmesg; "
    "lower the batch or dataloader.train.num_workers",
    "SIGBUS": "often a full /dev/shm: lower dataloader.train.num_workers",
    "SIGSEGV": "a fault in compiled code, whose Python stack is above",
    "SIGABRT": "compiled code gave up, its reason is above",
}


class ProcessDied(UserError):
    """A process of the run ended without a word.

    Args:
        rank: its number among all processes of the run.
        exit_code: as `multiprocessing` tells it: minus the signal that ended it.
    """

    def __init__(self, rank: int, exit_code: int) -> None:
        super().__init__(f"process {rank} {describe_exit(exit_code)}; {RESUME}")
        self.rank = rank


class Stuck(UserError):
    """The watchdog ended the run; the message names the late process."""

    exit_code = STUCK_CODE


class LastWords(NamedTuple):
    """What a process says about its own failure."""

    when: float  # seconds of the machine's monotonic clock, the same for all its processes
    kind: str  # "user error", "interrupted", "stuck" or "failure"
    text: str


def describe_exit(exit_code: int) -> str:
    """How a process ended, in words, with the usual reason of that signal."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code} and no message"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:  # a real-time signal
        name = f"signal {-exit_code}"
    hint = HINTS.get(name)
    return f"was ended by {name}" + (f" ({hint})" if hint else "")


class _Child:
    """One process as its parent sees it."""

    def __init__(self, context, rank: int, function: Callable, args: tuple) -> None:
        self.rank = rank
        self.words: LastWords | None = None
        self.ended: float | None = None
        self.told = self.killed = False
        self._pipe, sender = context.Pipe(duplex=False)
        arguments = (function, rank, sender, os.getpid(), args)
        self.process = context.Process(target=_run_child, args=arguments)
        self.process.start()
        sender.close()

    @property
    def waits_on(self) -> list:
        """What `multiprocessing.connection.wait` may wait on for news of this process."""
        return [self.process.sentinel, *([self._pipe] if self._pipe else [])]

    def look(self) -> None:
        """Take in its words and whether it ended."""
        if self.ended is None and self.process.exitcode is not None:
            self.ended = time.monotonic()
        try:
            while self._pipe and self._pipe.poll():
                words = self._pipe.recv()
                self.words = self.words or words
        except (EOFError, OSError):  # it closed its end, perhaps in the middle of a word
            self._pipe = None

    def tell(self, number: int) -> None:
        if not self.told and self.process.is_alive():
            self.told = True
            os.kill(self.process.pid, number)

    def kill(self) -> None:
        if self.process.is_alive():
            self.killed = True
            self.process.kill()

    def sweep(self) -> None:
        """End what a failed process leaves in its group: loader processes, perhaps stuck ones."""
        if self.process.exitcode:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    @property
    def failed(self) -> bool:
        return bool(self.process.exitcode) and not self.killed

    @property
    def failed_at(self) -> float:
        """When it failed. A death without words is seen a moment after those it takes along fail.

        NCCL aborts its process when another one is lost, hence no such start for SIGABRT.
        """
        if self.words:
            return self.words.when
        return self.ended - (0 if self.process.exitcode == -signal.SIGABRT else 1)


class _Family:
    """All processes of this machine, and the signals that came for them."""

    def __init__(self) -> None:
        self.children: list[_Child] = []
        self.signal: int | None = None
        self.ended_at_once = False
        self._first = 0.0

    def hand_on(self, number: int, frame: FrameType | None) -> None:
        """The parent's signal handler: the first is handed on, a second one ends all at once."""
        if self.signal is None:
            self.signal, self._first = number, time.monotonic()
        elif time.monotonic() - self._first > interrupt.AGAIN:
            self.ended_at_once = True
            self.kill()
            return
        self.tell()

    def tell(self) -> None:
        for child in self.children:
            child.tell(self.signal)

    def kill(self) -> None:
        for child in self.children:
            child.kill()

    def wait(self) -> None:
        """Return when all have ended, by themselves or because one of them did and time was up."""
        deadline = float("inf")
        while alive := [child for child in self.children if child.ended is None]:
            patience = min(1.0, max(0.0, deadline - time.monotonic()))
            connection.wait([w for child in alive for w in child.waits_on], timeout=patience)
            for child in self.children:
                child.look()
            if self.signal is not None:
                self.tell()  # those who started after it came
            deadline = min([deadline, *map(_patience, self.children)])
            if time.monotonic() >= deadline:
                self.kill()

    def outcome(self) -> BaseException | None:
        """What the run ended with; None where all is well."""
        name = signal.Signals(self.signal).name if self.signal else ""
        if self.ended_at_once:
            return Interrupted(f"{name} came twice and the run was ended at once; {RESUME}")
        failed = sorted((c for c in self.children if c.failed), key=lambda c: c.failed_at)
        if any(c.process.exitcode == -self.signal for c in failed if self.signal):
            return Interrupted(f"stopped by {name} outside of training; {RESUME}")
        worse = [c for c in failed if c.process.exitcode != interrupt.EXIT_CODE]
        if worse:
            return _cause(worse[0])
        if failed:
            main = min(failed, key=lambda c: c.rank)
            return Interrupted(main.words.text if main.words else f"stopped; {RESUME}")
        return None


def _patience(child: _Child) -> float:
    """Until when the others may go on after this one ended as it did."""
    if child.ended is None or child.process.exitcode == 0:
        return float("inf")
    return child.ended + (LEAVING if child.process.exitcode == interrupt.EXIT_CODE else GRACE)


def _cause(child: _Child) -> Exception:
    if child.words is None:
        return ProcessDied(child.rank, child.process.exitcode)
    kind, text = child.words.kind, child.words.text
    if kind in ("user error", "stuck"):
        return UserError(text) if kind == "user error" else Stuck(text)
    return RuntimeError(f"process {child.rank} failed:\n{text}")


def run_children(function: Callable, ranks: range, args: tuple = ()) -> None:
    """Call ``function(rank, *args)`` in a spawned process for every rank; wait for all of them.

    SIGTERM and SIGINT are handed on once to each process, which is expected to save and to raise
    `Interrupted`; a second signal ends all at once. The processes have process groups of their own,
    so that Ctrl-C in a terminal reaches them once, from here.

    Raises:
        UserError: the message of the process that failed first; `ProcessDied` if it had none,
            `Stuck` if the watchdog ended it.
        RuntimeError: with the traceback of the process that failed first.
        Interrupted: the processes were asked to stop; the main one's message.
    """
    context = multiprocessing.get_context("spawn")
    family = _Family()
    with _handler(family.hand_on):
        try:
            for rank in ranks:
                family.children.append(_Child(context, rank, function, args))
            family.wait()
        finally:
            family.kill()
            for child in family.children:
                child.process.join()
                child.sweep()
    if (error := family.outcome()) is not None:
        raise error


@contextmanager
def _handler(handler: Callable) -> Iterator[None]:
    """SIGTERM and SIGINT go to ``handler``; outside the main thread they stay as they are."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in interrupt.SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


# ---- in the spawned process ----

_mouth: connection.Connection | None = None


def say(kind: str, text: str) -> bool:
    """Tell the parent why this process is about to end; False where there is no parent to tell."""
    if _mouth is None:
        return False
    _mouth.send(LastWords(time.monotonic(), kind, text))
    return True


def _run_child(function: Callable, rank: int, pipe, parent: int, args: tuple) -> None:
    global _mouth
    _mouth = pipe
    _settle(parent)
    try:
        function(rank, *args)
        code = 0
    except Interrupted as error:
        say("interrupted", str(error))
        code = interrupt.EXIT_CODE
    except UserError as error:
        say("user error", str(error))
        code = 2
    except Exception:
        say("failure", traceback.format_exc())
        code = 1
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Without the interpreter's own end: threads of torch's process groups that are still alive
    # there abort the process now and then.
    os._exit(code)


def _settle(parent: int) -> None:
    """Be reached by the parent's signals only, and save and end when the parent dies."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # a background group may still print
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is something to save
    faulthandler.enable()
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
        if os.getppid() != parent:  # it died before that call
            os._exit(1)


def ignore_repeats() -> None:
    """After the first request to stop, this process takes no more: the parent ends it if need be.

    A scheduler that signals every process of a job would otherwise kill a process, by the second
    signal that comes from the parent, while it saves.
    """

    def handler(number: int, frame: FrameType | None) -> None:
        if not interrupt.requested():
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in interrupt.SIGNALS:
        signal.signal(number, handler)
