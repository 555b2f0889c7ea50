"""Names for objects; follows the API of ``detectron2.utils.registry``.

`Registry` is fvcore's. `locate` turns a dotted name into the object, and says in its error how far
it got.
"""

from __future__ import annotations

import importlib
from typing import Any

from fvcore.common.registry import Registry

__all__ = ["Registry", "locate"]


def locate(name: str) -> Any:
    """The object with the dotted ``name``: ``"torch.nn.Conv2d"``, ``"pkg.mod.Class.method"``.

    Imports the longest prefix that is a module and takes the rest as attributes.

    Raises:
        ImportError: if a part of the name can't be found; an error inside an imported module
            passes through as it is.
    """
    parts = name.split(".")
    assert all(parts), f"no dotted name: {name!r}"
    found, consumed = _longest_module(parts)
    for i in range(consumed, len(parts)):
        if not hasattr(found, parts[i]):
            where = ".".join(parts[:i])
            raise ImportError(f"cannot locate {name!r}: {where!r} has no {parts[i]!r}")
        found = getattr(found, parts[i])
    return found


def _longest_module(parts: list[str]) -> tuple[Any, int]:
    """The module named by the longest importable prefix, and that prefix's length."""
    module = None
    for i in range(1, len(parts) + 1):
        prefix = ".".join(parts[:i])
        if module is not None and not hasattr(module, "__path__"):
            return module, i - 1
        try:
            module = importlib.import_module(prefix)
        except ModuleNotFoundError as error:
            if error.name != prefix:  # the module exists, one that it imports doesn't
                raise
            if module is None:
                raise ImportError(
                    f"cannot locate {'.'.join(parts)!r}: no module {prefix!r}"
                ) from error
            return module, i - 1
    return module, len(parts)
