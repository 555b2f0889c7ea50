"""The gallery of errors: which are shown, and each one's picture, truth beside prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from project.evaluation.errors import BKG, BOTH, CLS, DUPE, LOC
from project.visualization.overlay import OverlayStyle, draw_overlay, fit_for_drawing
from project.visualization.page import Picture, jpeg_picture
from project.visualization.records import BoxMask, DrawnObject
from project.visualization.report.pictures import Pictures

import numpy as np

MAX_ITEMS = 150  # a page of them stays below 4 MB
MISS = "miss"
KINDS = {LOC: "loc", CLS: "cls", DUPE: "dupe", BKG: "bkg", BOTH: "both"}
_AROUND = 0.6  # of its size is shown around an object, on each side
_LEAST = 48  # pixels of the image, on each side of a small object's middle
_OTHER = (235, 235, 235)  # outlines of labels that aren't in question


@dataclass(frozen=True)
class Item:
    """One false detection or missed object.

    Attributes:
        kind: of `project.evaluation.errors.TYPES`.
        class_name: of the detection; of the object where it was missed.
        score: 0-1; None for what was missed.
        image_id, file_name: of the image.
        note: what it was instead.
    """

    kind: str
    class_name: str
    score: float | None
    image_id: int
    file_name: str
    note: str
    picture: Picture


def gallery(pictures: Pictures, limit: int = MAX_ITEMS) -> list[Item]:
    """The errors that cost most, of all types and classes: the surest false ones, large misses.

    Classes and types take turns, so that none crowds out the others, and the first ones are the
    worst of each; unreadable images are left out.
    """
    run = pictures.run
    records = run.examination.records
    queues: dict[tuple[int, int], list[Callable[[], Item | None]]] = {}
    for label in KINDS:
        for k in range(len(run.class_names)):
            mine = np.flatnonzero((records.labels == label) & (records.classes == k))
            mine = mine[np.argsort(-records.scores[mine], kind="stable")][:limit]
            queues[label, k] = [lambda d=d: _false(pictures, d) for d in mine.tolist()]
    areas = run.examination.instances.object_areas
    for k in range(len(run.class_names)):
        mine = np.flatnonzero(records.missed & (records.object_classes == k))
        mine = mine[np.argsort(-areas[mine], kind="stable")][:limit]
        queues[-1, k] = [lambda g=g: _missed(pictures, g) for g in mine.tolist()]
    items: list[Item] = []
    for make in take_turns([queues[key] for key in sorted(queues)]):
        if len(items) == limit:
            break
        if (item := make()) is not None:
            items.append(item)
    return items


def take_turns(queues: Sequence[Sequence]) -> Iterable:
    """The first of each queue, then the second of each, ..."""
    for place in range(max(map(len, queues), default=0)):
        yield from (queue[place] for queue in queues if place < len(queue))


def _false(pictures: Pictures, d: int) -> Item | None:
    records, names = pictures.run.examination.records, pictures.run.class_names
    found = pictures.detection(int(records.rows[d]))
    about = int(records.about[d])
    meant = pictures.labelled_with_id(int(records.object_ids[about])) if about >= 0 else None
    kind = KINDS[int(records.labels[d])]
    there = "" if meant is None else names[int(records.object_classes[about])]
    note = {
        "bkg": "",
        "dupe": "another detection has the object",
        "loc": f"IoU {100 * mask_iou(found, meant):.0f} %" if meant else "",
        "cls": f"labelled as {there}",
        "both": f"touches what is labelled as {there}",
    }[kind]
    image_id = int(records.image_ids[d])
    alt = f"{found.class_name} with score {found.score:.2f}: {note or 'nothing is labelled there'}"
    about = [o for o in (found, meant) if o]
    picture = _zoomed(pictures, image_id, about, meant, [found], alt)
    if picture is None:
        return None
    file_name = pictures.file_name(image_id)
    return Item(kind, found.class_name, found.score, image_id, file_name, note, picture)


def mask_iou(first: DrawnObject, second: DrawnObject) -> float:
    """IoU of two masks of one image, 0-1; 0 where one has no pixels."""
    if first.mask is None or second.mask is None:
        return 0.0
    masks = first.mask, second.mask
    left, top = min(m.x for m in masks), min(m.y for m in masks)
    right = max(m.x + m.pixels.shape[1] for m in masks)
    bottom = max(m.y + m.pixels.shape[0] for m in masks)
    painted = np.zeros((2, bottom - top, right - left), bool)
    for plane, mask in zip(painted, masks, strict=True):
        height, width = mask.pixels.shape
        plane[mask.y - top :, mask.x - left :][:height, :width] = mask.pixels
    return float(painted.all(0).sum() / painted.any(0).sum())


def _missed(pictures: Pictures, g: int) -> Item | None:
    run, records = pictures.run, pictures.run.examination.records
    lost = pictures.labelled_with_id(int(records.object_ids[g]))
    image_id = int(records.object_image_ids[g])
    window = _window([lost], pictures, image_id)
    there = [o for o in pictures.predicted(image_id, run.thresholds) if _meets(o, window)]
    around = ", ".join(sorted({o.class_name for o in there})) or "nothing"
    note = f"{around} predicted around it"
    alt = f"{lost.class_name}, missed; {note}"
    picture = _zoomed(pictures, image_id, [lost], lost, there, alt)
    if picture is None:
        return None
    return Item(MISS, lost.class_name, None, image_id, pictures.file_name(image_id), note, picture)


def _window(about: Sequence[DrawnObject], pictures: Pictures, image_id: int) -> tuple[int, ...]:
    """x, y, right, bottom of what is shown: the objects, with some of what is around them."""
    boxes = np.array([o.box_xyxy for o in about])
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    middle, half = (low + high) / 2, (high - low) * (0.5 + _AROUND)
    size = np.array(pictures.size(image_id)[::-1])
    # A square, as far as the image goes: pictures of one height stand well beside each other.
    side = np.minimum(np.ceil(2 * max(*half, _LEAST)), size).astype(int)
    start = np.clip(np.floor(middle - side / 2).astype(int), 0, size - side)
    end = start + side
    return (*start.tolist(), *end.tolist())


def _meets(obj: DrawnObject, window: tuple[int, ...]) -> bool:
    x0, y0, x1, y1 = obj.box_xyxy
    return x0 < window[2] and x1 > window[0] and y0 < window[3] and y1 > window[1]


def _zoomed(
    pictures: Pictures,
    image_id: int,
    about: Sequence[DrawnObject],
    labelled: DrawnObject | None,
    predicted: Sequence[DrawnObject],
    alt: str,
) -> Picture | None:
    """The surroundings of some objects, left as labelled, right as predicted.

    What is in question keeps its colours; around it the image is grey, and other labels are
    outlines.
    """
    image = pictures.pixels(image_id)
    if image is None:
        return None
    x, y, right, bottom = window = _window(about, pictures, image_id)
    crop = np.ascontiguousarray(image[y:bottom, x:right])
    others = [_moved(o, x, y) for o in pictures.truth(image_id) if _meets(o, window)]
    panels = (
        _spotlight(crop, [_moved(labelled, x, y)] if labelled else [], others),
        _spotlight(crop, [_moved(o, x, y) for o in predicted], []),
    )
    gap = np.full((panels[0].shape[0], 6, 3), 255, np.uint8)
    both = np.concatenate([panels[0], gap, panels[1]], axis=1)
    return jpeg_picture(both, alt, "", width=440, quality=70)


def _spotlight(
    crop: np.ndarray, objects: Sequence[DrawnObject], others: Sequence[DrawnObject]
) -> np.ndarray:
    """The crop in grey but for ``objects``; ``others`` as thin outlines."""
    import cv2

    both = [*objects, *others]
    picture, both = fit_for_drawing(crop, both)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None]
    dim = (0.3 * picture + 0.25 * grey + 70).astype(np.uint8)
    for obj in both[: len(objects)]:
        if obj.mask is not None:
            shape = obj.mask.pixels.shape
            y0, x0 = max(obj.mask.y, 0), max(obj.mask.x, 0)
            y1, x1 = max(obj.mask.y + shape[0], 0), max(obj.mask.x + shape[1], 0)
            pixels = obj.mask.pixels[y0 - obj.mask.y :, x0 - obj.mask.x :]
            inside = picture[y0:y1, x0:x1]
            pixels = pixels[: inside.shape[0], : inside.shape[1]]
            dim[y0:y1, x0:x1][pixels] = inside[pixels]
    style = OverlayStyle(masks=False, boxes=False, labels=False)
    dim = draw_overlay(dim, both[len(objects) :], style, [_OTHER] * len(others))
    for width in (2, 1, 0):  # a thick outline, readable when shrunk: drawn at three places
        shifted = [_moved(obj, width, width) for obj in both[: len(objects)]]
        dim = draw_overlay(dim, shifted, style)
    return dim


def _moved(obj: DrawnObject, x: int, y: int) -> DrawnObject:
    x0, y0, x1, y1 = obj.box_xyxy
    mask = obj.mask and BoxMask(obj.mask.pixels, obj.mask.x - x, obj.mask.y - y)
    return replace(obj, box_xyxy=(x0 - x, y0 - y, x1 - x, y1 - y), mask=mask)
