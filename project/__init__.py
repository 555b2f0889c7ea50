"""Mask R-CNN on COCO subsets. Importing this package makes the name ``detectron2`` importable.

Detectron2 is on no package registry, so ``project/detectron2`` implements the part of its API that
we use. Importing `project` puts a finder in front of `sys.meta_path`:

* where a real Detectron2 is installed, the finder stands aside;
* elsewhere it answers ``import detectron2`` with the bundled implementation, and
  ``project.detectron2`` is the same module object, so that classes, pickles and saved configs
  always say ``detectron2.…``;
* ``PROJECT_DETECTRON2=bundled`` or ``installed`` forces one of them.

Nothing heavy is imported here (no torch).
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import multiprocessing.process
import os
import sys
from pathlib import Path

__version__ = "0.1.0"

_NAME = "detectron2"
_ALIAS = f"{__name__}.{_NAME}"
_FOLDER = Path(__file__).parent / _NAME
_SWITCH = "PROJECT_DETECTRON2"


def detectron2_source() -> str:
    """Which Detectron2 answers in this process: ``"bundled"`` or ``"installed"``.

    "Installed" means that the environment holds the metadata of a distribution of that name; a bare
    ``detectron2/`` folder in the working directory isn't an installation.

    Raises:
        ImportError: if ``PROJECT_DETECTRON2`` is no known word, or forces what can't be had.
    """
    choice = os.environ.get(_SWITCH, "")
    if choice not in ("", "bundled", "installed"):
        raise ImportError(f"{_SWITCH}={choice!r}: expected 'bundled', 'installed' or nothing.")
    if (loaded := sys.modules.get(_NAME)) is not None:
        actual = "bundled" if _is_bundle(loaded) else "installed"
        if choice not in ("", actual):
            raise ImportError(
                f"{_SWITCH}={choice}, but the {actual} Detectron2 is already imported from "
                f"{list(loaded.__path__)}; set the variable before anything imports detectron2."
            )
        return actual
    if choice:
        if choice == "installed" and not _installed():
            raise ImportError(
                f"{_SWITCH}=installed, but no Detectron2 is installed in {sys.prefix}; "
                f"install one, or unset the variable to use the bundled implementation."
            )
        return choice
    return "installed" if _installed() else "bundled"


def _is_bundle(module) -> bool:
    return [Path(p) for p in getattr(module, "__path__", [])] == [_FOLDER]


def _installed() -> bool:
    try:
        importlib.metadata.distribution(_NAME)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


class _Finder(importlib.abc.MetaPathFinder):
    """Answers for ``detectron2`` (only where the bundle does) and for ``project.detectron2``."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname == _NAME and detectron2_source() == "bundled":
            return importlib.util.spec_from_file_location(
                _NAME, _FOLDER / "__init__.py", submodule_search_locations=[str(_FOLDER)]
            )
        if fullname == _ALIAS or fullname.startswith(_ALIAS + "."):
            if detectron2_source() == "installed":
                raise ImportError(
                    f"{fullname} stays closed: the installed Detectron2 answers here, and the two "
                    f"never run in one process. Import {_NAME!r}, or set {_SWITCH}=bundled."
                )
            return importlib.machinery.ModuleSpec(fullname, _AliasLoader())
        return None


class _AliasLoader(importlib.abc.Loader):
    """Loads ``project.detectron2.x`` by handing out the module object of ``detectron2.x``."""

    def create_module(self, spec):
        module = importlib.import_module(spec.name.removeprefix(f"{__name__}."))
        spec.loader_state = module.__spec__  # the import system overwrites it; see exec_module
        return module

    def exec_module(self, module):
        module.__spec__ = module.__spec__.loader_state


class _ImportInChild:
    """Unpickling one imports `project`, and with it the finder."""


if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
    sys.meta_path.insert(0, _Finder())
if os.environ.get(_SWITCH) and _NAME in sys.modules:
    detectron2_source()  # a forced choice that can't be had any more is told at once
# Spawned and fork-served children unpickle their process object, this dictionary first, so that the
# finder stands before a dataset or function of `detectron2` is unpickled, whatever ``__main__`` is.
multiprocessing.process.current_process()._config[__name__] = _ImportInChild()
