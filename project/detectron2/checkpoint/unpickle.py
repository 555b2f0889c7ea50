"""Reads pickles that hold arrays and plain containers, and nothing else.

A pickle may name any function to call; this reader knows a short list of names and refuses all
others, so that a checkpoint from a stranger is data, not code. Upstream unpickles anything.
"""

from __future__ import annotations

import codecs
import collections
import io
import pickle
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import torch

__all__ = ["load_pickle", "load_torch"]

# Object arrays are left out: what they hold is no number.
_DTYPES = [type(np.dtype(code)) for code in "?bhilqBHILQefdgFDSU"]


def load_torch(file: str | BinaryIO) -> Any:
    """Content of a file of ``torch.save``, tensors on the CPU; nothing but data (NumPy's too)."""
    multiarray = np._core.multiarray
    allowed = [np.ndarray, np.dtype, *_DTYPES]
    for function in (multiarray._reconstruct, multiarray.scalar):
        # NumPy 1 wrote the same functions under another name.
        allowed += [function, (function, f"numpy.core.multiarray.{function.__name__}")]
    with torch.serialization.safe_globals(allowed):
        return torch.load(file, map_location="cpu", weights_only=True)


def load_pickle(file: BinaryIO) -> Any:
    """Content of a pickle (Python 2's too) of NumPy arrays, tensors, numbers, text and containers.

    Raises:
        pickle.UnpicklingError: naming the refused global, if the pickle asks for another one.
    """
    return _DataUnpickler(file, encoding="latin1").load()


class _Function:
    """A function that the pickle may call and can't change (BUILD sets attributes of objects)."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable):
        object.__setattr__(self, "_call", call)

    def __setattr__(self, name, value):
        raise pickle.UnpicklingError(f"a pickle may not set {name!r} of a function")

    def __call__(self, *args):
        return self._call(*args)


def _encode(text: str, encoding: str) -> bytes:
    """Python 3 writes bytes this way into pickles that Python 2 can read; always as latin1."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"a pickle may not encode text as {encoding!r}")
    return codecs.latin_1_encode(text)[0]


def _storage_from_bytes(data: bytes) -> Any:
    """Memory of a tensor; torch's own function for this would unpickle anything."""
    return load_torch(io.BytesIO(data))


def _allowed_globals() -> dict[tuple[str, str], Any]:
    plain = (set, frozenset, complex, bytes, bytearray, list, dict, tuple, int, float, bool, str)
    allowed: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("_codecs", "encode"): _Function(_encode),
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("torch", "Size"): _Function(torch.Size),
        ("torch.storage", "_load_from_bytes"): _Function(_storage_from_bytes),
    }
    for module in ("builtins", "__builtin__"):
        allowed |= {(module, kind.__name__): kind for kind in plain}
    for core in ("numpy._core", "numpy.core"):
        allowed |= {
            (f"{core}.multiarray", "_reconstruct"): _Function(np._core.multiarray._reconstruct),
            (f"{core}.multiarray", "scalar"): _Function(np._core.multiarray.scalar),
            (f"{core}.numeric", "_frombuffer"): _Function(np._core.numeric._frombuffer),
        }
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"):
        allowed["torch._utils", name] = _Function(getattr(torch._utils, name))
    return allowed


_ALLOWED = _allowed_globals()


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"refused GLOBAL {module}.{name}") from None
