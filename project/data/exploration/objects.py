"""Sizes, shapes and places of boxes."""

from __future__ import annotations

import numpy as np

# COCO's limits in square pixels: small is below the first, large is from the second on.
SIZE_LIMITS = (32**2, 96**2)
SIZE_NAMES = ("small", "medium", "large")
_AT_ONCE = 1 << 16  # boxes of a position map: 50 MB
FRAME_MARGIN = 1.0  # pixels: a box that ends nearer to the frame is taken as cut by it


def size_classes(areas: np.ndarray) -> np.ndarray:
    """int64 [M]: 0 small, 1 medium, 2 large, by COCO's areas in square pixels."""
    return np.searchsorted(SIZE_LIMITS, areas, side="right")


def image_shares(areas: np.ndarray, image_sizes: np.ndarray) -> np.ndarray:
    """float64 [M]: percent of its image that each area covers.

    ``image_sizes`` [M, 2] is (height, width) of the image of each.
    """
    return 100 * areas / np.prod(np.asarray(image_sizes, float), axis=1)


def aspect_ratios(box_sizes: np.ndarray) -> np.ndarray:
    """float64 [M]: width / height of boxes [M, 2] (height, width); NaN for boxes without extent."""
    height, width = np.asarray(box_sizes, float).reshape(-1, 2).T
    valid = (height > 0) & (width > 0)
    return np.divide(width, height, out=np.full(len(height), np.nan), where=valid)


def frame_contacts(
    boxes_xyxy: np.ndarray, image_sizes: np.ndarray, margin: float = FRAME_MARGIN
) -> np.ndarray:
    """bool [M, 4]: the box reaches the left, top, right, bottom frame, to within ``margin`` pixels.

    Objects at the frame are mostly cut off by it.
    """
    height, width = np.asarray(image_sizes, float).T
    x0, y0, x1, y1 = np.asarray(boxes_xyxy, float).T
    return np.stack(
        [x0 <= margin, y0 <= margin, x1 >= width - margin, y1 >= height - margin], axis=1
    )


def position_map(boxes_xyxy: np.ndarray, image_sizes: np.ndarray, grid: int = 32) -> np.ndarray:
    """float64 [grid, grid]: mean share (0-1) of each cell of the image that a box covers.

    Every image is stretched to the unit square. No boxes give zeros.
    """
    if not len(boxes_xyxy):
        return np.zeros((grid, grid))
    total = np.zeros((grid, grid))
    for start in range(0, len(boxes_xyxy), _AT_ONCE):
        boxes = boxes_xyxy[start : start + _AT_ONCE]
        sizes = np.asarray(image_sizes[start : start + _AT_ONCE], float)
        x = _cell_cover(boxes[:, [0, 2]] / sizes[:, 1:], grid)
        y = _cell_cover(boxes[:, [1, 3]] / sizes[:, :1], grid)
        total += y.T @ x
    return total / len(boxes_xyxy)


def _cell_cover(spans: np.ndarray, grid: int) -> np.ndarray:
    """float64 [M, grid]: share of each of ``grid`` cells of [0, 1] that a span [M, 2] covers."""
    edges = np.arange(grid + 1) / grid
    inside = np.minimum(spans[:, 1:], edges[1:]) - np.maximum(spans[:, :1], edges[:-1])
    return np.clip(inside, 0, None) * grid
