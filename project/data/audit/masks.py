"""What segmentations hold, thousands at a time: kind of fault, area, box, crossings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from project.data.coco_masks import Rle, polygon_problem, rle_runs

import msgspec
import numpy as np

_DECODER = msgspec.json.Decoder(list[list[float]] | Rle | None)
CROSSING = 0.5  # square pixels; outlines traced from pixels often cross themselves by less


@dataclass
class MaskFacts:
    """What ``n`` segmentations hold.

    Attributes:
        fault: kind of finding that makes a mask unusable, "" for a usable one.
        detail: annotation → sentence about its fault.
        area: float64 [n], square pixels: shoelace sums of polygons, pixels of RLE; NaN if unusable.
        box: float64 [n, 4], tight x0, y0, x1, y1; NaN if unusable.
        is_rle: bool [n].
        bad_parts, num_parts: int [n], polygons without area, and all polygons.
        crossing: annotation → square pixels that its self-intersections change, at least 0.5.
    """

    fault: list[str]
    detail: dict[int, str]
    area: np.ndarray
    box: np.ndarray
    is_rle: np.ndarray
    bad_parts: np.ndarray
    num_parts: np.ndarray
    crossing: dict[int, float]

    @classmethod
    def empty(cls, n: int) -> MaskFacts:
        return cls(
            [""] * n,
            {},
            np.full(n, np.nan),
            np.full((n, 4), np.nan),
            np.zeros(n, bool),
            np.zeros(n, int),
            np.zeros(n, int),
            {},
        )

    def unusable(self, index: int, fault: str, detail: str) -> None:
        self.fault[index], self.detail[index] = fault, detail


def mask_facts(raws: Sequence[msgspec.Raw], heights: np.ndarray, widths: np.ndarray) -> MaskFacts:
    """Facts about the JSON texts ``raws``; sizes in pixels are those of their images' records."""
    facts = MaskFacts.empty(len(raws))
    parts: list[list[float]] = []
    owners: list[int] = []
    for index, raw in enumerate(raws):
        mask = _decoded(raw, index, facts)
        size = int(heights[index]), int(widths[index])
        if isinstance(mask, Rle):
            _rle(mask, index, *size, facts)
        elif mask:
            good = [part for part in mask if is_polygon(part)]
            if size[0] > 0 and (problem := polygon_problem(good, *size)):
                facts.unusable(index, "malformed-mask", problem)
                continue
            facts.num_parts[index] = len(mask)
            parts += good
            owners += [index] * len(good)
    if parts:
        _polygons(parts, np.array(owners), facts)
    usable = np.zeros(len(raws), bool)
    usable[owners] = True
    for index in np.flatnonzero((facts.num_parts > 0) & ~(facts.area > 0)):
        what = "no polygon has three points" if not usable[index] else "its polygons have no area"
        facts.unusable(index, "degenerate-mask", what)
        facts.area[index], facts.box[index] = np.nan, np.nan
    return facts


def _decoded(raw: msgspec.Raw, index: int, facts: MaskFacts) -> list | Rle | None:
    if not bytes(raw):
        facts.unusable(index, "empty-mask", "it has no segmentation")
        return None
    try:
        mask = _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        what = f"segmentation is neither polygons nor RLE: {error}"
        facts.unusable(index, "malformed-mask", what)
        return None
    if not mask:
        facts.unusable(index, "empty-mask", f"segmentation is {bytes(raw).decode()}")
    return mask


def _rle(rle: Rle, index: int, height: int, width: int, facts: MaskFacts) -> None:
    facts.is_rle[index] = True
    if tuple(rle.size) != (height, width) and height > 0:
        what = f"RLE size {list(rle.size)} differs from the image's {[height, width]}"
        facts.unusable(index, "rle-size", what)
        return
    runs = rle_runs(rle)
    total = rle.size[0] * rle.size[1]
    if runs is None or min(runs, default=0) < 0 or sum(runs) != total:
        facts.unusable(index, "damaged-rle", f"RLE runs don't add up to the image's {total} pixels")
        return
    area = sum(runs[1::2])
    if not area:
        facts.unusable(index, "empty-mask", "RLE holds no pixel")
        return
    facts.area[index] = area
    facts.box[index] = _rle_box(np.array(runs), rle.size[0])


def _rle_box(runs: np.ndarray, height: int) -> tuple[float, float, float, float]:
    """Tight x0, y0, x1, y1 of column-order ``runs`` that hold at least one pixel."""
    ends = np.cumsum(runs)
    first, last = (ends - runs)[1::2], ends[1::2] - 1
    first, last = first[last >= first], last[last >= first]
    top, bottom = first % height, last % height
    if (first // height != last // height).any():  # a run that turns into the next column
        top, bottom = np.array([0]), np.array([height - 1])
    return first[0] // height, top.min(), last[-1] // height + 1, bottom.max() + 1


def _polygons(parts: list[list[float]], owners: np.ndarray, facts: MaskFacts) -> None:
    """Areas, boxes and crossings of the polygons ``parts``, all at once."""
    import shapely

    lengths = np.array([len(part) // 2 for part in parts])
    points = np.fromiter(chain.from_iterable(parts), np.float64, 2 * lengths.sum()).reshape(-1, 2)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    area = _shoelace(points, starts, lengths)
    rings = shapely.linearrings(points, indices=np.repeat(np.arange(len(parts)), lengths))
    shapes = shapely.polygons(rings)
    for part in np.flatnonzero(~shapely.is_valid(shapes)):
        filled = shapely.area(shapely.make_valid(shapes[part]))
        owner, lost = int(owners[part]), float(abs(filled - area[part]))
        if lost >= CROSSING:
            facts.crossing[owner] = facts.crossing.get(owner, 0.0) + lost
        area[part] = filled  # the loops of an eight would cancel out
    lowest, highest = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    num_good = np.zeros(len(facts.fault), int)
    np.add.at(num_good, owners[area > 0], 1)
    facts.bad_parts[:] = facts.num_parts - num_good
    facts.area[owners], facts.box[owners] = 0, [np.inf, np.inf, -np.inf, -np.inf]
    np.add.at(facts.area, owners, area)
    np.minimum.at(facts.box[:, :2], owners, lowest)
    np.maximum.at(facts.box[:, 2:], owners, highest)


def _shoelace(points: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Areas of polygons that stand one after the other in ``points`` [p, 2]."""
    points = points - np.repeat(points[starts], lengths, 0)  # near the origin: keeps the digits
    following = np.arange(1, len(points) + 1)
    following[starts + lengths - 1] = starts
    x, y = points.T
    return np.abs(np.add.reduceat(x * y[following] - y * x[following], starts)) / 2


def is_polygon(part: Sequence[float]) -> bool:
    """Whether a list of coordinates has whole points, three or more of them."""
    return len(part) >= 6 and len(part) % 2 == 0


def same_masks(
    first: Sequence[msgspec.Raw], second: Sequence[msgspec.Raw], sizes: Sequence[tuple[int, int]]
) -> np.ndarray:
    """IoU float64 [n] of usable segmentations, pair by pair; ``sizes`` are (height, width)."""
    from pycocotools import mask as coco_mask

    def rle(raw: msgspec.Raw, size: tuple[int, int]) -> dict:
        return as_rle(_DECODER.decode(raw), *size)

    return np.array(
        [
            1.0 if bytes(a) == bytes(b) else coco_mask.iou([rle(a, s)], [rle(b, s)], [0])[0, 0]
            for a, b, s in zip(first, second, sizes, strict=True)
        ],
        np.float64,
    )


def as_rle(mask: list[list[float]] | Rle, height: int, width: int) -> dict:
    """Compressed RLE dictionary of a usable mask, as pycocotools draws it."""
    from pycocotools import mask as coco_mask

    if isinstance(mask, Rle):
        size = list(mask.size)
        if isinstance(mask.counts, str):
            return {"size": size, "counts": mask.counts.encode()}
        return coco_mask.frPyObjects({"size": size, "counts": mask.counts}, *size)
    parts = [part for part in mask if is_polygon(part)]
    return coco_mask.merge(coco_mask.frPyObjects(parts, height, width))
