"""The two global tables: dataset name → loader, and dataset name → metadata.

Follows the API of ``detectron2.data.catalog``. A mistyped dataset name or metadata field is
answered with its closest known spelling; nothing is registered by an import.
"""

from __future__ import annotations

import difflib
import types
from collections import UserDict
from collections.abc import Callable, Iterable

__all__ = ["DatasetCatalog", "Metadata", "MetadataCatalog"]


def _known(name: str, names: Iterable[str]) -> str:
    """A half sentence that lists ``names``, the closest spelling of ``name`` first."""
    names = sorted(names)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(names) or '(none)'}"


class _DatasetCatalog(UserDict):
    """Dataset names and the functions that load their records (a list of dicts)."""

    def register(self, name: str, func: Callable[[], list[dict]]) -> None:
        """Remember ``func`` (no arguments) as the loader of ``name``; it isn't called now.

        Raises:
            AssertionError: if ``func`` can't be called, or ``name`` is taken.
        """
        assert callable(func), f"Dataset {name!r} needs a function, got {func!r}"
        assert name not in self.data, f"Dataset {name!r} is already registered; remove it first"
        self.data[name] = func

    def get(self, name: str) -> list[dict]:
        """The records of ``name``, loaded anew by every call.

        Raises:
            KeyError: if no dataset has this name.
        """
        if name not in self.data:
            raise KeyError(f"Dataset {name!r} is not registered; {_known(name, self.data)}")
        return self.data[name]()

    def list(self) -> list[str]:
        """All registered names, in order of registration."""
        return [*self.data]

    def remove(self, name: str) -> None:
        """Forget ``name`` (``KeyError`` if it is unknown). Its metadata stays."""
        del self.data[name]

    def __repr__(self) -> str:
        return f"DatasetCatalog({', '.join(self.data)})"


class Metadata(types.SimpleNamespace):
    """What is true of a whole dataset: class names, colours, file locations.

    A field may be written once; writing an equal value again is harmless, another value is an
    error, since parts of a program would then disagree on what a class index means.
    """

    # Without it, reading `name` of a Metadata made by hand would be an error.
    name: str = "N/A"

    def __getattr__(self, key: str):
        # Only called when the usual look-up failed.
        raise AttributeError(
            f"Dataset {self.name!r} has no metadata {key!r}; {_known(key, vars(self))}"
        )

    def __setattr__(self, key: str, value) -> None:
        if key in vars(self):
            old = vars(self)[key]
            assert old == value, (
                f"Metadata {key!r} of dataset {self.name!r} is already {old!r}; "
                f"it can't become {value!r}"
            )
        super().__setattr__(key, value)

    def as_dict(self) -> dict:
        """A copy of all fields; changing it doesn't change the metadata."""
        return dict(vars(self))

    def set(self, **fields) -> Metadata:
        """Write several fields; returns the object itself."""
        for key, value in fields.items():
            setattr(self, key, value)
        return self

    def get(self, key: str, default=None):
        """The field ``key``, or ``default`` where it was never set."""
        return vars(self).get(key, default)


class _MetadataCatalog(UserDict):
    """Dataset names and their `Metadata`."""

    def get(self, name: str) -> Metadata:
        """The metadata of ``name``: always the same object, made by the first call.

        Raises:
            AssertionError: if ``name`` is empty.
        """
        assert name, "A dataset name can't be empty"
        if name not in self.data:
            self.data[name] = Metadata(name=name)
        return self.data[name]

    def list(self) -> list[str]:
        """All names that have metadata."""
        return [*self.data]

    def remove(self, name: str) -> None:
        """Forget the metadata of ``name`` (``KeyError`` if there is none)."""
        del self.data[name]

    def __repr__(self) -> str:
        return f"MetadataCatalog({', '.join(self.data)})"


DatasetCatalog = _DatasetCatalog()
MetadataCatalog = _MetadataCatalog()
