"""Whole batches from loader processes to the training process in one piece of shared memory each.

Torch hands over each tensor by itself: a file of shared memory and a connection of its own, half a
millisecond of the training process for each of four tensors an image. Here the numbers of all
tensors and arrays of a batch are laid into one buffer (pickle protocol 5, PEP 574), and the other
side's tensors are views of it: no more copies than torch makes, and one connection.
"""

from __future__ import annotations

import io
import pickle
from itertools import accumulate
from typing import Any, NamedTuple

import torch

ALIGNMENT = 64  # bytes: a cache line, and more than any dtype needs


class Packed(NamedTuple):
    """Any picklable object; its arrays are in shared memory.

    Attributes:
        pickled: all but the numbers of tensors and arrays.
        sizes: bytes of each of these, in the order in which ``pickled`` asks for them.
        memory: uint8 [B], shared: the numbers, each from the next multiple of `ALIGNMENT` on.
    """

    pickled: bytes
    sizes: list[int]
    memory: torch.Tensor


def pack(batch: Any) -> Packed:
    """``batch`` for another process; the last step in a loader process (its ``collate_fn``)."""
    stream, buffers = io.BytesIO(), []
    _ArrayPickler(stream, protocol=5, buffer_callback=buffers.append).dump(batch)
    raw = [buffer.raw() for buffer in buffers]
    sizes = [len(numbers) for numbers in raw]
    *starts, total = _starts(sizes)
    # Shared from the beginning, as torch's own collating does it: nothing is copied twice.
    memory = torch.tensor([], dtype=torch.uint8).set_(torch.UntypedStorage._new_shared(total))
    target = memoryview(memory.numpy())
    for start, size, numbers in zip(starts, sizes, raw, strict=True):
        target[start : start + size] = numbers
    return Packed(stream.getvalue(), sizes, memory)


def unpack(packed: Packed) -> Any:
    """What was packed. Its tensors are views of one buffer, which lives as long as one of them."""
    numbers = memoryview(packed.memory.numpy())
    *starts, _ = _starts(packed.sizes)
    views = [
        numbers[start : start + size] for start, size in zip(starts, packed.sizes, strict=True)
    ]
    return pickle.loads(packed.pickled, buffers=views)


def _starts(sizes: list[int]) -> list[int]:
    """The first byte of each of the buffers, and the first one behind the last."""
    return list(accumulate((-(-size // ALIGNMENT) * ALIGNMENT for size in sizes), initial=0))


class _ArrayPickler(pickle.Pickler):
    """Takes plain CPU tensors for NumPy arrays, which know how to leave their numbers out."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is not torch.Tensor:
            return NotImplemented
        try:
            return torch.from_numpy, (value.numpy(),)
        except (TypeError, RuntimeError):  # a GPU's, sparse, with a gradient, bfloat16, ...
            return NotImplemented
