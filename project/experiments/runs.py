"""Finished runs as data: config keys, results, the course of training. Nothing is built."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from project.errors import UserError, one_line

import numpy as np

if TYPE_CHECKING:
    from omegaconf import DictConfig

RECORD_FILE = "sweep.json"
# Keys in which runs may differ without being another setting: where they are kept, what repeats
# them, how they are watched, what they are computed on.
IGNORED = (
    "train.output_dir",
    "train.seed",
    "train.device",
    "train.log_period",
    "train.num_pictures",
    "train.checkpointer",
    "train.ddp",
    "train.writers",
    "dataset.root",
    "dataloader.train.num_workers",
    "dataloader.test.num_workers",
)


@dataclass(frozen=True)
class RunRecord:
    """One finished run.

    Attributes:
        config: dotted key → plain value, interpolations as they stand in ``config.yaml``.
        columns: what its sweep varied, or None where it belongs to no sweep.
        seed: ``train.seed``.
        data: subset and split that it was evaluated on.
        results: metric → number; AP in percent, NaN where it isn't defined.
        metrics: rows of ``metrics.json``, by iteration.
    """

    folder: Path
    config: Mapping[str, Any]
    columns: Mapping[str, Any] | None
    seed: int
    data: str
    results: Mapping[str, float]
    metrics: Sequence[Mapping[str, float]]
    iterations: int

    @property
    def iteration_seconds(self) -> float:
        """Median seconds of an iteration, NaN where nothing was logged."""
        times = [row["time"] for row in self.metrics if _is_number(row.get("time"))]
        return float(np.median(times)) if times else math.nan

    @property
    def training_seconds(self) -> float:
        """Seconds of training, evaluations apart."""
        return self.iteration_seconds * self.iterations


def find_runs(paths: Sequence[str | Path]) -> tuple[list[Path], list[Path]]:
    """Run folders among ``paths`` and right below them: those with results, those without.

    Raises:
        UserError: if a path is no folder, or none holds a run.
    """
    finished, unfinished = [], []
    for path in map(Path, paths):
        if not path.is_dir():
            raise UserError(f"{path} is no folder; give run folders, or a sweep's folder")
        for folder in [path] if is_run(path) else _runs_below(path):
            (finished if (folder / "results.json").is_file() else unfinished).append(folder)
    if not finished:
        where = ", ".join(map(str, paths))
        if unfinished:
            raise UserError(
                f"none of the {len(unfinished)} runs in {where} has results yet (no results.json)"
            )
        raise UserError(f"no run in {where}: a run folder has a config.yaml")
    return list(dict.fromkeys(finished)), unfinished


def _runs_below(path: Path) -> list[Path]:
    """The run folders right below ``path``: a sweep's in its order, then others by name."""
    file = path / RECORD_FILE
    planned = list(_sweep_runs(file)) if file.is_file() else []
    place = {name: number for number, name in enumerate(planned)}
    below = sorted(path.iterdir(), key=lambda p: (place.get(p.name, len(place)), p.name))
    return [folder for folder in below if is_run(folder)]


def is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file()


def read_run(folder: Path, *, trust: bool = False) -> RunRecord:
    """The record of a finished run.

    Args:
        trust: see `project.engine.config.load_run`.

    Raises:
        UserError: if one of its files can't be read.
    """
    from project.engine.config import load_run

    from omegaconf import OmegaConf

    cfg = load_run(folder, trust=trust)
    config = flatten(OmegaConf.to_container(cfg, resolve=False))
    content = read_record(folder)
    iterations = content.get("iterations") or 0
    if not _is_number(iterations) or not math.isfinite(iterations):
        file = folder / "results.json"
        raise UserError(f"{file}: iterations is {iterations!r}; expected a whole number")
    return RunRecord(
        folder=folder,
        config=config,
        columns=_sweep_columns(folder),
        seed=seed_of(cfg, folder),
        data=f"{config.get('dataset.name')}_{config.get('dataset.test')}",
        results={k: math.nan if v is None else v for k, v in flat_results(content).items()},
        metrics=read_metrics(folder),
        iterations=int(iterations),
    )


def seed_of(cfg: DictConfig, folder: Path) -> int:
    """``train.seed`` of a run's config, 0 where it has none.

    Raises:
        UserError: if it is no whole number.
    """
    from project.engine.config import select

    seed = select(cfg, "train.seed") if "seed" in cfg.train else 0
    if not isinstance(seed, int) or isinstance(seed, bool):
        file = folder / "config.yaml"
        raise UserError(f"{file}: train.seed is {seed!r}; expected a whole number")
    return seed


def _sweep_columns(folder: Path) -> Mapping[str, Any] | None:
    """What the sweep that the run belongs to says that it is."""
    file = folder.absolute().parent / RECORD_FILE
    if not file.is_file():
        return None
    try:
        return _sweep_runs(file)[folder.absolute().name]["point"]["columns"]
    except (KeyError, TypeError):
        return None


def _sweep_runs(file: Path) -> Mapping[str, Any]:
    """Name → record of a sweep's runs, by its `RECORD_FILE`."""
    content = read_json(file)
    runs = content.get("runs") if isinstance(content, dict) else None
    if not isinstance(runs, dict):
        raise UserError(f"{file} isn't a sweep's record")
    return runs


def flatten(node: Any, key: str = "") -> dict[str, Any]:
    """Dotted key → leaf of nested dictionaries; lists of plain values are leaves."""
    if isinstance(node, dict) and node:
        items = node.items()
    elif isinstance(node, list) and any(isinstance(v, dict | list) for v in node):
        items = enumerate(node)
    else:
        return {key: node}
    leaves: dict[str, Any] = {}
    for name, value in items:
        leaves |= flatten(value, f"{key}.{name}" if key else str(name))
    return leaves


def read_record(folder: Path) -> dict[str, Any]:
    """What a finished run's ``results.json`` holds, its ``results`` by task.

    Raises:
        UserError: if it can't be read or holds something else.
    """
    file = folder / "results.json"
    content = read_json(file)
    if not isinstance(content, dict) or not isinstance(content.get("results"), dict):
        raise UserError(f"{file} holds no run's results")
    return content


def flat_results(content: Mapping) -> dict[str, float | None]:
    """``{"segm/AP": ...}`` of a ``results.json``; None where a metric isn't defined."""
    flat = flatten(content["results"])
    return {
        key.replace(".", "/", 1): value
        for key, value in flat.items()
        if key and (value is None or _is_number(value))
    }


def read_results(folder: Path) -> dict[str, float]:
    """A finished run's metrics that are numbers."""
    flat = flat_results(read_record(folder))
    return {key: float(value) for key, value in flat.items() if value is not None}


def read_metrics(folder: Path) -> list[dict]:
    """The rows of a run's ``metrics.json`` by iteration, one row each; it may be being written."""
    file = folder / "metrics.json"
    rows: dict[int, dict] = {}
    if file.is_file():
        for line in file.read_text("utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except ValueError:  # the last line of a run at work, or of one that was killed
                continue
            number = row.get("iteration") if isinstance(row, dict) else None
            if _is_number(number) and math.isfinite(number):
                number = int(number)
                rows[number] = {**rows.get(number, {}), **row}
    return [rows[number] for number in sorted(rows)]


def read_json(file: Path) -> Any:
    """The content of a JSON file; a `UserError` where it can't be read."""
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} can't be read: {one_line(error)}") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
