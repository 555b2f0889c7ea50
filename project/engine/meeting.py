"""Where the processes of a run meet, and how long they wait for each other.

Two waits have two lengths. To *find* each other takes minutes at most, and an address that nobody
answers should be told soon. To wait *in a collective* may take hours: one process computes the
metrics of a large validation set while the others stand in the next exchange, and torch's own 10
(NCCL) or 30 (gloo) minutes would end that run. So a collective's limit is far away, and the
watchdog, which knows who is late and in what, is the guard.

Groups that others make (`detectron2.utils.comm` makes a gloo group) keep torch's own limit. `meet`
waits without any collective, so that no such limit runs while one process works alone.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from datetime import timedelta

import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

FINDING = timedelta(minutes=10)
COLLECTIVE = timedelta(days=2)

_store: dist.Store | None = None
_meeting: dist.Store | None = None
_times_met: Counter[str] = Counter()


def join(backend: str, url: str, rank: int, size: int) -> None:
    """Find the other processes and make the default process group.

    Args:
        url: ``tcp://HOST:PORT``, or ``env://`` under ``torchrun``.

    Raises:
        RuntimeError, ValueError: where the others aren't found within `FINDING`.
    """
    global _store, _meeting
    store, rank, size = next(rendezvous(url, rank, size, timeout=FINDING))
    # torchrun's store outlives the processes that it starts again, with the addresses of the dead.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = dist.PrefixStore(f"project/attempt{attempt}", store)
    store.set_timeout(COLLECTIVE)  # NCCL's first exchange of a group waits on it
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=COLLECTIVE)
    _times_met.clear()
    _store = store
    _meeting = connect("meeting")


def leave() -> None:
    """End the process group."""
    global _store, _meeting
    _store = _meeting = None
    dist.destroy_process_group()


def connect(name: str) -> dist.Store:
    """A connection of its own to the run's key-value store, with its own names of keys.

    Calls of one connection wait for each other, so every thread needs its own.

    Raises:
        RuntimeError: before `join`.
    """
    if _store is None:
        raise RuntimeError("the processes of the run haven't met: start them with engine.launch")
    return dist.PrefixStore(name, _store.clone())


def meet(name: str, patience: float = math.inf) -> bool:
    """Wait until every process of the run is here; whether they came.

    Call it on all processes after work that one of them does alone. A process that never comes is
    the watchdog's case.

    Args:
        name: of the place, e.g. ``"evaluation"``; it may be used again and again, until somebody
            waited there in vain.
        patience: seconds; by default however long it takes.
    """
    if _meeting is None:
        return True
    deadline = time.monotonic() + patience
    size, pause = dist.get_world_size(), 0.001
    _times_met[name] += 1
    key = f"{name}/{_times_met[name]}"
    here = _meeting.add(key, 1)
    while here < size and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(2 * pause, 0.5)
        here = _meeting.add(key, 0)
    return here >= size
