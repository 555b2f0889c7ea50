"""Configs as the tools meet them: files with overrides, and other people's run folders.

`load_config` runs a LazyConfig file of the user's own. `load_run` reads the ``config.yaml`` of a
run folder, which may come from anybody, as plain data.
"""

from __future__ import annotations

import inspect
import pydoc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import project.engine.schedule  # noqa: F401 - registers the resolvers that the configs use
from project.errors import UserError, unknown_name

import yaml
from detectron2.config import LazyConfig
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

# What a run folder of unknown origin may build: models, data, optimizers, schedules, evaluators.
# Narrower than whole packages: `torch.load`, `torch.hub` or `LazyConfig.load` would run code.
SAFE_TARGETS = (
    "project.data.augmentation.",
    "project.data.catalog.",
    "project.data.loader.",
    "project.data.mapper.",
    "project.data.sampler.",
    "project.modeling.",
    "project.engine.optimizer.",
    "project.engine.schedule.",
    "project.evaluation.",
    "detectron2.data.",
    "detectron2.evaluation.",
    "detectron2.layers.",
    "detectron2.modeling.",
    "detectron2.solver.",
    "detectron2.structures.",
    "torch.nn.",
    "torch.optim.",
    "torchvision.ops.",
    "torchvision.transforms.",
    "fvcore.common.param_scheduler.",
    "fvcore.nn.",
    "fvcore.transforms.",
)


def load_config(file: str | Path, overrides: Sequence[str] = ()) -> DictConfig:
    """The config of a ``.py`` or ``.yaml`` file with ``key=value`` overrides applied in order.

    Raises:
        UserError: if the file is missing or fails to load, or an override is malformed or names a
            key that the config doesn't have.
    """
    file = Path(file)
    if not file.is_file():
        raise UserError(f"config file {file} does not exist")
    try:
        cfg = LazyConfig.load(str(file))
    except UserError:
        raise
    except Exception as error:  # a config file is a program: anything may come out of it
        raise UserError(
            f"config file {file} fails to load: {type(error).__name__}: {one_line(error)}"
        ) from error
    return apply_overrides(cfg, overrides)


def load_run(
    run_dir: str | Path, overrides: Sequence[str] = (), *, trust: bool = False
) -> DictConfig:
    """The config that a run folder keeps, read as plain data; ``train.output_dir`` is the folder.

    Args:
        trust: build whatever ``_target_`` the config names, and accept Python objects in it. Only
            for folders of your own: such a config can run any code.

    Raises:
        UserError: if there is no config, or it asks for more than `SAFE_TARGETS`.
    """
    run_dir = Path(run_dir)
    file = run_dir / "config.yaml"
    if not file.is_file():
        raise UserError(f"{run_dir} is no run folder: it has no config.yaml")
    if trust:
        cfg = load_config(file)
    else:
        try:
            cfg = OmegaConf.create(yaml.safe_load(file.read_text("utf-8")), flags=_OBJECTS)
        except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
            raise UserError(
                f"{file} is not plain data: {one_line(error)}. If the run is your own, add --trust"
            ) from error
        if not isinstance(cfg, DictConfig):
            raise UserError(f"{file} holds no config, but a {type(cfg).__name__}")
        check_targets(cfg, file)
    if "train" not in cfg:
        raise UserError(f"{file} holds no run's config: it has no key 'train'")
    cfg.train.output_dir = str(run_dir)
    return apply_overrides(cfg, overrides)


_OBJECTS = {"allow_objects": True}


def check_targets(cfg: DictConfig, file: Path) -> None:
    """Refuse a config that would build anything outside `SAFE_TARGETS`.

    The object itself must live there too: ``torch.nn.os.system`` starts with a safe name.
    """
    for key, target in _targets(cfg):
        found = pydoc.locate(target) if target.startswith(SAFE_TARGETS) else None
        home = f"{getattr(found, '__module__', '')}."
        is_buildable = inspect.isclass(found) or inspect.isroutine(found)
        if not (is_buildable and home.startswith(SAFE_TARGETS)):
            raise UserError(
                f"{file}: {key} would build {target!r}, which is none of the project's, "
                f"detectron2's, torch's, torchvision's or fvcore's building blocks. "
                f"If the run is your own, add --trust"
            )


def _targets(node: Any, key: str = "cfg") -> Iterator[tuple[str, str]]:
    """``(key, target)`` of every ``_target_`` below ``node``, interpolations left alone."""
    if isinstance(node, DictConfig):
        items = node.items_ex(resolve=False)
    elif isinstance(node, ListConfig):
        items = enumerate(node._iter_ex(resolve=False))
    else:
        return
    for name, value in items:
        if name == "_target_":
            yield key, str(value)
        else:
            yield from _targets(value, f"{key}.{name}")


def apply_overrides(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Apply ``key=value`` overrides in order; each key must exist or be a target's argument.

    ``+key=value`` adds a key that the config doesn't have.
    """
    for override in overrides:
        if override.startswith("-"):
            raise UserError(f"flag {override} stands behind key=value arguments; put flags first")
        if "=" not in override:
            raise UserError(f"override {override!r} has no '='; expected key=value")
        key = override.split("=", 1)[0].strip()
        if not key.startswith("+"):
            _check_key(cfg, key)
        try:
            cfg = LazyConfig.apply_overrides(cfg, [override])
        except Exception as error:  # hydra's and omegaconf's own errors have no common base
            raise UserError(f"override {override!r}: {one_line(error)}") from error
    return cfg


def _check_key(cfg: DictConfig, key: str) -> None:
    node, path = cfg, "the config"
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, DictConfig | ListConfig):
            if node is None and part == "_target_":
                return
            raise UserError(f"override {key!r}: {path} is {node!r} and has no keys below it")
        known = _known_keys(node)
        if part not in known:
            message = unknown_name("key", part, known)
            raise UserError(f"override {key!r}: {message} in {path}; +{key}=... would add it")
        path = ".".join(parts[: depth + 1])
        raw = node._get_node(int(part) if isinstance(node, ListConfig) else part)
        if raw is None:  # an argument that the target has and the config doesn't set
            node = None
        elif depth + 1 < len(parts):
            node = select(cfg, path)


def _known_keys(node: DictConfig | ListConfig) -> list[str]:
    if isinstance(node, ListConfig):
        return [str(i) for i in range(len(node))]
    keys = [str(k) for k in node]
    target = node.get("_target_")
    if isinstance(target, str):
        target = pydoc.locate(target)
    if callable(target):
        keys += [p for p in _parameters(target) if p not in keys]
    return keys


def _parameters(target: Any) -> list[str]:
    try:
        return list(inspect.signature(target).parameters)
    except ValueError:  # built-in types tell no signature
        return []


def select(cfg: DictConfig, key: str) -> Any:
    """``cfg.<key>`` with interpolations resolved; a user's mistake behind one is told as such."""
    try:
        return OmegaConf.select(cfg, key, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise _as_user_error(error, key) from error


def _as_user_error(error: BaseException, key: str) -> UserError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return UserError(f"config key {key}: {one_line(error)}")


def one_line(error: BaseException) -> str:
    """The message of an exception without line breaks, or its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
