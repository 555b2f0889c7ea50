"""Perceptual hashes: 64 bits that stay nearly the same when an image is stored anew."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

_SIDE = 32  # pixels of the reduced image
_EVEN = 3.0  # standard deviation (grey levels) below which a picture has nothing to be told by
_BLOCK = 1 << 22  # pairs compared at a time: 32 MB
_TOGETHER = 1 << 20  # pairs given at a time


def perceptual_hash(grey: np.ndarray) -> int | None:
    """64 signs of the lowest frequencies of a grey image, uint8 [H, W]; None if it is even.

    The 8 by 8 lowest cosine coefficients of the image at 32 by 32 pixels against their median, as
    "pHash" does (Zauner, 2010); the mean brightness is one of them and carries little.
    """
    import cv2

    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    if small.std() < _EVEN:
        return None
    low = cv2.dct(small)[:8, :8].ravel()
    return int.from_bytes(np.packbits(low > np.median(low[1:])).tobytes(), "big")


def close_pairs(hashes: np.ndarray, distance: int) -> Iterator[np.ndarray]:
    """Pairs (i, j), i < j, int64 [m, 2], of ``hashes`` uint64 [n] that nearly agree, each once.

    They differ in at most ``distance`` bits, so of ``distance + 1`` pieces one is equal: only
    hashes that share a piece are compared, which saves 98 % of the work on even pieces. A million
    pairs or so come at a time, for the frames of a film are all alike.
    """
    edges = np.linspace(0, 64, distance + 2).astype(int).tolist()
    lows = [np.uint64(low) for low in edges[:-1]]
    masks = [np.uint64((1 << (b - a)) - 1) for a, b in pairwise(edges)]
    found, held = [], 0
    for number, (low, mask) in enumerate(zip(lows, masks, strict=True)):
        piece = (hashes >> low) & mask
        order = np.argsort(piece, kind="stable")
        borders = np.flatnonzero(np.diff(piece[order])) + 1
        for rows in np.split(order, borders):
            for pairs in _compare(hashes, rows, distance):
                differ = np.bitwise_xor(*hashes[pairs.T])
                before = zip(lows[:number], masks[:number], strict=True)
                told = [(differ >> low) & mask == 0 for low, mask in before]
                found.append(pairs[~np.any(told, axis=0)] if told else pairs)
                held += len(found[-1])
                if held >= _TOGETHER:
                    yield np.concatenate(found)
                    found, held = [], 0
    if found:
        yield np.concatenate(found)


def _compare(hashes: np.ndarray, rows: np.ndarray, distance: int) -> Iterator[np.ndarray]:
    """Pairs [m, 2] among the ascending ``rows``, a block of them against all at a time."""
    start = 0
    while start < len(rows) - 1:
        rest = hashes[rows[start:]]
        block = min(len(rest), max(1, _BLOCK // len(rest)))
        first, second = np.nonzero(np.bitwise_count(rest[:block, None] ^ rest[None]) <= distance)
        later = second > first
        yield np.stack([rows[start + first[later]], rows[start + second[later]]], 1)
        start += block
