"""Lazy calls and config files (API of ``detectron2.config.lazy``).

A config is a Python file that describes objects without making them. Better than upstream: see
`execute`, `overrides` and `export`; dict-like types may be targets, and a key that a file lacks is
told with the keys it has.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from ..utils.file_io import PathManager
from . import export
from .execute import as_config, run_file
from .naming import dotted_name
from .overrides import apply_overrides

__all__ = ["LazyCall", "LazyConfig"]


class LazyCall:
    """``LazyCall(target)(a=1)`` describes the call ``target(a=1)``; `instantiate` makes it.

    The description is a ``DictConfig`` of the keyword arguments and ``_target_``. It may hold any
    object, and arguments may be read, changed, added and deleted.

    Args:
        target: a callable, its dotted name, or the description of a callable.

    Raises:
        TypeError: if `target` is none of these.
    """

    def __init__(self, target: Callable | str | Mapping):
        if not (callable(target) or isinstance(target, str | Mapping)):
            raise TypeError(
                f"target must be a callable, its dotted name or a lazy call, got {target!r}"
            )
        self._target = target

    def __call__(self, **kwargs) -> DictConfig:
        # omegaconf would take these types for a schema of the node, so their names are stored.
        is_schema = isinstance(self._target, type) and (
            dataclasses.is_dataclass(self._target) or issubclass(self._target, dict)
        )
        target = dotted_name(self._target) if is_schema else self._target
        return as_config({**kwargs, "_target_": target})


class LazyConfig:
    """Loads, changes and saves config files."""

    @staticmethod
    def load(filename: str, keys: str | Iterable[str] | None = None) -> Any:
        """The config that a ``.py``, ``.yaml`` or ``.yml`` file describes.

        A Python file is run anew each time; relative imports in it lead to other config files, by
        their place alone. YAML may hold Python tags. So a config file is code: load only your own.

        Args:
            filename: path, or anything that PathManager opens.
            keys: one name of the file, or several.

        Returns:
            Without `keys`: a ``DictConfig`` of the top-level names that don't start with ``_`` and
            hold a mapping or an omegaconf list. With `keys`: the value of that name, whatever it
            is, or a tuple of values. Plain dicts become ``DictConfig``.

        Raises:
            ValueError: for another extension.
            KeyError: if the file lacks a key of `keys`.
            OSError, SyntaxError, ImportError: see `execute.run_file`.
        """
        filename = os.fspath(filename)
        extension = os.path.splitext(filename)[1]
        if extension not in (".py", ".yaml", ".yml"):
            raise ValueError(f"a config file ends in .py, .yaml or .yml, got {filename!r}")
        if extension == ".py":
            return _select(run_file(filename), keys, filename)
        content = _read_yaml(filename)
        return content if keys is None else _select(content, keys, filename)

    @staticmethod
    def load_rel(filename: str, keys: str | Iterable[str] | None = None) -> Any:
        """Like `load`, with ``filename`` relative to the source file of the caller."""
        caller = sys._getframe(1).f_code.co_filename
        if caller.startswith("<"):
            raise ValueError(f"load_rel is for code that stands in a file, not in {caller}")
        return LazyConfig.load(os.path.join(os.path.dirname(caller), filename), keys)

    @staticmethod
    def save(cfg: DictConfig, filename: str) -> None:
        """Write ``cfg`` as YAML; see `export.save`."""
        export.save(cfg, os.fspath(filename))

    @staticmethod
    def apply_overrides(cfg: DictConfig, overrides: Iterable[str]) -> DictConfig:
        """``cfg`` itself after changes such as ``train.max_iter=3000``; see `overrides`."""
        return apply_overrides(cfg, overrides)

    @staticmethod
    def to_py(cfg: DictConfig, prefix: str = "cfg.") -> str:
        """``cfg`` as pseudo code for people; see `export.to_py`."""
        return export.to_py(cfg, prefix)


def _read_yaml(filename: str) -> DictConfig | ListConfig:
    import yaml

    with PathManager.open(filename, "r", encoding="utf-8") as file:
        content = yaml.unsafe_load(file)
    return OmegaConf.create({} if content is None else content, flags={"allow_objects": True})


def _select(names: Mapping[str, Any], keys: str | Iterable[str] | None, filename: str) -> Any:
    if keys is None:
        kinds = (DictConfig, ListConfig, dict)
        public = {k: v for k, v in names.items() if not k.startswith("_") and isinstance(v, kinds)}
        return as_config(public)
    if not isinstance(keys, str):
        return tuple(_select(names, key, filename) for key in keys)
    if keys not in names:
        known = ", ".join(str(name) for name in names if not str(name).startswith("_"))
        raise KeyError(f"{filename} has no {keys!r}; it has {known}")
    return as_config(names[keys])
