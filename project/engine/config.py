"""Configs as the tools meet them: files with overrides, and other people's run folders.

`load_config` runs a LazyConfig file in Python, which is the user's own. A ``.yaml`` file, such as
the ``config.yaml`` that `load_run` reads, may come from anybody: it is read as plain data.
"""

from __future__ import annotations

import inspect
import os
import pydoc
import re
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import project.engine.schedule  # noqa: F401 - registers the resolvers that the configs use
from project.data.catalog import foreign_root
from project.errors import UserError, one_line, unknown_name

import yaml
from detectron2.config import LazyConfig, instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

# What a run folder of unknown origin may build: models, data, optimizers, schedules, evaluators.
# Narrower than whole packages: `torch.load`, `torch.hub` or `LazyConfig.load` would run code.
SAFE_TARGETS = (
    "project.data.augmentation.",
    "project.data.balance.",
    "project.data.loss_weights.",
    "project.data.catalog.",
    "project.data.loader.",
    "project.data.mapper.",
    "project.data.sampler.",
    "project.data.semantic_mapper.",
    "project.modeling.",
    "project.engine.hooks.",
    "project.engine.optimizer.",
    "project.engine.schedule.",
    "project.engine.trackers.",
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


_REMEDY = "--trust builds it all the same: for files of your own"


def load_config(
    file: str | Path, overrides: Sequence[str] = (), *, trust: bool = False
) -> DictConfig:
    """The config of a ``.py`` or ``.yaml`` file with ``key=value`` overrides applied in order.

    Args:
        trust: build whatever ``_target_`` a ``.yaml`` file names, and accept Python objects in it.
            Only for files of your own: such a config can run any code. A ``.py`` file always can.

    Raises:
        UserError: if the file is missing or fails to load, a ``.yaml`` file asks for more than
            `SAFE_TARGETS`, or an override is malformed or names a key that the config doesn't have.
    """
    file = Path(file)
    if not file.is_file():
        raise UserError(f"config file {file} does not exist")
    plain = file.suffix in (".yaml", ".yml") and not trust
    cfg = _read_plain(file) if plain else _run_file(file)
    if not isinstance(cfg, DictConfig):
        raise UserError(f"{file} holds no config, but a {type(cfg).__name__}")
    if plain:
        check_targets(cfg, file)
    return apply_overrides(cfg, overrides)


def _run_file(file: Path) -> DictConfig | ListConfig:
    """The config that a file of the user's own makes."""
    try:
        return LazyConfig.load(str(file))
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a config file is a program: anything may come
        raise UserError(
            f"config file {file} fails to load: {type(error).__name__}: {one_line(error)}"
        ) from error


def load_run(
    run_dir: str | Path, overrides: Sequence[str] = (), *, trust: bool = False
) -> DictConfig:
    """The config that a run folder keeps, read as plain data; ``train.output_dir`` is the folder.

    Args:
        trust: see `load_config`.

    Raises:
        UserError: if there is no config, or it asks for more than `SAFE_TARGETS`.
    """
    run_dir = Path(run_dir)
    file = run_dir / "config.yaml"
    if not file.is_file():
        raise UserError(f"{run_dir} is no run folder: it has no config.yaml")
    cfg = load_config(file, trust=trust)
    if not isinstance(OmegaConf.to_container(cfg).get("train"), dict):
        raise UserError(f"{file} holds no run's config: it has no section 'train'")
    cfg.train.output_dir = str(run_dir)
    _settle_root(cfg, file)
    return apply_overrides(cfg, overrides)


def save_config(cfg: DictConfig, run_dir: str | Path) -> None:
    """Write ``config.yaml`` into a run folder in one step: it is never half there, or gone."""
    with TemporaryDirectory(dir=run_dir, prefix=".config-") as temporary:
        LazyConfig.save(cfg, str(Path(temporary, "config.yaml")))
        for file in Path(temporary).iterdir():  # a pickle too where YAML can't tell all
            os.replace(file, Path(run_dir, file.name))


def _settle_root(cfg: DictConfig, file: Path) -> None:
    name, root = (
        OmegaConf.select(cfg, f"dataset.{key}", throw_on_resolution_failure=False)
        for key in ("name", "root")
    )
    if root is not None and foreign_root(name, root, file) is None:
        cfg.dataset.root = None


def _read_plain(file: Path) -> DictConfig | ListConfig:
    """What a YAML file that nobody vouches for holds; nothing in it is looked at yet."""
    try:
        content = yaml.safe_load(file.read_text("utf-8"))
        return OmegaConf.create({} if content is None else content, flags={"allow_objects": True})
    except Exception as error:  # YAML's constructors raise anything on damaged values
        reason = one_line(error)[:300]
        if isinstance(error, yaml.constructor.ConstructorError):  # of a Python object
            reason += f"; {_REMEDY}"
        raise UserError(f"{file} is not plain data: {reason}") from error


# What an interpolation may be: the way to another node, or one of our three resolvers. OmegaConf's
# own make new nodes out of text (oc.create, oc.decode) or tell the environment (oc.env).
_SAFE_INTERPOLATION = re.compile(r"\$\{\s*(?:[\w.\[\]]+\s*\}|(?:iterations|part|scaled_lr):)")


def check_targets(cfg: DictConfig, file: Path) -> None:
    """Refuse a config that would build anything outside `SAFE_TARGETS`.

    The object itself must live there too: ``torch.nn.os.system`` starts with a safe name.
    """
    for key, value in _texts(OmegaConf.to_container(cfg, resolve=False)):
        if value.count("${") != len(_SAFE_INTERPOLATION.findall(value)):
            raise UserError(
                f"{file}: {key} is {value!r}; interpolations may lead to other keys, or use "
                f"'iterations', 'part' and 'scaled_lr'; {_REMEDY}"
            )
        if key.endswith("._target_") and not _is_safe(value):
            raise UserError(
                f"{file}: {key.removesuffix('._target_')} would build {value!r}, which is none of "
                f"the project's, detectron2's, torch's, torchvision's or fvcore's building "
                f"blocks; {_REMEDY}"
            )


def _is_safe(target: str) -> bool:
    if not target.startswith(SAFE_TARGETS):
        return False
    try:
        found = pydoc.locate(target)
    except pydoc.ErrorDuringImport:
        return False
    home = f"{getattr(found, '__module__', '')}."
    return (inspect.isclass(found) or inspect.isroutine(found)) and home.startswith(SAFE_TARGETS)


def _texts(node: Any, key: str = "cfg") -> Iterator[tuple[str, str]]:
    """``(key, text)`` of every text in a container; a ``_target_`` counts as text in any case."""
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, list):
        items = enumerate(node)
    else:
        if isinstance(node, str):
            yield key, node
        return
    for name, value in items:
        if name == "_target_":
            yield f"{key}._target_", str(value)
        else:
            yield from _texts(value, f"{key}.{name}")


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
        reason = str(error).split("\n")[0]  # then come omegaconf's own names for the place
        mistake = _user_error_behind(error) or UserError(f"config key {key!r}: {reason}")
        raise mistake from error


def _user_error_behind(error: BaseException | None) -> UserError | None:
    """The user's mistake among the causes of ``error``: resolvers wrap what they raise."""
    while not isinstance(error, UserError | None):
        error = error.__cause__ or error.__context__
    return error


def require(cfg: DictConfig, *keys: str) -> None:
    """Raise a `UserError` unless the config has each of ``keys`` (dotted)."""
    for key in keys:
        node: Any = cfg
        parts = key.split(".")
        for depth, part in enumerate(parts, 1):
            known = [str(k) for k in node] if isinstance(node, DictConfig) else []
            if part not in known:
                raise UserError(f"the config has no {key!r}: {unknown_name('key', part, known)}")
            if depth < len(parts):  # what the key itself holds is looked at elsewhere
                node = select(node, part)


def build(node: Any, key: str) -> Any:
    """What ``node``, the config's ``key``, describes; a mistake in it is told with the key.

    Raises:
        UserError: with the innermost place in the code, as a component may be wrong as well.
    """
    if node is None or isinstance(node, str | int | float):
        raise UserError(f"config key {key!r} is {node!r}; expected a _target_ and its arguments")
    try:
        return instantiate(node)
    except UserError:
        raise
    except Exception as error:  # a config may call anything
        if (mistake := _user_error_behind(error)) is not None:
            raise mistake from error
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise UserError(
            f"config key {key!r} can't be built: {type(error).__name__}: {one_line(error)} "
            f"({Path(place.filename).name}:{place.lineno})"
        ) from error
