"""From a dotted name to its object and back (what ``_target_`` in a saved config means).

Follows ``detectron2.utils.registry`` (locate). Better than upstream: a package's attribute wins
over its submodule of the same name, and an import that fails tells why.
"""

from __future__ import annotations

import builtins
import importlib
import inspect
import sys
from typing import Any

__all__ = ["dotted_name", "locate"]


def locate(name: str) -> Any:
    """The object called ``name``, such as ``"torch.nn.Conv2d"`` or ``"pkg.mod.Class.method"``.

    Modules are imported as far as needed: the shortest one from which attributes lead to the end.

    Raises:
        ImportError: if nothing has this name, or a module on the way doesn't import.
    """
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError as error:
            if not f"{name}.".startswith(f"{error.name}."):
                raise ImportError(f"can't import {name!r}: {error}", name=name) from error
            break  # no such module, and so none below it
        except Exception as error:
            raise ImportError(
                f"can't import {name!r}: {type(error).__name__}: {error}", name=name
            ) from error
        try:
            return _follow(found, parts[length:])
        except AttributeError:
            continue
    try:
        return _follow(builtins, parts)
    except AttributeError:
        raise ImportError(f"nothing that can be imported is called {name!r}", name=name) from None


def dotted_name(target: Any) -> str | None:
    """Shortest name by which `locate` finds ``target``: ``torch.nn.Conv2d``, not its home module.

    Falls back to ``module.qualname`` where no name leads back to it (a lambda, a local class), and
    to None for objects that have no such names (a partial, an instance).
    """
    module, qualname = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
    if not module or not qualname:
        return None
    parts = module.split(".")
    prefixes = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
    candidates = [f"{prefix}.{qualname}" for prefix in prefixes if _reaches(prefix, qualname)]
    return next((name for name in candidates if is_name_of(name, target)), f"{module}.{qualname}")


def is_name_of(name: str, target: Any) -> bool:
    """Whether `locate` finds this very object (an equal one for bound methods) by ``name``."""
    try:
        found = locate(name)
    except ImportError:
        return False
    return found is target or (inspect.ismethod(target) and found == target)


def _reaches(module: str, qualname: str) -> bool:
    """Whether an imported module leads to ``qualname``: spares imports that can only fail."""
    try:
        _follow(sys.modules[module], qualname.split("."))
    except (KeyError, AttributeError):
        return False
    return True


def _follow(start: Any, attributes: list[str]) -> Any:
    for attribute in attributes:
        start = getattr(start, attribute)
    return start
