"""A sweep from its file to its folder: what ``tools/sweep.py`` calls."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from project.errors import UserError
from project.experiments.plan import Sweep, first_point, points
from project.experiments.runner import Pool, find_slots, run_command
from project.experiments.store import (
    DONE,
    FAILED,
    MAX_ATTEMPTS,
    PRUNED,
    WAITING,
    Record,
    SweepStore,
)


class GridSource:
    """The runs of a plan that is known beforehand."""

    def __init__(self, records: list[Record]) -> None:
        self._left = list(records)

    def take(self) -> Record | None:
        return self._left.pop(0) if self._left else None

    def is_hopeless(self, record: Record) -> bool:
        return False

    def finished(self, record: Record) -> None:
        pass


def run_sweep(
    sweep: Sweep, folder: Path, output: Path, tool: Path, *, jobs: int | None, patience: float = 120
) -> SweepStore:
    """Do what is left of a sweep.

    Args:
        folder: which the sweep's paths are relative to.
        output: the sweep's folder.
        tool: the training script.
        jobs: processes on the CPU; None: one a GPU, or one on the CPU.

    Raises:
        UserError: before any run starts, where the mistake can be seen by then.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after the runs were saved and ended.
    """
    open_store(sweep, folder, output)  # which refuses before anything is written
    slots = find_slots(jobs)
    with SweepStore(output).lock() as lock, _sigterm_as_ctrl_c():
        store, planned = open_store(sweep, folder, output)  # another sweep may have ended just now
        store.save()
        Pool(tool, store, slots, lock, patience=patience).work(
            _source(sweep, folder, store, planned)
        )
    return store


def open_store(sweep: Sweep, folder: Path, output: Path) -> tuple[SweepStore, list[Record]]:
    """The sweep's store, and in it the records of the plan (of a study: of what was begun).

    The store may hold other runs too, from when the plan was longer.
    """
    sweep.check()
    planned = []
    store = SweepStore.open(output, sweep.column, sweep.keys)
    if sweep.study is None:
        for point in points(sweep, folder):
            check_config(point.config)
            record = store.add(point)
            planned.append(record)
            if store.is_done(record):
                record.state, record.error = DONE, ""
            elif record.state == DONE or not store.run_dir(point.name).exists():
                record.state, record.attempts, record.error = WAITING, 0, ""
    else:
        check_config(str(folder / sweep.base))
        planned = list(store.records.values())
    return store, planned


def check_config(file: str) -> None:
    if not Path(file).is_file():
        raise UserError(f"sweep: config file {file} does not exist")


def check_keys(sweep: Sweep, folder: Path) -> None:
    """Raise a `UserError` for an override that a config of the sweep doesn't take.

    One run tells for all whose config file and override keys are the same.
    """
    from project.engine.config import load_config

    if sweep.study is None:
        planned = points(sweep, folder)
    else:
        planned = [first_point(sweep, folder)]
    seen = set()
    for point in planned:
        kind = (point.config, *(override.partition("=")[0] for override in point.overrides))
        if kind not in seen:
            seen.add(kind)
            check_config(point.config)
            load_config(point.config, point.overrides)


def _source(sweep: Sweep, folder: Path, store: SweepStore, planned: list[Record]):
    if sweep.study is None:
        return GridSource(to_do(planned))
    from project.experiments.study import StudySource

    return StudySource(sweep, folder, store)


def to_do(records: list[Record]) -> list[Record]:
    """The records of runs to do: those that never failed first."""
    waiting = [r for r in records if r.state == WAITING]
    failed = [r for r in records if r.state == FAILED]
    return waiting + [r for r in failed if r.attempts < MAX_ATTEMPTS]


def dry_run(sweep: Sweep, folder: Path, output: Path, tool: Path) -> Iterator[str]:
    """The commands of a sweep, those already done as comments; nothing is written."""
    store, planned = open_store(sweep, folder, output)
    if sweep.study is not None:
        done = len(store.records)
        yield f"# a study of {sweep.study.trials} trials, {done} of them begun:"
        for key, what in sweep.study.search.items():
            yield f"#   {key}: {what}"
    todo = to_do(planned)
    for record in planned:
        line = shlex.join(run_command(tool, store, record))
        yield line if record in todo else f"# {record.state}: {line}"


def summary(store: SweepStore) -> str:
    """How a sweep stands, in a line."""
    states = [record.state for record in store.records.values()]
    counts = [(states.count(state), state) for state in (DONE, FAILED, PRUNED, WAITING)]
    told = ", ".join(f"{number} {state}" for number, state in counts if number)
    return f"{len(states)} runs: {told or 'none'}"


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
