"""Checkpoint files: read as data, written whole or not at all.

The file half of ``detectron2.checkpoint`` and of fvcore's checkpointer. Better: nothing in a file
is run, NumPy values load and are saved as numbers and tensors, a file that is no checkpoint is told
in one line, and a crash while saving never leaves half a file.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, BinaryIO

import numpy as np
import torch

from .unpickle import load_pickle, load_torch

__all__ = ["check_model_state", "plain_data", "read_data", "to_tensor", "write_atomically"]

_PLAIN = (bool, int, float, complex, str, bytes, torch.dtype, torch.device)
_NUMBERS = {"b": bool, "i": int, "u": int, "f": float, "c": complex}

# How files of torch.save begin: a zip archive, or (before torch 1.6) a pickled magic number.
_TORCH_STARTS = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")


def read_data(path: str) -> Any:
    """Content of a file of ``torch.save`` or of a pickle; which one, its first bytes tell.

    Raises:
        ValueError: naming the file, and the refused global if it asks for one that isn't data.
        OSError: if it can't be opened.
    """
    with open(path, "rb") as file:
        start = file.read(max(map(len, _TORCH_STARTS)))
        file.seek(0)
        try:
            return load_torch(path) if start.startswith(_TORCH_STARTS) else load_pickle(file)
        except MemoryError:
            raise
        except Exception as error:  # broken bytes can raise anything, OSError too
            raise ValueError(_why_unreadable(path, error)) from error


def _why_unreadable(path: str, error: Exception) -> str:
    if refused := re.search(r"GLOBAL (\S+)", str(error)):
        return (
            f"{path} asks for {refused[1]}, which is code and not data; a checkpoint may hold "
            f"tensors, NumPy arrays, numbers, text and containers of them"
        )
    # torch wraps its own reason in advice to load without safety; only the reason is told.
    detail = str(error).rpartition("WeightsUnpickler error:")[2].strip().split("\n")[0][:200]
    return f"{path} is no checkpoint, or a damaged one ({type(error).__name__}: {detail})"


def check_model_state(state: Any, file: str) -> None:
    """Make sure that ``state`` maps names to tensors, arrays of numbers or NumPy numbers.

    Raises:
        ValueError: naming the file, and the entry that is something else.
    """
    if not isinstance(state, dict):
        raise ValueError(f"{file} holds no dict 'model' of weights, but {type(state).__name__}")
    for name, value in state.items():
        is_array = isinstance(value, np.ndarray | np.generic) and value.dtype.kind in _NUMBERS
        if not (isinstance(name, str) and (is_array or isinstance(value, torch.Tensor))):
            raise ValueError(
                f"{file} holds no weights: {name!r} is no tensor and no array of numbers, "
                f"but {type(value).__name__}"
            )


def plain_data(value: Any, where: str = "checkpoint") -> Any:
    """``value`` with numbers, text, tensors and plain containers only, so that it loads safely.

    NumPy scalars become numbers, NumPy arrays tensors (of text: lists), other mappings dicts and
    other sequences lists. Tensors keep their memory: nothing is copied.

    Raises:
        TypeError: naming the entry that is none of these.
    """
    if value is None or type(value) in _PLAIN:
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().as_subclass(torch.Tensor)
    if isinstance(value, np.ndarray):
        is_text = value.dtype.kind not in _NUMBERS
        return plain_data(value.tolist(), where) if is_text else to_tensor(value)
    for kind in (int, float, complex, str, bytes):  # np.float64, enumerations, other subclasses
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, np.generic) and value.dtype.kind in _NUMBERS:
        return _NUMBERS[value.dtype.kind](value)
    if isinstance(value, Mapping):
        return _plain_mapping(value, where)
    if isinstance(value, Set):
        return {plain_data(item, where) for item in value}
    if isinstance(value, Sequence):
        items = [plain_data(item, f"{where}[{i}]") for i, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    raise TypeError(
        f"{where} is a {type(value).__module__}.{type(value).__qualname__}; "
        f"a checkpoint holds numbers, text, tensors and containers of them, nothing else"
    )


def _plain_mapping(value: Mapping, where: str) -> dict:
    items = {plain_data(k, f"{where} key"): plain_data(v, f"{where}.{k}") for k, v in value.items()}
    metadata = getattr(value, "_metadata", None)
    if not isinstance(metadata, Mapping):
        return items
    # Versions of the modules of a state dict: modules convert older ones when they load them.
    state = OrderedDict(items)
    state._metadata = plain_data(metadata, f"{where}._metadata")
    return state


def to_tensor(array: np.ndarray | np.generic) -> torch.Tensor:
    """Numbers as a tensor; shares memory where torch can (native, writable, 64 bits at most)."""
    array = np.asarray(array)
    dtype = np.float64 if array.dtype == np.longdouble else array.dtype.newbyteorder("=")
    sharable = array.flags.writeable and all(stride >= 0 for stride in array.strides)
    return torch.from_numpy(array.astype(dtype, order="C", copy=not sharable))


def write_atomically(path: str, write: Callable[[BinaryIO], Any]) -> None:
    """Let ``write(file)`` fill the file at ``path``, which appears when all of it is on the disk.

    Until then, and after an error, an older file of that name stays as it was.
    """
    temporary = f"{path}.tmp"
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise
