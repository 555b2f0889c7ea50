"""Usable masks made proper: polygons with area, inside the image, that don't cross themselves."""

from __future__ import annotations

from collections.abc import Iterator

from project.data.audit.masks import CROSSING, as_rle, is_polygon
from project.data.audit.objects import FRAME
from project.data.coco_masks import Mask, Rle, mask_area

import numpy as np


def mended_polygons(
    parts: list[list[float]], size: tuple[int, int]
) -> tuple[list[list[float]], list[tuple[str, str]]]:
    """The polygons that stay of ``parts``, and what was done (kind of finding, sentence).

    Polygons without a fault stay as they are; ``size`` is (height, width) of the image. No polygon
    may be left, if all lay outside.
    """
    import shapely

    kept: list[list[float]] = []
    done: list[tuple[str, str]] = []
    frame = shapely.box(0, 0, size[1], size[0])
    for part in parts:
        region = _region(part)
        if not region.area:
            done.append(("degenerate-polygon", "a polygon without area dropped"))
            continue
        crosses = abs(region.area - mask_area([part])) >= CROSSING
        x0, y0, x1, y1 = region.bounds
        leaves = max(-x0, -y0, x1 - size[1], y1 - size[0]) > FRAME
        if leaves:
            region = shapely.intersection(region, frame)
            done.append(("mask-out-of-frame", "a polygon clipped to the image"))
        if crosses:
            done.append(("self-intersecting-polygon", "cut into simple polygons"))
        kept += _outlines(region) if leaves or crosses else [part]
    return kept, done


def _region(part: list[float]):
    """What a polygon covers, filled as even-odd; empty if it has no three points."""
    import shapely

    if not is_polygon(part):
        return shapely.Polygon()
    return shapely.make_valid(shapely.polygons(np.reshape(part, (-1, 2))))


def _outlines(region) -> Iterator[list[float]]:
    """Outlines of the parts of ``region`` that have area, as COCO lists them.

    A hole is joined to its outline by a cut of no width.
    """
    import shapely

    for part in shapely.get_parts(region):
        if part.geom_type in ("MultiPolygon", "GeometryCollection"):
            yield from _outlines(part)
        elif part.geom_type == "Polygon" and part.area:
            part = part.normalize()  # holes run the other way, so their area is subtracted
            points = shapely.get_coordinates(part.exterior)[:-1]
            for hole in part.interiors:
                points = np.concatenate([points, points[:1], shapely.get_coordinates(hole)])
            yield points.ravel().tolist()


def crowd_rle(parts: list[list[float]], size: tuple[int, int]) -> Mask:
    """Polygons as compressed RLE, in an image of ``size`` (height, width)."""
    rle = as_rle(parts, *size)
    return Rle(tuple(rle["size"]), rle["counts"].decode())
