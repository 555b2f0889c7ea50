"""COCO's run-length encoding (RLE) of masks, to and from arrays.

The format is that of pycocotools (``maskApi.c``). Encoding is several times faster than its
``encode``: it is made from the few places where a mask's value flips, so only the box around the
mask is looked at, and of masks on a GPU just those places are copied to the host. Decoding doesn't
warn under NumPy 2, as its ``decode`` does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

__all__ = ["compressed_rle", "decode_rle", "encode_masks"]


def encode_masks(masks: torch.Tensor) -> list[dict[str, Any]]:
    """RLE of each mask of a bool [N, H, W] tensor, on any device; counts as text."""
    from pycocotools import mask as coco_mask

    height, width = masks.shape[1:]
    flips = _flips_on_device(masks) if masks.is_cuda else [_flips(m) for m in masks.numpy()]
    ends = {"prepend": 0, "append": height * width}
    runs = [np.diff(places, **ends).tolist() for places in flips]
    counts = [{"size": [height, width], "counts": run} for run in runs]
    rles = coco_mask.frPyObjects(counts, height, width) if counts else []
    return [{"size": [height, width], "counts": rle["counts"].decode("utf-8")} for rle in rles]


def _flips_on_device(masks: torch.Tensor) -> list[np.ndarray]:
    """`_flips` of each mask, found on the masks' device."""
    columns = masks.transpose(1, 2).flatten(1)
    before = torch.cat([torch.zeros_like(columns[:, :1]), columns[:, :-1]], dim=1)
    which, places = (columns ^ before).nonzero().cpu().numpy().T
    parts = np.split(places, np.searchsorted(which, np.arange(1, len(masks))))
    return parts[: len(masks)]  # of no masks, split gives one part


def _flips(mask: np.ndarray) -> np.ndarray:
    """Where a mask [H, W], read down the columns, differs from the pixel before (at first: 0)."""
    height, width = mask.shape
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return rows
    top, bottom = rows[0], rows[-1] + 1
    band = mask[top:bottom]
    columns = np.flatnonzero(band.any(axis=0))
    left, right = columns[0], columns[-1] + 1
    # The box's columns, each with a zero below, which ends its last run.
    box = np.zeros((right - left, bottom - top + 1), dtype=bool)
    box[:, :-1] = band[:, left:right].T
    flat = box.reshape(-1)
    column, row = np.divmod(np.flatnonzero(np.diff(flat, prepend=False)), box.shape[1])
    places = (left + column) * height + top + row
    # A run that goes on from the foot of one column to the head of the next was ended and begun at
    # one place: no flip. Nor is the end of the last pixel.
    kept = places < height * width
    met = places[1:] == places[:-1]
    kept[1:] &= ~met
    kept[:-1] &= ~met
    return places[kept]


def compressed_rle(rle: dict[str, Any]) -> dict[str, Any]:
    """``rle`` itself, or where its counts are a list, the same mask with counts as bytes."""
    if not isinstance(rle["counts"], list):
        return rle
    from pycocotools import mask as coco_mask

    return coco_mask.frPyObjects(rle, *rle["size"])


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
