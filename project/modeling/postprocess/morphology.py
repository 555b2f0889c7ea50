"""Masks tidied by shape alone: opening, closing, holes, small parts.

Masks are bool ``[H, W]`` (any type whose non-zero values mean inside); results are new bool arrays.
What lies beyond the image is unknown, and neither wears a mask off nor lets it grow: an object that
the image's edge cuts keeps its cut edge, and a gap before the edge stays. Neighbours are the 8
around a pixel for masks and hence the 4 beside it for background.
"""

from __future__ import annotations

from project.errors import UserError

import numpy as np


def open_mask(mask: np.ndarray, radius: int) -> np.ndarray:
    """The mask without what a disc of ``radius`` pixels doesn't fit in: hairs, thin bridges.

    Radius 0 changes nothing.
    """
    import cv2

    return _morphology(mask, radius, cv2.MORPH_OPEN)


def close_mask(mask: np.ndarray, radius: int) -> np.ndarray:
    """The mask with background filled that a disc of ``radius`` pixels doesn't fit in: cracks.

    Radius 0 changes nothing.
    """
    import cv2

    return _morphology(mask, radius, cv2.MORPH_CLOSE)


def fill_holes(mask: np.ndarray, max_area: float = np.inf) -> np.ndarray:
    """The mask with its holes of up to ``max_area`` pixels filled.

    A hole is background that touches the mask on all sides; background at the image's edge is none.
    """
    mask = as_mask(mask)
    if not mask.size:
        return mask.copy()
    parts, areas, boxes = _parts(~mask, connectivity=4)
    height, width = mask.shape
    left, top, right, bottom = boxes.T
    inside = (left > 0) & (top > 0) & (right < width) & (bottom < height)
    holes = inside & (areas <= max_area)
    holes[0] = False  # of these parts 0 is what isn't background: the mask itself
    return mask | holes[parts]


def remove_small_parts(mask: np.ndarray, min_area: float = 0, min_share: float = 0.0) -> np.ndarray:
    """The mask without connected parts that are too small.

    Args:
        min_area: pixels; parts of at least as many stay.
        min_share: 0-1, of the largest part's area; parts of at least as much stay.
    """
    mask = as_mask(mask)
    if not mask.any():
        return mask.copy()
    parts, areas, _ = _parts(mask, connectivity=8)
    areas[0] = 0  # what isn't the mask
    kept = areas >= max(min_area, min_share * areas.max(), 1)
    return kept[parts]


def disc(radius: int) -> np.ndarray:
    """uint8 ``[2 radius + 1, 2 radius + 1]``: ones up to ``radius`` pixels from the centre."""
    steps = np.arange(-radius, radius + 1)
    return (np.hypot(steps[:, None], steps) <= radius).astype(np.uint8)


def as_mask(mask: np.ndarray) -> np.ndarray:
    """``mask`` as bool ``[H, W]``.

    Raises:
        UserError: if it isn't two-dimensional.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise UserError(f"a mask has the shape {mask.shape}; expected (height, width)")
    return mask.astype(bool, copy=False)


def _morphology(mask: np.ndarray, radius: int, operation: int) -> np.ndarray:
    import cv2

    mask = as_mask(mask)
    if radius < 0 or int(radius) != radius:
        raise UserError(f"the radius is {radius}; expected whole pixels, 0 or more")
    if not radius or not mask.size:
        return mask.copy()
    # OpenCV takes pixels beyond an array for whatever changes nothing, in each of the two steps.
    # So opening doesn't wear off cut objects; for closing, background must be there to hold on to.
    ring = 2 * int(radius) if operation == cv2.MORPH_CLOSE else 0
    padded = np.pad(mask.view(np.uint8), ring)
    changed = cv2.morphologyEx(padded, operation, disc(int(radius))).view(bool)
    return np.ascontiguousarray(changed[ring : ring + mask.shape[0], ring : ring + mask.shape[1]])


def _parts(mask: np.ndarray, connectivity: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Connected parts: their map [H, W] (0 outside), areas [P], and boxes XYXY [P, 4]."""
    import cv2

    _, parts, stats, _ = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(mask).view(np.uint8), connectivity=connectivity
    )
    left, top, width, height, area = stats.T
    return parts, area, np.stack([left, top, left + width, top + height], axis=1)
