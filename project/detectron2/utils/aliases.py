"""Names that a package passes on from its submodules without owning them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["names_of_submodules"]


def names_of_submodules(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package from which ``homes`` (submodule → names) are reached too.

    Nothing is stored in the package: saved configs call these objects by their home, the one place
    where the real Detectron2 has them (see `config.naming`).
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def __getattr__(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{home_of[name]}"), name)

    return __getattr__
