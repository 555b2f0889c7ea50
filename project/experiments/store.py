"""What a sweep keeps on disk: how each run stands, and a table of all of them."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from project.errors import UserError
from project.experiments.plan import Point, Value
from project.experiments.runs import RECORD_FILE, flat_results, read_json, read_record

TABLE_FILE, LOCK_FILE = "runs.csv", ".lock"
WAITING, DONE, FAILED, PRUNED = "waiting", "done", "failed", "pruned"
MAX_ATTEMPTS = 2


@dataclass
class Record:
    """How one run of a sweep stands.

    Attributes:
        state: "waiting" (also where it was begun), "done", "failed" or "pruned".
        attempts: failures so far.
        seconds: that its processes took, all of them together.
        exit: code of the last process, None before the first.
        error: the line that tells why it failed.
        trial: its number in the study, or None.
    """

    point: Point
    state: str = WAITING
    attempts: int = 0
    seconds: float = 0.0
    exit: int | None = None
    error: str = ""
    trial: int | None = None


@dataclass
class SweepStore:
    """The folder of a sweep: ``sweep.json``, ``runs.csv``, ``logs/`` and one folder for each run.

    Attributes:
        records: name → `Record`, in the order of the plan.
    """

    folder: Path
    column: str = "setting"
    keys: Sequence[str] = ()
    records: dict[str, Record] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: str | Path, column: str, keys: Sequence[str]) -> SweepStore:
        """The store in ``folder``, new or as it was left."""
        store = cls(Path(folder), column, keys)
        file = store.folder / RECORD_FILE
        if file.is_file():
            content = read_json(file)
            try:
                for name, entry in content["runs"].items():
                    point = Point(name=name, **entry.pop("point"))
                    store.records[name] = Record(point, **entry)
            except (KeyError, TypeError, AttributeError) as error:
                raise UserError(f"{file} isn't a sweep's record: {error!r}") from None
        elif store.folder.exists() and not store.folder.is_dir():
            raise UserError(f"{folder} is a file; choose another --output")
        elif store.folder.is_dir() and any(p.name != LOCK_FILE for p in store.folder.iterdir()):
            raise UserError(f"{folder} is no sweep's folder and not empty; choose another --output")
        return store

    def run_dir(self, name: str) -> Path:
        return self.folder / name

    def add(self, point: Point, trial: int | None = None) -> Record:
        """The record of a point: the one that is there, or a new one.

        Raises:
            UserError: if the run of that name was begun with another config or other overrides.
        """
        record = self.records.setdefault(point.name, Record(point, trial=trial))
        before = record.point
        if record.state == FAILED and not self.run_dir(point.name).exists():
            record.point = point  # nothing of it is left: what failed may be put right
        elif (list(before.overrides), before.config) != (list(point.overrides), point.config):
            if self.run_dir(point.name).exists():
                changed = set(before.overrides) ^ set(point.overrides)
                changed |= {before.config, point.config} if before.config != point.config else set()
                raise UserError(
                    f"{self.run_dir(point.name)} was begun otherwise ({', '.join(sorted(changed))} "
                    f"differ); choose another --output, or remove the folder"
                )
            record.point = point
        return record

    def is_done(self, record: Record) -> bool:
        return (self.run_dir(record.point.name) / "results.json").is_file()

    def save(self) -> None:
        """Write ``sweep.json`` and ``runs.csv``, each in one step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        runs = {name: asdict(record) for name, record in self.records.items()}
        for entry in runs.values():
            del entry["point"]["name"]
        content = {"column": self.column, "keys": list(self.keys), "runs": runs}
        write_text(self.folder / RECORD_FILE, json.dumps(content, indent=1) + "\n")
        rows = [self._row(record) for record in self.records.values()]
        write_text(self.folder / TABLE_FILE, csv_text(rows))

    def _row(self, record: Record) -> dict[str, Value]:
        row = {"run": record.point.name, **record.point.columns, "seed": record.point.seed}
        row |= {"state": record.state, "exit": record.exit, "seconds": round(record.seconds, 1)}
        row["error"] = record.error
        file = self.run_dir(record.point.name) / "results.json"
        if file.is_file():
            content = read_record(file.parent)
            row |= {"iterations": content.get("iterations"), **flat_results(content)}
        return row

    @contextmanager
    def lock(self) -> Iterator[int]:
        """Claim the folder for this process and those it starts; gives an open file's number.

        The claim lasts until the last process that inherited the number is gone: a run that
        outlived a killed sweep is never joined by a second one in the same folder.

        Raises:
            UserError: if another sweep is at work there, or one of its runs.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        number = os.open(self.folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"another sweep, or a run that it left behind, is at work in {self.folder}; "
                    f"wait for it or stop it"
                ) from None
            yield number
        finally:
            os.close(number)


def csv_text(rows: Sequence[Mapping]) -> str:
    """A table of dictionaries; its columns are all their keys, in the order of their first use."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_text(file: Path, text: str) -> None:
    """Write in one step: a reader never sees half a file."""
    temporary = file.with_name(f".{file.name}.tmp")
    temporary.write_text(text, "utf-8")
    os.replace(temporary, file)
