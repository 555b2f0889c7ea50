"""The samples of an exploration, drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from project.data.coco_masks import check_mask
from project.data.exploration.explore import Exploration
from project.data.exploration.masks import rasterise
from project.data.exploration.measure import read_rgb
from project.data.exploration.samples import Sample
from project.visualization.overlay import OverlayStyle, draw_overlay, fit_for_drawing
from project.visualization.page import Picture, jpeg_picture
from project.visualization.records import BoxMask, DrawnObject

import numpy as np

_GREY = (150, 150, 150)
_ZOOM = 64  # pixels: at least so much of an image is shown around one object


def sample_pictures(
    found: Exploration, sheets: Mapping[str, Sequence[Sample]], image_dir: Path
) -> dict[str, list[np.ndarray]]:
    """The drawn pictures of `choose_samples`' sheets, uint8 RGB; None for unreadable images."""
    return {
        title: [draw_sample(found, sample, image_dir) for sample in samples]
        for title, samples in sheets.items()
    }


def draw_sample(found: Exploration, sample: Sample, image_dir: Path) -> np.ndarray | None:
    """One image with its masks, or the surroundings of one object; None if it can't be read."""
    table = found.table
    image = read_rgb(str(Path(image_dir, table.file_names[sample.image])))
    if image is None:
        return None
    objects = []
    if image.shape[:2] == tuple(table.image_sizes[sample.image]):
        rows = np.flatnonzero(table.image_index == sample.image)
        objects = [_drawn(found, m) for m in rows if m != sample.object]
    if sample.object is not None and image.shape[:2] == tuple(table.image_sizes[sample.image]):
        x, y, right, bottom = _window(table.boxes_xyxy[sample.object], image.shape[:2])
        image = np.ascontiguousarray(image[y:bottom, x:right])
        own = _moved(_drawn(found, sample.object), x, y, image.shape[:2])
        objects = [o for o in (_moved(o, x, y, image.shape[:2]) for o in objects) if o is not None]
        image, objects = fit_for_drawing(image, [own, *objects])
        # The others in grey and without names, so that the one in question can be found.
        quiet = OverlayStyle(labels=False, boxes=False, alpha=0.25)
        image = draw_overlay(image, objects[1:], quiet, [_GREY] * (len(objects) - 1))
        return draw_overlay(image, objects[:1])
    return draw_overlay(*fit_for_drawing(image, objects))


def _drawn(found: Exploration, m: int) -> DrawnObject:
    table = found.table
    height, width = table.image_sizes[table.image_index[m]].tolist()
    mask = check_mask(table.segmentations[m], height, width).mask
    pieces = rasterise(mask, height, width) if mask else None
    k = int(table.class_index[m])
    return DrawnObject(
        class_index=k,
        class_name=table.class_names[k],
        box_xyxy=tuple(table.boxes_xyxy[m].tolist()),
        mask=None if pieces is None else BoxMask(pieces.pixels, pieces.x, pieces.y),
        iscrowd=bool(table.crowd[m]),
    )


def _window(box_xyxy: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the part of an image around a box: three times its size, 4:3."""
    x0, y0, x1, y1 = box_xyxy
    height = max(3 * (y1 - y0), 9 / 4 * (x1 - x0), 0.75 * _ZOOM)
    width = min(height * 4 / 3, size[1])
    height = min(height, size[0])
    left = int(np.clip((x0 + x1 - width) / 2, 0, size[1] - width))
    top = int(np.clip((y0 + y1 - height) / 2, 0, size[0] - height))
    return left, top, left + int(np.ceil(width)), top + int(np.ceil(height))


def _moved(o: DrawnObject, x: int, y: int, size: tuple[int, int]) -> DrawnObject | None:
    """An object on the part of an image that starts at (x, y); None if it lies outside."""
    x0, y0, x1, y1 = o.box_xyxy
    box = (x0 - x, y0 - y, x1 - x, y1 - y)
    if box[2] <= 0 or box[3] <= 0 or box[0] >= size[1] or box[1] >= size[0]:
        return None
    mask = None if o.mask is None else BoxMask(o.mask.pixels, o.mask.x - x, o.mask.y - y)
    return DrawnObject(o.class_index, o.class_name, box, mask, o.score, o.iscrowd)


def picture_captions(found: Exploration, title: str, sample: Sample) -> tuple[str, str]:
    """Alt text and caption of a sample's picture."""
    name = found.table.file_names[sample.image]
    what = "Part of image" if sample.object is not None else "Image"
    own = found.objects.class_index[found.objects.image_index == sample.image]
    counts = np.bincount(own, minlength=len(found.table.class_names))
    shown = [
        f"{number} {found.table.class_names[k]}"
        for k, number in sorted(enumerate(counts), key=lambda c: -c[1])[:4]
        if number
    ]
    return f"{what} {name} with masks: {', '.join(shown) or 'no objects'}", f"{name}: {sample.why}"


def embed(
    found: Exploration,
    sheets: Mapping[str, Sequence[Sample]],
    drawn: Mapping[str, Sequence[np.ndarray | None]],
) -> dict[str, list[Picture]]:
    """The drawn samples as pictures of the page; unreadable images and empty sheets left out."""
    pictures = {
        title: [
            jpeg_picture(pixels, *picture_captions(found, title, sample))
            for sample, pixels in zip(samples, drawn[title], strict=True)
            if pixels is not None
        ]
        for title, samples in sheets.items()
    }
    return {title: items for title, items in pictures.items() if items}
