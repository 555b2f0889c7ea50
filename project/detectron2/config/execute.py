"""Runs config files written in Python, with imports relative to where the files lie.

Follows the import rules of ``detectron2.config.lazy``. Better than upstream: the import function of
the interpreter is never replaced. Each config file runs with its own built-ins, so nothing has to
be undone after an error, and other code and other threads don't notice. Circles are told.
"""

from __future__ import annotations

import builtins
import itertools
import os
import types
from typing import Any

from omegaconf import DictConfig

from ..utils.file_io import PathManager

__all__ = ["as_config", "run_file"]

_serial = itertools.count()


class MissingName(ImportError, KeyError):
    """A config file imports a name that the other file doesn't define."""


def as_config(value: Any) -> Any:
    """``value``, a plain dict turned into a ``DictConfig`` that may hold any object."""
    return DictConfig(value, flags={"allow_objects": True}) if isinstance(value, dict) else value


def run_file(file: str, importers: tuple[str, ...] = ()) -> dict[str, Any]:
    """Namespace of the config ``file`` after running it; nothing is cached.

    Args:
        file: path, or anything that PathManager opens.
        importers: the config files whose imports led here.

    Raises:
        SyntaxError: naming the file and the line.
        ImportError: if a relative import leads to no file (or in a circle).
        KeyError: if it asks for a name that the other file lacks (an ImportError too).
        OSError: if `file` can't be read.
    """
    return _run(file, _read(file), importers)


def _read(file: str) -> str:
    with PathManager.open(file, "r", encoding="utf-8") as opened:
        return opened.read()


def _run(file: str, source: str, importers: tuple[str, ...]) -> dict[str, Any]:
    code = compile(source, file, "exec")
    package = f"detectron2_config_{next(_serial)}"
    namespace = {
        "__file__": file,
        "__name__": f"{package}.{os.path.splitext(os.path.basename(file))[0]}",
        "__package__": package,
        "__builtins__": {**vars(builtins), "__import__": _importer(package, (*importers, file))},
    }
    exec(code, namespace)
    return namespace


def _importer(package: str, files: tuple[str, ...]):
    """The ``__import__`` of the config file ``files[-1]``."""

    def config_import(name, globals=None, locals=None, fromlist=(), level=0):
        if level == 0:
            return builtins.__import__(name, globals, locals, fromlist, level)
        return _relative_import(package, files, name, fromlist or (), level)

    return config_import


def _relative_import(package: str, files: tuple[str, ...], name: str, fromlist, level: int):
    statement = f"from {'.' * level}{name} import {', '.join(fromlist)} (in {files[-1]})"
    if not name:
        raise ImportError(f"{statement}: name the file after the dots, such as 'from .file import'")
    file = _relative_file(files[-1], name, level)
    if file in files:
        raise ImportError(f"{statement}: circular import: {' -> '.join((*files, file))}")
    try:
        source = _read(file)
    except OSError as error:
        is_folder = os.path.isdir(file.removesuffix(".py"))
        hint = "; there is a folder of that name: import from a file in it" if is_folder else ""
        raise ImportError(f"{statement}: can't read {file}{hint}") from error
    namespace = _run(file, source, files)
    if missing := [wanted for wanted in fromlist if wanted not in namespace]:
        raise MissingName(f"{statement}: {file} defines no {', '.join(missing)}")
    module = types.ModuleType(f"{package}.{name}")
    vars(module).update({wanted: as_config(namespace[wanted]) for wanted in fromlist})
    return module


def _relative_file(importer: str, name: str, level: int) -> str:
    """Where ``from <level dots>name import ...`` in the file ``importer`` leads, by paths alone."""
    scheme, separator, path = importer.rpartition("://")
    up = [os.pardir] * (level - 1)
    path = os.path.join(os.path.dirname(path), *up, *name.split(".")) + ".py"
    return scheme + separator + os.path.normpath(path)
