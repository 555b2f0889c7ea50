"""Names for objects; follows the API of ``detectron2.utils.registry``.

`Registry` is fvcore's. `locate` is better than upstream's: a package's attribute wins over its
submodule of the same name, and an import that fails tells why.
"""

from __future__ import annotations

import builtins
import importlib
from collections.abc import Sequence
from typing import Any

from fvcore.common.registry import Registry

__all__ = ["Registry", "locate"]


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
            return follow(found, parts[length:])
        except AttributeError:
            continue
    try:
        return follow(builtins, parts)
    except AttributeError:
        raise ImportError(f"nothing that can be imported is called {name!r}", name=name) from None


def follow(start: Any, attributes: Sequence[str]) -> Any:
    """What the chain of ``attributes`` leads to from ``start``; `AttributeError` if it breaks."""
    for attribute in attributes:
        start = getattr(start, attribute)
    return start
