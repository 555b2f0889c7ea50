"""What one mask is made of, and how the masks of one image share its pixels."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from project.data.coco_masks import Mask, Rle, rle_runs

import numpy as np

MEAN_MASK = 28  # side of the mean masks, as Mask R-CNN predicts them


@dataclass(frozen=True, eq=False)
class CroppedMask:
    """A mask inside the smallest rectangle of pixels that holds it.

    ``pixels`` is bool [h, w]; its first pixel is (``x``, ``y``) of the image.
    """

    pixels: np.ndarray
    x: int
    y: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Where in the image ``pixels`` lie: slices of rows and columns."""
        height, width = self.pixels.shape
        return slice(self.y, self.y + height), slice(self.x, self.x + width)


def rasterise(mask: Mask, height: int, width: int) -> CroppedMask | None:
    """The pixels of checked polygons or a checked RLE; None if there are none.

    Polygons are filled as COCO does it (pycocotools).
    """
    if isinstance(mask, Rle):
        runs = rle_runs(mask)
        bitmap = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
    else:
        from pycocotools import mask as coco_mask

        rle = coco_mask.merge(coco_mask.frPyObjects(mask, height, width))
        bitmap = coco_mask.decode(rle).view(bool)
    return crop(bitmap)


def crop(bitmap: np.ndarray) -> CroppedMask | None:
    """A bool [H, W] mask without its empty margins; None if it is empty."""
    columns = np.flatnonzero(bitmap.any(0))
    if not len(columns):
        return None
    rows = np.flatnonzero(bitmap[:, columns[0] : columns[-1] + 1].any(1))
    inside = bitmap[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return CroppedMask(np.ascontiguousarray(inside), int(columns[0]), int(rows[0]))


def parts_and_holes(pixels: np.ndarray) -> tuple[int, int]:
    """How many pieces (8-connected) a bool [h, w] mask has, and how many holes (4-connected)."""
    import cv2

    padded = np.pad(pixels.astype(np.uint8), 1)
    parts = cv2.connectedComponents(padded, connectivity=8)[0] - 1
    background = cv2.connectedComponents(1 - padded, connectivity=4)[0] - 1
    return parts, background - 1  # one background region is the outside


def num_vertices(mask: Mask) -> int:
    """Points of all polygons together; 0 for an RLE, which has none."""
    return 0 if isinstance(mask, Rle) else sum(len(part) // 2 for part in mask)


def boundary_length(mask: Mask, pixels: np.ndarray) -> float:
    """Length of the boundary in pixels.

    Polygons: the sum of all edges. RLE: the sides between pixels in and out of the mask, times π/4,
    which is the mean ratio of a line's length to that of its staircase over all directions.
    """
    if isinstance(mask, Rle):
        padded = np.pad(pixels, 1)
        steps = (padded[1:] != padded[:-1]).sum() + (padded[:, 1:] != padded[:, :-1]).sum()
        return float(steps) * np.pi / 4
    total = 0.0
    for part in mask:
        points = np.asarray(part, float).reshape(-1, 2)
        total += float(np.hypot(*(np.roll(points, -1, axis=0) - points).T).sum())
    return total


def complexity(boundary: float, area: float) -> float:
    """Boundary² / (4π · area): 1 for a disc, 4/π = 1.27 for a square, more for ragged shapes.

    NaN without an area.
    """
    return boundary**2 / (4 * np.pi * area) if area > 0 else float("nan")


def small_mask(pixels: np.ndarray, side: int = MEAN_MASK) -> np.ndarray:
    """float64 [side, side]: share (0-1) of each cell that the bool mask [h, w] covers.

    The mask is stretched to the square.
    """
    rows, columns = (_pixel_shares(length, side) for length in pixels.shape)
    return rows @ pixels @ columns.T


@functools.lru_cache(maxsize=1024)
def _pixel_shares(length: int, side: int) -> np.ndarray:
    """float64 [side, length]: share of each of ``side`` cells that each of ``length`` pixels is."""
    cells, pixels = np.arange(side + 1) / side, np.arange(length + 1) / length
    low = np.maximum(cells[:-1, None], pixels[None, :-1])
    high = np.minimum(cells[1:, None], pixels[None, 1:])
    return np.clip(high - low, 0, None) * side


@dataclass(frozen=True, eq=False)
class PixelClaims:
    """How the masks of one image share its pixels.

    Attributes:
        class_pixels: int64 [K], pixels that objects of each class claim, each once a class.
        crowd: pixels that only crowd regions claim.
        background: pixels that nothing claims.
        shared: pixels that two objects or more claim.
        overlap: float64 [n], percent of each object's pixels that another object claims too.
        cover: float64 [n], percent of each object's box that lies under other objects and not
            under itself: what can be hidden of it at most, as far as the labels tell.
    """

    class_pixels: np.ndarray
    crowd: int
    background: int
    shared: int
    overlap: np.ndarray
    cover: np.ndarray


def pixel_claims(
    masks: Sequence[CroppedMask],
    classes: Sequence[int],
    crowds: Sequence[CroppedMask],
    size: tuple[int, int],
    num_classes: int,
) -> PixelClaims:
    """Claims of n objects ``masks`` of ``classes`` and of ``crowds`` on an image of ``size``.

    ``size`` is (height, width). The box of an object is the tight one of its mask.
    """
    claims = np.zeros(size, np.uint16)
    class_pixels = np.zeros(num_classes, np.int64)
    for k in sorted(set(classes)):
        union = np.zeros(size, bool)
        for mask in (m for m, c in zip(masks, classes, strict=True) if c == k):
            union[mask.window] |= mask.pixels
            claims[mask.window] += mask.pixels
        class_pixels[k] = np.count_nonzero(union)
    overlap, cover = np.zeros(len(masks)), np.zeros(len(masks))
    for i, mask in enumerate(masks):
        inside = claims[mask.window]
        overlap[i] = 100 * np.count_nonzero(inside[mask.pixels] > 1) / mask.pixels.sum()
        cover[i] = 100 * np.count_nonzero(inside[~mask.pixels]) / mask.pixels.size
    free = claims == 0
    unclaimed = free.copy()
    for mask in crowds:
        unclaimed[mask.window] &= ~mask.pixels
    background = int(np.count_nonzero(unclaimed))
    return PixelClaims(
        class_pixels=class_pixels,
        crowd=int(np.count_nonzero(free)) - background,
        background=background,
        shared=int(np.count_nonzero(claims > 1)),
        overlap=overlap,
        cover=cover,
    )
