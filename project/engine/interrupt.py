"""SIGTERM and SIGINT: a run finishes its step, saves, and says how to go on.

Schedulers send SIGTERM before they take a machine away; a person presses Ctrl-C. The first signal
only leaves a note, which the training loop reads between two steps. Where nothing would be lost, as
in an evaluation, it ends the run at once. A second signal, more than a moment later, does what it
always does.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: the same command works later
SIGNALS = (signal.SIGTERM, signal.SIGINT)
AGAIN = 1.0  # seconds; signals closer than this are one: `timeout` and schedulers signal twice


class Interrupted(Exception):
    """A run ended because it was asked to; the message says how to go on with it."""


class _Note:
    """What came so far, and whether it may end the run at once."""

    name: str = ""
    when: float = 0.0
    at_once: bool = False


def requested() -> bool:
    """Whether this process was asked to stop."""
    return bool(_Note.name)


def signal_name() -> str:
    """The signal that came, e.g. "SIGTERM"; "" before."""
    return _Note.name


@contextmanager
def listening() -> Iterator[None]:
    """Take SIGTERM and SIGINT as requests; outside the main thread they stay as they are."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner, before = os.getpid(), {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: object) -> None:
        if os.getpid() != owner:  # a loader process: its run tells it when to end
            return
        if _Note.name:
            if time.monotonic() - _Note.when > AGAIN:
                restore()
                signal.raise_signal(number)
            return
        _Note.name, _Note.when = signal.Signals(number).name, time.monotonic()
        if _Note.at_once:
            raise Interrupted
        logger.warning(
            "%s: the run saves after this step and stops; a second one ends it at once", _Note.name
        )

    _Note.name = ""
    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield
    finally:
        restore()
        _Note.name = ""


@contextmanager
def ends_at_once() -> Iterator[None]:
    """A stretch of work that can be dropped: a request raises `Interrupted` in the middle of it."""
    if requested():
        raise Interrupted
    _Note.at_once = True
    try:
        yield
    finally:
        _Note.at_once = False
