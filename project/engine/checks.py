"""What can be told about a run before it starts: keys, numbers, files, processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from project.engine.config import build, require, select
from project.errors import UserError

from omegaconf import DictConfig, ListConfig

KEYS = (
    "model",
    "optimizer.params",
    "lr_multiplier",
    "dataset.name",
    "dataset.train",
    "dataset.test",
    "dataset.root",
    "dataset.num_images",
    "dataloader.train.total_batch_size",
    "dataloader.test.dataset",
    "dataloader.evaluator",
    "train.output_dir",
    "train.init_checkpoint",
    "train.init_classes",
    "train.max_iter",
    "train.compile",
    "train.checkpoint_activations",
    "train.seed",
    "train.device",
    "train.amp.enabled",
    "train.amp.precision",
    "train.accumulate",
    "train.ema.decay",
    "train.guard",
    "train.ddp",
    "train.eval_period",
    "train.checkpointer.period",
    "train.disk_wait",
    "train.hooks",
    "train.watchdog.timeout",
    "train.writers",
    "train.best_metric",
    "train.log_period",
    "train.num_pictures",
)
TEXTS = (
    "dataset.name",
    "dataset.train",
    "dataset.test",
    "train.output_dir",
    "train.init_checkpoint",
    "train.best_metric",
)
SWITCHES = ("train.compile", "train.checkpoint_activations", "train.amp.enabled")
SECTIONS = ("train.guard", "train.ddp", "train.hooks", "train.checkpointer")
LISTS = ("train.writers", "train.init_classes")
# Whole numbers and the least that each may be.
NUMBERS = {
    "dataloader.train.total_batch_size": 1,  # first: the iterations may follow from it
    "train.max_iter": 1,
    "train.log_period": 1,
    "train.checkpointer.period": 1,
    "train.eval_period": 0,
    "train.num_pictures": 0,
    "train.seed": 0,
    "train.accumulate": 1,
    "train.checkpointer.max_to_keep": 2,
    "train.disk_wait": 0,
    "train.watchdog.timeout": 0,
}


def check_config(cfg: DictConfig, world_size: int, *, train: bool) -> None:
    """Raise a `UserError` for what would stop the run later; the test split's labels are read.

    Args:
        world_size: processes over which the batch is split.
        train: false where the run only evaluates, so that the training split may be missing.
    """
    require(cfg, *KEYS)
    check_kinds(cfg)
    check_dataset_name(f"{select(cfg, 'dataset.name')}_{select(cfg, 'dataset.test')}")
    if train:
        for key, least in NUMBERS.items():
            check_whole(key, select(cfg, key), least)
        check_batch(select(cfg, "dataloader.train.total_batch_size"), world_size)
    build(cfg.dataloader.test.dataset, "dataloader.test.dataset")


def check_kinds(cfg: DictConfig) -> None:
    """Raise a `UserError` unless text is text, a switch a switch, and so on."""
    kinds = [
        (TEXTS, str, "text"),
        (SWITCHES, bool, "True or False"),
        (SECTIONS, DictConfig, "keys with values"),
        (LISTS, ListConfig | None, "a list"),
        (("dataset.root",), str | None, "a folder as text, or null"),
    ]
    for keys, kind, words in kinds:
        for key in keys:
            if not isinstance(value := select(cfg, key), kind):
                raise UserError(f"{key}={_shown(value)}: expected {words}")


def check_dataset_name(name: str) -> None:
    """Raise a `UserError` for a name by which predictions would leave the run folder."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(
            f"dataset {name!r} leads out of the run folder, which keeps its predictions under that "
            f"name; name a folder below dataset.root"
        )


def check_whole(key: str, value: Any, least: int) -> None:
    """Raise a `UserError` unless ``value`` is a whole number of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{key}={_shown(value)}: expected a whole number of at least {least}")


def check_batch(batch: int, world_size: int) -> None:
    """Raise a `UserError` unless the batch splits evenly over the processes."""
    if batch % world_size:
        raise UserError(
            f"dataloader.train.total_batch_size={batch} does not split over {world_size} "
            f"processes; take a multiple of {world_size}"
        )


def check_length(overrides: Sequence[str]) -> None:
    """Raise a `UserError` where a command line gives both epochs and iterations."""
    keys = {override.split("=")[0].strip().lstrip("+") for override in overrides}
    if {"train.epochs", "train.max_iter"} <= keys:
        raise UserError(
            "train.epochs and train.max_iter both say how long the run lasts; give one of them"
        )


def check_run_folder(output_dir: Path, *, resume: bool) -> None:
    """Raise a `UserError` rather than mix a new run into the files of another one."""
    if output_dir.exists() and not output_dir.is_dir():
        raise UserError(f"train.output_dir={output_dir} is a file")
    if not resume and output_dir.is_dir() and any(output_dir.iterdir()):
        raise UserError(
            f"run folder {output_dir} is not empty; add --resume to continue the run in it, or "
            f"choose another folder with train.output_dir=FOLDER"
        )


def _shown(value: Any) -> str:
    return "null" if value is None else repr(value)
