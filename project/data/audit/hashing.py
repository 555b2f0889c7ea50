"""Perceptual hashes: 64 bits that stay nearly the same when an image is stored anew."""

from __future__ import annotations

import numpy as np

_SIDE = 32  # pixels of the reduced image
_EVEN = 3.0  # standard deviation (grey levels) below which a picture has nothing to be told by
_BLOCK = 1 << 22  # pairs compared at a time: 32 MB


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


def close_pairs(hashes: np.ndarray, distance: int) -> np.ndarray:
    """Pairs (i, j), i < j, sorted, int64 [m, 2], of ``hashes`` uint64 [n] that nearly agree.

    They differ in at most ``distance`` bits, so of ``distance + 1`` pieces one is equal: only
    hashes that share a piece are compared, which saves 98 % of the work on even pieces.
    """
    found = [np.zeros((0, 2), np.int64)]
    edges = np.linspace(0, 64, distance + 2).astype(int)
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        piece = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(piece, kind="stable")
        borders = np.flatnonzero(np.diff(piece[order])) + 1
        found += [_compare(hashes, rows, distance) for rows in np.split(order, borders)]
    return np.unique(np.concatenate(found), axis=0)


def _compare(hashes: np.ndarray, rows: np.ndarray, distance: int) -> np.ndarray:
    """Pairs [m, 2] among the ascending ``rows``, a block of them against all at a time."""
    found = [np.zeros((0, 2), np.int64)]
    start = 0
    while start < len(rows) - 1:
        rest = hashes[rows[start:]]
        block = min(len(rest), max(1, _BLOCK // len(rest)))
        first, second = np.nonzero(np.bitwise_count(rest[:block, None] ^ rest[None]) <= distance)
        later = second > first
        found.append(np.stack([rows[start + first[later]], rows[start + second[later]]], 1))
        start += block
    return np.concatenate(found)
