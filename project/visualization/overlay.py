"""Objects drawn on an image: masks, contours, boxes, labels, hatched crowds; arrays in, array out.

Fast because every mask is blended inside its own box only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from project.visualization.labels import draw_plate, place_labels, plate_size, printable
from project.visualization.palette import RGB, class_color, text_color
from project.visualization.records import BoxMask, DrawnObject, scale_object

import numpy as np

SMALLEST_LONG_SIDE = 640  # smaller images are enlarged, so that labels can be read
LARGEST_LONG_SIDE = 1600


@dataclass(frozen=True)
class OverlayStyle:
    """How objects are drawn; widths and text follow from the size of the image.

    ``alpha`` is the opacity of masks, 0..1.
    """

    alpha: float = 0.45
    masks: bool = True
    contours: bool = True
    boxes: bool = True
    labels: bool = True


def fit_for_drawing(
    image: np.ndarray, objects: Sequence[DrawnObject]
) -> tuple[np.ndarray, list[DrawnObject]]:
    """The image and its objects at a size where labels can be read and pages stay light.

    Small images grow by a whole factor until the long side has `SMALLEST_LONG_SIDE` pixels; large
    ones shrink to `LARGEST_LONG_SIDE`; others come back unchanged.
    """
    import cv2

    height, width = image.shape[:2]
    long_side = max(height, width)
    factor: float = 1
    if long_side < SMALLEST_LONG_SIDE:
        factor = -(-SMALLEST_LONG_SIDE // long_side)
        # A 50-pixel strip enlarged 13 times shows no more than at 8 times.
        factor = min(factor, 8)
    elif long_side > LARGEST_LONG_SIDE:
        factor = LARGEST_LONG_SIDE / long_side
    if factor == 1:
        return image, list(objects)
    size = max(round(height * factor), 1), max(round(width * factor), 1)
    method = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    resized = cv2.resize(image, size[::-1], interpolation=method)
    return resized, [scale_object(o, factor, size) for o in objects]


def font_size(height: int, width: int) -> int:
    """Text size in pixels that suits an image: 13 at 640 pixels, 23 at 1600."""
    return round(min(max(max(height, width) / 64 + 3, 11), 23))


def draw_overlay(
    image: np.ndarray,
    objects: Sequence[DrawnObject],
    style: OverlayStyle | None = None,
    colors: Sequence[RGB] | None = None,
) -> np.ndarray:
    """A copy of ``image`` (uint8 RGB ``[H, W, 3]``) with ``objects`` drawn on it.

    Larger objects are drawn first. Without labels, pixels outside of all boxes and masks stay as
    they are. Labels never cover each other: the surest (and largest) objects get theirs first, and
    where no place is free an object goes without.

    Args:
        colors: one RGB per object instead of the class colours (per instance, true/false, ...).
    """
    style = style or OverlayStyle()
    if colors is None:
        colors = [class_color(o.class_index) for o in objects]
    image = np.ascontiguousarray(image).copy()
    width = max(1, round(min(image.shape[:2]) / 320))
    order = sorted(range(len(objects)), key=lambda i: -objects[i].area)
    for i in order:
        obj, color = objects[i], colors[i]
        if style.masks and obj.mask is not None:
            _blend_mask(image, obj.mask, color, style.alpha, hatched=obj.iscrowd)
    for i in order:
        if style.contours and objects[i].mask is not None:
            _draw_contour(image, objects[i].mask, colors[i], width)
        if style.boxes:
            _draw_box(image, objects[i].box_xyxy, colors[i], width, dashed=objects[i].iscrowd)
    if style.labels:
        _draw_labels(image, objects, colors)
    return image


def label_text(obj: DrawnObject) -> str:
    """What stands on an object's label: "dog 0.97", "person crowd", "cake"."""
    text = printable(obj.class_name)
    if obj.iscrowd:
        text += " crowd"
    return text if obj.score is None else f"{text} {obj.score:.2f}"


def _visible(image: np.ndarray, mask: BoxMask) -> tuple[np.ndarray, np.ndarray, int, int]:
    """The image's window under a mask, the mask's part in it, and the window's corner x, y."""
    height, width = mask.pixels.shape
    x0, y0 = max(mask.x, 0), max(mask.y, 0)
    window = image[y0 : max(mask.y + height, 0), x0 : max(mask.x + width, 0)]
    pixels = mask.pixels[y0 - mask.y :, x0 - mask.x :][: window.shape[0], : window.shape[1]]
    return window, pixels, x0, y0


def _blend_mask(image: np.ndarray, mask: BoxMask, color: RGB, alpha: float, hatched: bool) -> None:
    import cv2

    window, pixels, x0, y0 = _visible(image, mask)
    if not window.size:
        return
    if hatched:
        period = max(8, min(image.shape[:2]) // 40)
        rows = np.arange(y0, y0 + window.shape[0])[:, None]
        columns = np.arange(x0, x0 + window.shape[1])[None]
        pixels = pixels & ((rows + columns) % period < max(2, period // 4))
        alpha = min(1.0, 1.6 * alpha)  # thin stripes need more ink
    # All 256 blended values per channel once, instead of arithmetic on every pixel.
    levels = np.arange(256)[:, None] * (1 - alpha) + np.array(color) * alpha
    blended = cv2.LUT(np.ascontiguousarray(window), np.rint(levels).astype(np.uint8)[None])
    window[...] = cv2.copyTo(blended, pixels.astype(np.uint8), np.ascontiguousarray(window))


def _draw_contour(image: np.ndarray, mask: BoxMask, color: RGB, width: int) -> None:
    """The outline of a mask, holes included, drawn only inside the mask's box."""
    import cv2

    window, pixels, _, _ = _visible(image, mask)
    contours, _ = cv2.findContours(pixels.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    drawn = np.ascontiguousarray(window)
    cv2.drawContours(drawn, contours, -1, color, width, cv2.LINE_AA)
    window[...] = drawn


def _draw_box(image: np.ndarray, box_xyxy, color: RGB, width: int, dashed: bool) -> None:
    """The outline of a box, wholly inside the pixels that the box touches."""
    height, total = image.shape[:2]
    x0, y0 = (int(np.floor(v)) for v in np.clip(box_xyxy[:2], 0, [total, height]))
    x1, y1 = (int(np.ceil(v)) for v in np.clip(box_xyxy[2:], 0, [total, height]))
    window = image[y0:y1, x0:x1]
    if not window.size:
        return
    edge = np.zeros(window.shape[:2], bool)
    edge[:width] = edge[-width:] = edge[:, :width] = edge[:, -width:] = True
    if dashed:
        period = 10 * width
        rows, columns = np.ogrid[: edge.shape[0], : edge.shape[1]]
        edge &= (rows + columns) % period < 6 * width
    window[edge] = color


def _draw_labels(image: np.ndarray, objects: Sequence[DrawnObject], colors: Sequence[RGB]) -> None:
    size = font_size(*image.shape[:2])
    order = sorted(range(len(objects)), key=lambda i: (-(objects[i].score or 0), -objects[i].area))
    texts = [label_text(objects[i]) for i in order]
    corners = place_labels(
        [objects[i].box_xyxy for i in order],
        [plate_size(text, size) for text in texts],
        image.shape[:2],
    )
    for i, text, corner in zip(order, texts, corners, strict=True):
        if corner is not None:
            draw_plate(image, text, size, *corner, colors[i], text_color(colors[i]))
