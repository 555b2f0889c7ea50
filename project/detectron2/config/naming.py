"""From an object to the dotted name that a config stores for it (``_target_`` in a saved config).

The way back is `locate` of `utils.registry`.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

from ..utils.registry import follow, locate

__all__ = ["dotted_name", "is_name_of"]


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
    """Whether an imported module holds ``qualname`` itself: not by a ``__getattr__`` of its own.

    This spares imports that can only fail, and leaves out aliases (see `utils.aliases`).
    """
    first, *rest = qualname.split(".")
    try:
        follow(vars(sys.modules[module])[first], rest)
    except (KeyError, AttributeError):
        return False
    return True
