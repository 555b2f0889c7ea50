"""What a COCO segmentation holds: is it usable, where is it, how large is it.

A box is never turned into a mask: an annotation without a usable mask is left out by the subset
builder and refused by the catalog, and both say which one it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from project.data.coco_file import Side

import msgspec
import numpy as np

REACH = 10  # sides of the image, the longer one, that a polygon may lie away from it

_Length = Annotated[Side, msgspec.Meta(ge=0)]


class Rle(msgspec.Struct):
    """Run lengths of a mask in column order, zeros first: a list, or COCO's compressed text."""

    size: tuple[_Length, _Length]  # height, width
    counts: list[int] | str


Mask = list[list[float]] | Rle

_DECODER = msgspec.json.Decoder(list[list[float]] | Rle | None)


@dataclass(frozen=True)
class CheckedMask:
    """A segmentation after the check: ``mask`` is None if unusable, and ``problem`` says why.

    With both set, the mask is usable after a repair, which ``problem`` describes.
    """

    mask: Mask | None
    problem: str = ""


def check_mask(raw: msgspec.Raw | bytes, height: int, width: int) -> CheckedMask:
    """The mask in ``raw`` JSON text, for an image of ``height`` by ``width`` pixels.

    Polygons keep their parts of at least three points, none of which may lie far away
    (`polygon_problem`); RLE must cover the image exactly and hold at least one pixel.
    """
    if not bytes(raw):
        return CheckedMask(None, "it has no segmentation")
    try:
        mask = _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return CheckedMask(None, f"segmentation is neither polygons nor RLE: {error}")
    if not mask:
        return CheckedMask(None, "segmentation is empty")
    if isinstance(mask, Rle):
        problem = _rle_problem(mask, height, width)
        return CheckedMask(None if problem else mask, problem)
    parts = [part for part in mask if len(part) >= 6 and len(part) % 2 == 0]
    if not parts:
        return CheckedMask(None, "no polygon has three points or more")
    if problem := polygon_problem(parts, height, width):
        return CheckedMask(None, problem)
    if len(parts) < len(mask):
        bad = len(mask) - len(parts)
        return CheckedMask(parts, f"{bad} of {len(mask)} polygons dropped: not three points")
    return CheckedMask(parts)


def polygon_problem(parts: Sequence[Sequence[float]], height: int, width: int) -> str:
    """Why ``parts`` must not be drawn on an image of that size; "" if they may.

    pycocotools and hotcoco walk along all of an outline before they clip it: a coordinate of 10^9
    costs gigabytes. Coordinates must be finite and no further out than `REACH` times the longer
    side.
    """
    limit = REACH * max(height, width)
    for part in parts:
        # The sum shows a NaN, which the other two may pass over.
        if not (min(part) >= -limit and max(part) <= limit and math.isfinite(sum(part))):
            far = next(value for value in part if not abs(value) <= limit)
            return (
                f"a polygon has the coordinate {far:g}, more than {REACH} sides away from the "
                f"image of {height} by {width} pixels (height, width)"
            )
    return ""


def _rle_problem(rle: Rle, height: int, width: int) -> str:
    if rle.size != (height, width):
        return f"RLE size {list(rle.size)} differs from the image's {[height, width]}"
    runs = rle_runs(rle)
    if runs is None or min(runs, default=0) < 0 or sum(runs) != height * width:
        return "RLE runs don't add up to the image"
    return "" if sum(runs[1::2]) else "RLE holds no pixel"


def rle_runs(rle: Rle) -> list[int] | None:
    """Run lengths (zeros first) of an RLE mask; None if its text is damaged.

    The text has 6 bits a character, the low five are digits of a little-endian signed number and
    the sixth says that it goes on; from the fourth run on, differences to the run two before are
    stored (pycocotools' ``rleFrString``).
    """
    if not isinstance(rle.counts, str):
        return rle.counts
    runs: list[int] = []
    value = shift = 0
    for character in rle.counts:
        digit = ord(character) - 48
        if not 0 <= digit < 64:
            return None
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return None if shift else runs


def mask_area(mask: Mask) -> float:
    """Area in square pixels: the shoelace sum of all polygons, or the number of RLE pixels."""
    if isinstance(mask, Rle):
        return float(sum(rle_runs(mask)[1::2]))
    return float(sum(_polygon_area(np.asarray(part).reshape(-1, 2)) for part in mask))


def _polygon_area(points: np.ndarray) -> float:
    x, y = (points - points[0]).T  # near the origin, so that the difference keeps its digits
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2


def mask_box(mask: Mask) -> tuple[float, float, float, float]:
    """Tight box of a mask: x, y, width, height in pixels."""
    if isinstance(mask, Rle):
        runs = rle_runs(mask)
        values = np.arange(len(runs)) % 2 == 1
        pixels = np.repeat(values, runs).reshape(mask.size, order="F")
        rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
        x0, y0, x1, y1 = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    else:
        points = np.concatenate([np.asarray(part).reshape(-1, 2) for part in mask])
        (x0, y0), (x1, y1) = points.min(0), points.max(0)
    return float(x0), float(y0), float(x1 - x0), float(y1 - y0)
