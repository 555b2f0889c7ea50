"""Boxes, areas, masks and crowd flags of one file, checked column by column."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor

from project.data.audit.findings import Finding, finding
from project.data.audit.masks import MaskFacts, mask_facts, same_masks
from project.data.audit.source import Split

import numpy as np

_CHUNK = 4000  # annotations whose masks are decoded together
FRAME = 1.0  # pixels that boxes and polygons may leave the image: exporters round
# A box disagrees with its mask if an edge is off by more pixels and by more of the side than this;
# traced polygons of exported files are commonly 1.5 pixels off.
_EDGE_PIXELS, _EDGE_SHARE = 4.0, 0.1
_AREA_SHARE = 0.1  # beyond the half perimeter, by which areas of outlines and of pixels differ
_SAME = 0.9  # IoU of boxes and of masks from which two annotations are one object
_FEW, _BOX_AREA_SHARE = 5, 0.9  # wrong areas, and their share that are box areas


class Objects:
    """The annotations of one split as columns, in the order of the file.

    Attributes:
        ids, image_ids, category_ids: int64 [n].
        boxes: float64 [n, 4], x0, y0, x1, y1; NaN where there is none.
        areas: float64 [n]; NaN where there is none.
        heights, widths: int64 [n] of the image's record; 0 where there is none, several differ, or
            one is below 1.
        masks: `MaskFacts`.
        box_over, mask_over: float64 [n], pixels by which box and mask leave the image.
    """

    def __init__(self, split: Split, pool: Executor) -> None:
        annotations = split.annotations
        n = len(annotations)
        self.split = split
        self.ids = np.array([a.id for a in annotations], np.int64)
        self.image_ids = np.array([a.image_id for a in annotations], np.int64)
        self.category_ids = np.array([a.category_id for a in annotations], np.int64)
        missing = (np.nan,) * 4
        boxes = np.array([a.bbox or missing for a in annotations], np.float64).reshape(n, 4)
        boxes[:, 2:] += boxes[:, :2]
        self.boxes = boxes
        areas = [np.nan if a.area is None else a.area for a in annotations]
        self.areas = np.array(areas, np.float64)
        sizes: dict[int, tuple[int, int]] = {}
        for image in split.images:
            size = (image.height, image.width) if min(image.height, image.width) > 0 else (0, 0)
            sizes[image.id] = size if sizes.get(image.id, size) == size else (0, 0)
        of_image = [sizes.get(a.image_id, (0, 0)) for a in annotations]
        self.heights, self.widths = np.array(of_image, np.int64).reshape(n, 2).T
        self.crowds = np.array([int(a.iscrowd) for a in annotations], np.int64)
        self.masks = _all_masks(split, self.heights, self.widths, pool)
        self.box_over = self._leaves(self.boxes)
        self.mask_over = self._leaves(self.masks.box)

    def _leaves(self, boxes: np.ndarray) -> np.ndarray:
        """Pixels [n] by which ``boxes`` leave their images; -inf where box or image is missing."""
        frame = np.stack([self.widths, self.heights], 1)
        over = np.concatenate([-boxes[:, :2], boxes[:, 2:] - frame], 1).max(1, initial=-np.inf)
        return np.where((self.heights > 0) & np.isfinite(over), over, -np.inf)

    def finding(self, kind: str, index: int, what: str, cause: str | None = None) -> Finding:
        return finding(
            kind,
            self.split.file,
            what,
            image=int(self.image_ids[index]),
            annotation=int(self.ids[index]),
            cause=cause,
        )


def _all_masks(split: Split, heights: np.ndarray, widths: np.ndarray, pool: Executor) -> MaskFacts:
    """`mask_facts` of a whole file, in chunks; only the shape checks run at the same time."""
    raws = [annotation.segmentation for annotation in split.annotations]
    whole = MaskFacts.empty(len(raws))
    starts = range(0, len(raws), _CHUNK)
    chunks = pool.map(
        lambda s: mask_facts(raws[s : s + _CHUNK], heights[s : s + _CHUNK], widths[s : s + _CHUNK]),
        starts,
    )
    for start, chunk in zip(starts, chunks, strict=True):
        stop = start + len(chunk.fault)
        whole.fault[start:stop] = chunk.fault
        for name in ("area", "box", "is_rle", "bad_parts", "num_parts"):
            getattr(whole, name)[start:stop] = getattr(chunk, name)
        whole.detail.update({start + i: text for i, text in chunk.detail.items()})
        whole.crossing.update({start + i: lost for i, lost in chunk.crossing.items()})
    return whole


def check_objects(objects: Objects) -> Iterator[Finding]:
    """What is wrong with the annotations of one file, apart from their ids."""
    yield from _flags(objects)
    yield from _masks(objects)
    yield from _boxes(objects)
    yield from _areas(objects)
    yield from _twins(objects)


def _flags(objects: Objects) -> Iterator[Finding]:
    for i in np.flatnonzero((objects.crowds != 0) & (objects.crowds != 1)):
        yield objects.finding("odd-iscrowd", i, f"iscrowd is {objects.crowds[i]}, not 0 or 1")
    for i in np.flatnonzero((objects.crowds == 1) & (objects.masks.num_parts > 0)):
        what = "a crowd region is outlined by polygons, not RLE"
        yield objects.finding("crowd-polygons", i, what)
    for i, annotation in enumerate(objects.split.annotations):
        if annotation.ignore:
            what = "it is marked 'ignore', which training can't honour"
            yield objects.finding("ignored-annotation", i, what)


def _masks(objects: Objects) -> Iterator[Finding]:
    masks = objects.masks
    for i, fault in enumerate(masks.fault):
        if fault:
            yield objects.finding(fault, i, masks.detail[i])
    usable = np.isfinite(masks.area)
    for i in np.flatnonzero(usable & (masks.bad_parts > 0)):
        what = f"{masks.bad_parts[i]} of {masks.num_parts[i]} polygons have no area"
        yield objects.finding("degenerate-polygon", i, what)
    for i, lost in masks.crossing.items():
        what = f"a polygon crosses itself; {lost:.2f} square pixels depend on how it is filled"
        yield objects.finding("self-intersecting-polygon", i, what)
    for i in np.flatnonzero(objects.mask_over > FRAME):
        what = f"polygons reach {objects.mask_over[i]:.1f} pixels out of the image"
        yield objects.finding("mask-out-of-frame", i, what)


def box_faults(objects: Objects) -> dict[str, np.ndarray]:
    """Kind of finding → annotations whose box has it, bool [n]; a box has one, or two of the last.

    Where either is missing, or the box is useless, box and mask can't disagree.
    """
    boxes, inside = objects.boxes, objects.masks.box
    flat = (boxes[:, 2:] <= boxes[:, :2]).any(1)
    frame = np.stack([objects.widths, objects.heights], 1)
    outside = (boxes[:, 2:] <= 0).any(1) | (boxes[:, :2] >= frame).any(1)
    outside &= ~flat & (objects.heights > 0)
    off, sides = np.abs(boxes - inside), np.tile(inside[:, 2:] - inside[:, :2], 2)
    disagree = ((off > _EDGE_PIXELS) & (off > _EDGE_SHARE * sides)).any(1)
    return {
        "missing-box": np.isnan(boxes[:, 0]),
        "box-without-area": flat,
        "box-outside-image": outside,
        "box-out-of-frame": ~flat & ~outside & (objects.box_over > FRAME),
        "box-mask-disagree": disagree & ~flat & ~outside,
    }


def area_faults(objects: Objects) -> dict[str, np.ndarray]:
    """Kind of finding → annotations whose area has it, bool [n]; each has one at most.

    Where nearly all areas of a file that are wrong are those of the box, that explains them, and
    the ones where the difference is small too.
    """
    masks, areas = objects.masks, objects.areas
    half_perimeter = (masks.box[:, 2:] - masks.box[:, :2]).sum(1)
    wrong = np.abs(areas - masks.area) > _AREA_SHARE * masks.area + half_perimeter
    box_areas = np.prod(objects.boxes[:, 2:] - objects.boxes[:, :2], 1)
    of_box = (np.abs(areas - box_areas) <= 0.005 * box_areas) & np.isfinite(masks.area)
    if wrong.sum() < _FEW or of_box[wrong].mean() < _BOX_AREA_SHARE:
        of_box = np.zeros(len(areas), bool)
    return {
        "missing-area": np.isnan(areas),
        "area-is-box-area": of_box,
        "area-mask-disagree": wrong & ~of_box,
    }


def _boxes(objects: Objects) -> Iterator[Finding]:
    faults = box_faults(objects)
    for kind, wrong in faults.items():
        for i in np.flatnonzero(wrong):
            cause = None
            if kind == "box-mask-disagree":
                out_of_frame = faults["box-out-of-frame"][i]
                cause = "box-out-of-frame" if out_of_frame else _mask_cause(objects, i)
            yield objects.finding(kind, i, _box_sentence(objects, kind, i), cause)


def _box_sentence(objects: Objects, kind: str, i: int) -> str:
    box, inside = objects.boxes[i], objects.masks.box[i]
    size = f"{objects.heights[i]} by {objects.widths[i]} (height, width)"
    return {
        "missing-box": "it has no bbox",
        "box-without-area": f"bbox {_xywh(box)} has no area",
        "box-outside-image": f"bbox {_xywh(box)} lies outside the image of {size}",
        "box-out-of-frame": (
            f"bbox {_xywh(box)} reaches {objects.box_over[i]:.1f} pixels out of the image of {size}"
        ),
        "box-mask-disagree": (
            f"an edge of bbox {_xywh(box)} is {np.abs(box - inside).max():.1f} pixels off its "
            f"mask's {_xywh(inside)}"
        ),
    }[kind]


def _mask_cause(objects: Objects, i: int) -> str | None:
    """The fault of a usable mask that explains why something disagrees with it."""
    if objects.mask_over[i] > FRAME:
        return "mask-out-of-frame"
    return "self-intersecting-polygon" if i in objects.masks.crossing else None


def _areas(objects: Objects) -> Iterator[Finding]:
    areas, masks, faults = objects.areas, objects.masks, area_faults(objects)
    for i in np.flatnonzero(faults["missing-area"]):
        yield objects.finding("missing-area", i, "it has no area")
    if number := int(faults["area-is-box-area"].sum()):
        what = (
            f"{number} of {len(areas)} areas are width times height of the box, not the mask's: "
            f"AP of small, medium and large objects sorts them by wrong sizes"
        )
        yield finding("area-is-box-area", objects.split.file, what)
    for i in np.flatnonzero(faults["area-mask-disagree"]):
        what = f"area {areas[i]:.1f}, but its mask has {masks.area[i]:.1f} square pixels"
        yield objects.finding("area-mask-disagree", i, what, _mask_cause(objects, i))


def _twins(objects: Objects) -> Iterator[Finding]:
    for i, j, iou in twins(objects):
        of = f"annotation {objects.ids[i]} (mask IoU {iou:.2f})"
        if objects.category_ids[i] == objects.category_ids[j]:
            cause = "duplicate-annotation-id" if objects.ids[i] == objects.ids[j] else None
            yield objects.finding("duplicate-object", j, f"it outlines the same as {of}", cause)
        else:
            what = f"it outlines the same as {of}, of another class"
            yield objects.finding("object-of-two-classes", j, what)


def twins(objects: Objects) -> list[tuple[int, int, float]]:
    """Annotations (i, j, mask IoU), i < j, that outline one object; each j stands there once."""
    pairs = _box_twins(objects)
    annotations = objects.split.annotations
    overlap = same_masks(
        [annotations[i].segmentation for i in pairs[:, 0]],
        [annotations[i].segmentation for i in pairs[:, 1]],
        [(int(objects.heights[i]), int(objects.widths[i])) for i in pairs[:, 0]],
    )
    found: dict[int, tuple[int, int, float]] = {}
    for (i, j), iou in zip(pairs.tolist(), overlap.tolist(), strict=True):
        if iou >= _SAME:
            found.setdefault(j, (i, j, iou))
    return list(found.values())


def _box_twins(objects: Objects) -> np.ndarray:
    """Pairs [m, 2] of usable objects of one image whose boxes nearly coincide, earlier first."""
    usable = np.isfinite(objects.masks.area) & (objects.crowds == 0) & (objects.heights > 0)
    usable &= (objects.boxes[:, 2:] > objects.boxes[:, :2]).all(1)
    rows = np.flatnonzero(usable)
    rows = rows[np.argsort(objects.image_ids[rows], kind="stable")]
    if not len(rows):
        return np.zeros((0, 2), np.int64)
    borders = np.flatnonzero(np.diff(objects.image_ids[rows])) + 1
    found = []
    for group in np.split(rows, borders):
        if len(group) > 1:
            a, b = np.nonzero(np.triu(_box_iou(objects.boxes[group]) >= _SAME, 1))
            found.append(np.stack([group[a], group[b]], 1))
    return np.concatenate(found) if found else np.zeros((0, 2), np.int64)


def _box_iou(boxes: np.ndarray) -> np.ndarray:
    """IoU [n, n] of boxes [n, 4] with area."""
    corner = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    sides = np.maximum(corner - np.maximum(boxes[:, None, :2], boxes[None, :, :2]), 0)
    common = sides.prod(2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return common / (area[:, None] + area[None] - common)


def _xywh(box: np.ndarray) -> str:
    x0, y0, x1, y1 = box
    return f"[{x0:g}, {y0:g}, {x1 - x0:g}, {y1 - y0:g}]"
