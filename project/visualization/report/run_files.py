"""A finished run as its files tell it: config, course of training, machine, predictions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from project.data.catalog import foreign_root, subset_dir
from project.errors import UserError, one_line, unknown_name

import numpy as np
import yaml

RESULTS_NAME = "coco_instances_results.json"
SEMANTIC_NAME = "sem_seg_predictions.json"
_RULE = re.compile(r"^-{5,}\s+-{5,}$")


@dataclass(frozen=True)
class RunFiles:
    """What a report needs of a run; nothing of it is built.

    Attributes:
        name: of the folder.
        config: dotted key → plain value, interpolations as they stand in ``config.yaml``.
        dataset: name of the subset and its split, like "scenes_val".
        annotations: the COCO file that the run was evaluated on.
        image_dir: of its images.
        results_file: the predictions.
        metrics: rows of ``metrics.json``, by iteration.
        recorded: what ``results.json`` holds; empty where there is none.
        environment: names and values from the log.
        log: its lines.
    """

    folder: Path
    name: str
    config: Mapping[str, Any]
    dataset: str
    annotations: Path
    image_dir: Path
    results_file: Path
    metrics: Sequence[Mapping[str, float]]
    recorded: Mapping[str, Any]
    environment: Mapping[str, str]
    log: Sequence[str] = field(repr=False, default=())

    @property
    def sampling(self) -> Mapping[str, Any]:
        """The sampler's report; empty where there is none."""
        found = self.recorded.get("sampling")
        return found if isinstance(found, dict) else {}

    def curve(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Iterations done and values at which the run wrote a number for ``metric``."""
        pairs = [
            (row["iteration"] + 1, row[metric])
            for row in self.metrics
            if is_number(row.get(metric))
        ]
        both = np.array(pairs, float).reshape(-1, 2)
        return both[:, 0], both[:, 1]


def read_run(folder: str | Path, root: str | Path | None = None) -> RunFiles:
    """The files of a run folder.

    Args:
        root: folder of the subsets; None takes the config's, else the usual one.

    Raises:
        UserError: if it is no run's folder, or has no predictions, or its dataset isn't there.
    """
    folder = Path(folder)
    config = flatten(_read_config(folder))
    subset, split = config.get("dataset.name"), config.get("dataset.test")
    if not isinstance(subset, str) or not isinstance(split, str):
        raise UserError(
            f"{folder / 'config.yaml'} names no dataset.name and dataset.test; "
            f"the report needs them to find the labels"
        )
    dataset = f"{subset}_{split}"
    own_root = foreign_root(subset, config.get("dataset.root"), folder / "config.yaml")
    home = subset_dir(subset, root or own_root)
    annotations = home / "annotations" / f"{split}.json"
    if not annotations.is_file():
        raise UserError(
            f"{folder} was evaluated on {dataset}, but {annotations} doesn't exist; "
            f"point --root at the folder that holds {subset}"
        )
    log = _lines(folder / "log.txt")
    return RunFiles(
        folder=folder,
        name=folder.resolve().name,
        config=config,
        dataset=dataset,
        annotations=annotations,
        image_dir=home / "images" / split,
        results_file=_results_file(folder, dataset),
        metrics=read_metrics(folder / "metrics.json"),
        recorded=_recorded(folder / "results.json"),
        environment=_environment(log),
        log=log,
    )


class _PlainLoader(yaml.SafeLoader):
    """YAML as data: an object of any class is kept as the name of its tag, and never made."""


_PlainLoader.add_multi_constructor("", lambda loader, suffix, node: node.tag)


def _read_config(folder: Path) -> dict:
    file = folder / "config.yaml"
    if not folder.is_dir():
        known = [p.name for p in folder.parent.glob("*") if (p / "config.yaml").is_file()]
        raise UserError(f"{unknown_name('run', folder.name, known)} in {folder.parent}")
    if not file.is_file():
        raise UserError(f"{folder} is no run folder: it has no config.yaml")
    try:
        content = yaml.load(file.read_text("utf-8"), Loader=_PlainLoader)  # a SafeLoader
    except Exception as error:  # YAML's constructors raise anything on damaged values
        raise UserError(f"{file} can't be read: {one_line(error)[:300]}") from None
    if not isinstance(content, dict):
        raise UserError(f"{file} holds no config")
    return content


def flatten(node: Any, key: str = "") -> dict[str, Any]:
    """Dotted key → leaf of nested dictionaries; lists are leaves unless they hold dictionaries."""
    if isinstance(node, dict) and node:
        items = node.items()
    elif isinstance(node, list) and any(isinstance(value, dict) for value in node):
        items = enumerate(node)
    else:
        return {key: node}
    leaves: dict[str, Any] = {}
    for name, value in items:
        leaves |= flatten(value, f"{key}.{name}" if key else str(name))
    return leaves


def _results_file(folder: Path, dataset: str) -> Path:
    file = folder / "inference" / dataset / RESULTS_NAME
    if file.is_file():
        return file
    others = sorted(p.parent.name for p in folder.glob(f"inference/*/{RESULTS_NAME}"))
    if others:
        raise UserError(
            f"{folder} has predictions for {', '.join(others)}, but its config evaluates on "
            f"{dataset}; evaluate it on that"
        )
    if (file.parent / SEMANTIC_NAME).is_file():
        raise UserError(
            f"{folder} is a semantic model's run; the report judges masks of instances. Its "
            f"figures are in {folder / 'results.json'}"
        )
    raise UserError(
        f"{folder} has no predictions for {dataset} ({file} doesn't exist); evaluate it: "
        f"python tools/train_net.py --eval-only --config-file {folder / 'config.yaml'} "
        f"train.output_dir={folder}"
    )


def read_metrics(file: Path) -> list[dict]:
    """The rows of a ``metrics.json``, one for each iteration; broken lines are left out."""
    rows: dict[int, dict] = {}
    for line in _lines(file):
        try:
            row = json.loads(line)
        except ValueError:  # the last line of a run that was killed
            continue
        if isinstance(row, dict) and is_number(row.get("iteration")):
            number = int(row["iteration"])
            rows[number] = {**rows.get(number, {}), **row}
    return [rows[number] for number in sorted(rows)]


def _recorded(file: Path) -> dict:
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} can't be read: {one_line(error)}") from None
    return content if isinstance(content, dict) else {}


def _lines(file: Path) -> list[str]:
    return file.read_text("utf-8", errors="replace").splitlines() if file.is_file() else []


def _environment(log: Sequence[str]) -> dict[str, str]:
    """The last table of the machine in the log: between two rules, from "Platform" on."""
    found: dict[str, str] = {}
    rules = [i for i, line in enumerate(log) if _RULE.match(line)]
    for start, end in zip(rules, rules[1:], strict=False):
        pairs = [re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in log[start + 1 : end]]
        if pairs and pairs[0][0] == "Platform":
            found = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
    return found


def is_number(value: Any) -> bool:
    """Whether a value from JSON is a finite number."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and bool(np.isfinite(value))
