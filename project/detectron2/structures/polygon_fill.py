"""Polygons filled to the pixel as pycocotools fills them, many at once where grids are small.

pycocotools (`rleFrPoly` in its maskApi.c) rounds vertices to a five times finer grid, walks each
edge there in steps of one, and notes where the walk steps across the centre line of a column. Below
a crossing the column flips between outside and inside. Walking costs time in proportion to the
length of the outline; here every crossing of every edge is computed directly, all of them in a few
NumPy calls, with the same double arithmetic and therefore the same pixels.
"""

from __future__ import annotations

import numpy as np

_FINE = 5  # fine steps in a pixel


def fill_polygons(vertices: np.ndarray, counts: np.ndarray, size: int) -> np.ndarray:
    """(P, size, size) bool masks of P closed polygons.

    Args:
        vertices: (V, 2) float64 corners (x, y) in pixels of the grid, polygon after polygon.
        counts: (P,) number of corners of each polygon, 3 or more.
    """
    polygon, place = _flips(vertices, counts, size, size)
    cells = size * size
    flips = np.bincount(polygon * cells + place, minlength=len(counts) * cells).astype(np.uint8)
    # Only the parity counts, so sums modulo 256 will do.
    inside = np.cumsum(flips.reshape(len(counts), cells), axis=1, dtype=np.uint8) & 1
    return inside.reshape(-1, size, size).transpose(0, 2, 1).astype(bool)


def fill_polygon(vertices: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width) bool mask of one closed polygon with corners ``vertices`` (V, 2) float64."""
    _, place = _flips(vertices, np.array([len(vertices)]), height, width)
    runs = np.diff(np.sort(place), prepend=0, append=height * width)
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return inside.reshape(width, height).T


def _flips(vertices: np.ndarray, counts: np.ndarray, height: int, width: int):
    """Polygon and place of each flip; columns of a mask stand one after another in memory."""
    polygon, start, end = _edges(vertices, counts)
    edge, column, row = _crossings(start, end, height, width)
    # A crossing below the last row opens the next column; the last column has none.
    place = column * height + row
    kept = place < height * width
    return polygon[edge[kept]], place[kept]


def _edges(vertices: np.ndarray, counts: np.ndarray):
    """Polygon, start (x, y) and end of each edge on the fine grid; an edge may have no length."""
    fine = np.trunc(_FINE * vertices + 0.5)
    follower = np.arange(1, len(fine) + 1)
    last = np.cumsum(counts) - 1
    follower[last] = last - counts + 1
    return np.repeat(np.arange(len(counts)), counts), fine, fine[follower]


def _crossings(start: np.ndarray, end: np.ndarray, height: int, width: int):
    """Edge, column and first row below of each step across the centre line of a column.

    The line of column c lies between the fine abscissas 5c + 2 and 5c + 3.
    """
    low, high = np.minimum(start[:, 0], end[:, 0]), np.maximum(start[:, 0], end[:, 0])
    first = np.clip(np.ceil((low - 2) / _FINE), 0, width).astype(np.int64)
    stop = np.clip(np.floor((high - 3) / _FINE) + 1, 0, width).astype(np.int64)
    number = np.maximum(stop - first, 0)
    edge = np.repeat(np.arange(len(start)), number)
    column = np.arange(len(edge)) - np.repeat(np.cumsum(number) - number - first, number)
    ordinate = _step_ordinate(start[edge], end[edge], column * _FINE + 2.0)
    row = np.ceil(np.clip((ordinate + 0.5) / _FINE - 0.5, 0, height))
    return edge, column, row.astype(np.int64)


def _step_ordinate(start: np.ndarray, end: np.ndarray, left: np.ndarray) -> np.ndarray:
    """The smaller fine ordinate of the two points of an edge at abscissas left and left + 1."""
    length = np.abs(end - start)
    flat = length[:, 0] >= length[:, 1]
    # An edge is walked along its longer axis, from the smaller end up.
    longer = np.where(flat, 0, 1)[:, None]
    swap = np.take_along_axis(start > end, longer, axis=1)
    walk = np.hstack([np.where(swap, end, start), np.where(swap, start, end), left[:, None]])
    out = np.empty(len(left))
    out[flat] = _on_flat_edge(*walk[flat].T)
    out[~flat] = _on_steep_edge(*walk[~flat].T)
    return out


def _on_flat_edge(x0, y0, x1, y1, left):
    """A point for each abscissa, its ordinate rounded."""
    slope, step = (y1 - y0) / (x1 - x0), left - x0
    return np.minimum(np.trunc(y0 + slope * step + 0.5), np.trunc(y0 + slope * (step + 1) + 0.5))


def _on_steep_edge(x0, y0, x1, y1, left):
    """A point for each ordinate, its abscissa rounded: the last one before the centre line."""
    slope = (x1 - x0) / (y1 - y0)

    def beyond(step):
        return (x0 + slope * step + 0.5 >= left + 1) == (slope > 0)

    step = np.ceil((left + 0.5 - x0) / slope)  # the first beyond, but for rounding
    step = np.where(beyond(step - 1), step - 1, np.where(beyond(step), step, step + 1))
    return y0 + step - 1
