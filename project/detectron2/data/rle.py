"""COCO run-length encoded masks → arrays.

The format is that of pycocotools (``maskApi.c``), whose own ``decode`` warns under numpy 2.
"""

from __future__ import annotations

import numpy as np

__all__ = ["decode_rle"]


def decode_rle(rle: dict) -> np.ndarray:
    """The mask of ``rle`` as uint8 [H, W] of zeros and ones.

    Args:
        rle: ``size`` (H, W), and ``counts``: lengths of the alternating runs of zeros and ones,
            column by column, as a list, or compressed to a string or bytes.

    Raises:
        ValueError: if the runs don't cover the mask exactly.
    """
    height, width = (int(side) for side in rle["size"])
    counts = rle["counts"]
    if isinstance(counts, (str, bytes)):
        counts = _uncompressed(counts.encode("ascii") if isinstance(counts, str) else counts)
    counts = np.asarray(counts, dtype=np.int64)
    if counts.sum() != height * width or (counts < 0).any():
        raise ValueError(
            f"Broken RLE: runs of {counts.sum()} pixels for a mask of {height} x {width}"
        )
    ones = np.arange(len(counts)) % 2
    return np.repeat(ones.astype(np.uint8), counts).reshape(width, height).T


def _uncompressed(text: bytes) -> np.ndarray:
    """Run lengths, int64, of a compressed ``counts``.

    A number is a little-endian sequence of characters with five bits each (48 added, 32 set on all
    but its last, two's complement). From the fourth number on, a number is the difference to the
    one two places before it.
    """
    if not text:
        return np.zeros(0, dtype=np.int64)
    digits = np.frombuffer(text, dtype=np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(digits & 32 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    place = np.arange(last[-1] + 1) - np.repeat(first, lengths)
    numbers = np.add.reduceat((digits[: last[-1] + 1] & 31) << (5 * place), first)
    numbers -= np.where(digits[last] & 16, np.int64(1) << (5 * lengths), 0)
    # Undo the differences: numbers 1, 3, 5, … and 2, 4, 6, … are running sums.
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
