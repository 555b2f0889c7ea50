"""Masks as patches of a picture: only the window that holds an object is drawn and kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from detectron2.structures import polygons_to_bitmask

_FINE = 5  # COCO's filling rule rounds corners to fifths of a pixel


class Patch(NamedTuple):
    """bool [h, w] pixels of a mask, and where in the picture they lie; no other pixel is set."""

    pixels: np.ndarray
    top: int
    left: int

    @property
    def bottom(self) -> int:
        return self.top + self.pixels.shape[0]

    @property
    def right(self) -> int:
        return self.left + self.pixels.shape[1]

    @property
    def window(self) -> tuple[slice, slice]:
        """Where in the picture ``pixels`` lie: slices of rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


NOTHING = Patch(np.zeros((0, 0), bool), 0, 0)


def tight(patch: Patch) -> Patch:
    """The smallest window with the same pixels; `NOTHING` if there are none."""
    rows = np.flatnonzero(patch.pixels.any(axis=1))
    columns = np.flatnonzero(patch.pixels.any(axis=0))
    if not len(rows):
        return NOTHING
    pixels = patch.pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Patch(pixels, patch.top + int(rows[0]), patch.left + int(columns[0]))


def union(patches: Sequence[Patch]) -> Patch:
    """The pixels of all of them."""
    if len(patches) == 1:
        return patches[0]
    top, left = (min((getattr(p, side) for p in patches), default=0) for side in ("top", "left"))
    bottom, right = (
        max((getattr(p, side) for p in patches), default=0) for side in ("bottom", "right")
    )
    pixels = np.zeros((bottom - top, right - left), bool)
    for patch in patches:
        rows = slice(patch.top - top, patch.bottom - top)
        pixels[rows, patch.left - left : patch.right - left] |= patch.pixels
    return Patch(pixels, top, left)


def draw_polygons(polygons: Sequence[np.ndarray], height: int, width: int) -> list[Patch]:
    """Each of the ``polygons`` (float64 [P, 2], corners x, y), filled by COCO's rule.

    Their windows are put side by side and filled by one call, as a single outline: a bridge leads
    from each polygon to the next, and back the same way. Inside is where an odd number of edges has
    been crossed, so the two ways cancel. Corners are rounded where they are in the picture and only
    then moved, by whole pixels; what is left of rounding changes about one pixel in a million.
    Polygons that leave the picture are filled in all of it.

    Args:
        height, width: of the picture.
    """
    if not polygons:
        return []
    counts = np.array([len(polygon) for polygon in polygons])
    starts = np.cumsum(counts) - counts
    fine = np.trunc(_FINE * np.concatenate(polygons) + 0.5)
    low, high = np.minimum.reduceat(fine, starts), np.maximum.reduceat(fine, starts)
    inside = (low >= 0).all(axis=1) & (high <= [_FINE * width, _FINE * height]).all(axis=1)
    low, high = (np.where(inside[:, None], corner, 0) for corner in (low, high))
    patches = [NOTHING] * len(polygons)
    for i in np.flatnonzero(~inside):
        flat = polygons[i].reshape(-1)
        patches[i] = Patch(polygons_to_bitmask([flat], height, width), 0, 0)
    origin = (low // _FINE).astype(np.int64)
    size = (np.minimum(high // _FINE + 1, [width, height]) - origin).astype(np.int64)
    for shelf in _shelves(size[:, 1], np.flatnonzero(inside)):
        ends = np.cumsum(size[shelf, 0])
        left = ends - size[shelf, 0]
        shift = np.stack([left, np.zeros_like(left)], axis=1) - origin[shelf]
        moved = [
            fine[starts[i] : starts[i] + counts[i]] + _FINE * by
            for i, by in zip(shelf, shift, strict=True)
        ]
        outline = np.concatenate(list(_bridged(moved))) / _FINE
        atlas = polygons_to_bitmask([outline.reshape(-1)], int(size[shelf, 1].max()), int(ends[-1]))
        for i, x in zip(shelf.tolist(), left.tolist(), strict=True):
            (columns, rows), (start_x, start_y) = size[i].tolist(), origin[i].tolist()
            patches[i] = Patch(atlas[:rows, x : x + columns], start_y, start_x)
    return patches


def _shelves(heights: np.ndarray, which: np.ndarray) -> Iterable[np.ndarray]:
    """``which``, in groups of similar height: little of an atlas is empty then."""
    order = which[np.argsort(heights[which], kind="stable")]
    group = np.ceil(np.log2(np.maximum(heights[order], 32))).astype(np.int64)
    return np.split(order, np.flatnonzero(np.diff(group)) + 1) if len(order) else []


def _bridged(polygons: Sequence[np.ndarray]) -> Iterable[np.ndarray]:
    """Corners of one outline around all polygons: there, from first corner to first, and back."""
    for polygon in polygons:
        yield polygon
        yield polygon[:1]
    for polygon in reversed(polygons[:-1]):
        yield polygon[:1]
