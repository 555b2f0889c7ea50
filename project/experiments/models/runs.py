"""A run's folder as a comparison of models needs it: config, labels and predictions; no results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from project.data.catalog import subset_dir
from project.engine.config import load_run, require, select
from project.errors import UserError, unknown_name
from project.evaluation.coco import RESULTS_FILE as INSTANCES_FILE
from project.evaluation.confusion import SCORE_THRESHOLD
from project.evaluation.semantic import RESULTS_FILE as SEMANTIC_FILE
from project.experiments.runs import flatten, is_run, read_json, seed_of

import numpy as np
from omegaconf import DictConfig, OmegaConf

INSTANCES, SEMANTIC = "instances", "semantic"
PREDICTIONS = {INSTANCES: INSTANCES_FILE, SEMANTIC: SEMANTIC_FILE}
THRESHOLDS_FILE = "thresholds.json"  # of a run, by class name; a report chooses them


@dataclass(frozen=True, eq=False)
class ModelRun:
    """A run with predictions.

    Attributes:
        cfg: its config, nothing of it built.
        config: dotted key → plain value, interpolations as they stand in ``config.yaml``.
        seed: ``train.seed``.
        subset, split: whose images are compared.
        root: folder of the subsets, None for the usual one.
        annotations: the COCO file with their labels.
        image_dir: of the images.
        kind: `INSTANCES` or `SEMANTIC`.
        predictions: the file, COCO results in both cases.
        tuned_here: whether its score thresholds were chosen on the very split that is compared.
    """

    folder: Path
    cfg: DictConfig
    config: Mapping[str, Any]
    seed: int
    subset: str
    split: str
    root: str | None
    annotations: Path
    image_dir: Path
    kind: str
    predictions: Path
    tuned_here: bool

    @property
    def dataset(self) -> str:
        return f"{self.subset}_{self.split}"

    @property
    def name(self) -> str:
        return self.folder.absolute().name

    def thresholds(self, class_names: Sequence[str]) -> np.ndarray:
        """float64 [K]: the score from which on a prediction counts, for each class.

        A semantic model has decided already: all of its regions count.

        Raises:
            UserError: if the run's own thresholds aren't numbers from 0 to 1, or null for the usual
                one, by class name.
        """
        if self.kind == SEMANTIC:
            return np.zeros(len(class_names))
        file = self.folder / THRESHOLDS_FILE
        given = read_json(file) if file.is_file() else {}
        if not isinstance(given, dict):
            raise UserError(f"{file} should hold one threshold for each class: {{name: number}}")
        # A report writes null for a class without a true detection.
        given = {name: value for name, value in given.items() if value is not None}
        for name, value in given.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value <= 1:
                raise UserError(f"{file}: {name}'s is {value!r}; expected a number from 0 to 1")
        return np.array([given.get(name, SCORE_THRESHOLD) for name in class_names], float)


def find_model_runs(paths: Sequence[str | Path]) -> list[Path]:
    """The run folders among ``paths`` and right below them, each once.

    Raises:
        UserError: if a path is no run folder and holds none.
    """
    found = []
    for path in map(Path, paths):
        below = sorted(path.iterdir()) if path.is_dir() and not is_run(path) else []
        folders = [path] if is_run(path) else [folder for folder in below if is_run(folder)]
        if not folders:
            near = path.absolute().parent
            known = sorted(p.name for p in near.glob("*") if is_run(p))
            message = unknown_name("run", path.name, known)
            raise UserError(f"{message} in {near}; a run folder has a config.yaml")
        found += folders
    return list({folder.resolve(): folder for folder in found}.values())


def read_model_run(
    folder: Path,
    *,
    subset: str = "",
    split: str = "",
    root: str | Path | None = None,
    trust: bool = False,
) -> ModelRun:
    """The run in ``folder``.

    Args:
        subset, split: whose predictions; "" takes what the config evaluates on.
        root: folder of the subsets; None takes the config's, else the usual one.
        trust: see `project.engine.config.load_run`.

    Raises:
        UserError: if there are no such predictions, or the labels aren't there.
    """
    cfg = load_run(folder, trust=trust)
    require(cfg, "dataset.name", "dataset.test")
    own = str(select(cfg, "dataset.name")), str(select(cfg, "dataset.test"))
    subset, split = subset or own[0], split or own[1]
    root = str(root or select(cfg, "dataset.root") or "") or None
    home = subset_dir(subset, root)
    annotations = home / "annotations" / f"{split}.json"
    if not annotations.is_file():
        raise UserError(
            f"the labels of {subset}_{split} aren't there: {annotations} doesn't exist; point "
            f"--root at the folder that holds {subset}, or choose another --split"
        )
    kind, predictions = _predictions(folder, subset, split)
    config = flatten(OmegaConf.to_container(cfg, resolve=False))
    return ModelRun(
        folder=folder,
        cfg=cfg,
        config=config,
        seed=seed_of(cfg, folder),
        subset=subset,
        split=split,
        root=root,
        annotations=annotations,
        image_dir=home / "images" / split,
        kind=kind,
        predictions=predictions,
        tuned_here=own == (subset, split)
        and kind == INSTANCES
        and (folder / THRESHOLDS_FILE).is_file(),
    )


def _predictions(folder: Path, subset: str, split: str) -> tuple[str, Path]:
    """Kind and file of a run's predictions."""
    place = folder / "inference" / f"{subset}_{split}"
    for kind, name in PREDICTIONS.items():
        if (place / name).is_file():
            return kind, place / name
    files = (file for name in PREDICTIONS.values() for file in folder.glob(f"inference/*/{name}"))
    known = ", ".join(sorted({file.parent.name for file in files})) or "nothing"
    raise UserError(
        f"{folder} has no predictions for {subset}_{split} (it has: {known}); evaluate it: python "
        f"tools/train_net.py --eval-only --config-file {folder / 'config.yaml'} "
        f"train.output_dir={folder} dataset.name={subset} dataset.test={split}"
    )
