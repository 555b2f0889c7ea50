"""Text: any Unicode, as small coverage maps, and places for labels that don't cover each other."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np

MAX_LABEL = 32  # characters; longer names are cut
_PAD = 3  # pixels around the text on its plate
_MAX_HIDDEN = 0.5  # a label may cover this share of the objects near it, summed up


def printable(text: str, limit: int = MAX_LABEL) -> str:
    """``text`` on one line: control characters and lone surrogates become "·", the end is cut."""
    bad = ("Cc", "Cf", "Cs", "Zl", "Zp")
    shown = "".join("·" if unicodedata.category(c) in bad else c for c in str(text))
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


@functools.lru_cache(maxsize=512)
def text_coverage(text: str, size: int) -> np.ndarray:
    """``text`` as uint8 ``[h, w]``, 255 = ink; h depends on ``size`` (pixels) only, w ≥ 1.

    Drawn with the DejaVu Sans that matplotlib brings: it has the European scripts and many signs;
    signs that it lacks become boxes. The array is shared: don't write to it.
    """
    from PIL import Image, ImageDraw

    font = _font(size)
    ascent, descent = font.getmetrics()
    left, _, right, _ = font.getbbox(text)
    picture = Image.new("L", (max(int(right - left) + 1, 1), ascent + descent))
    ImageDraw.Draw(picture).text((-left, 0), text, font=font, fill=255)
    return np.asarray(picture)


@functools.lru_cache(maxsize=32)
def _font(size: int):
    import matplotlib
    from PIL import ImageFont

    file = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(str(file), size)


def plate_size(text: str, size: int) -> tuple[int, int]:
    """(height, width) of the plate that `draw_plate` draws for ``text``."""
    height, width = text_coverage(text, size).shape
    return height, width + 2 * _PAD


def draw_plate(image: np.ndarray, text: str, size: int, x: int, y: int, back, ink) -> None:
    """Write ``text`` in colour ``ink`` on a plate ``back`` with its corner at (x, y), in place.

    What sticks out at the right or at the bottom is cut; ``back`` None writes on the image itself.
    """
    coverage = text_coverage(text, size)
    height, width = plate_size(text, size)
    if back is not None:
        image[y : y + height, x : x + width] = back
    window = image[y : y + height, x + _PAD : x + _PAD + coverage.shape[1]]
    share = coverage[: window.shape[0], : window.shape[1], None] / 255
    window[...] = np.rint(window + share * (np.array(ink) - window))


def place_labels(
    boxes_xyxy: Sequence[Sequence[float]],
    sizes: Sequence[tuple[int, int]],
    image_size: tuple[int, int],
) -> list[tuple[int, int] | None]:
    """Top-left corners (x, y) for labels of ``sizes`` (height, width), one per box.

    Labels lie inside the image and never cover each other. Each takes, in the order given, the free
    place at its box that covers least of all boxes (each overlap as a share of that box). None
    where there is no free place, or where the label would hide half of a (small) object: its colour
    still tells the class.
    """
    boxes = np.asarray(boxes_xyxy, float).reshape(-1, 4)
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 1), axis=1)
    taken = np.zeros((0, 4))
    corners: list[tuple[int, int] | None] = []
    for number, (height, width) in enumerate(sizes):
        places = _candidates(boxes[number], height, width, image_size)
        free = places[(_overlaps(places, taken) == 0).all(1)]
        if not len(free):
            corners.append(None)
            continue
        hidden = np.round((_overlaps(free, boxes) / areas).sum(1), 2)
        best = free[int(hidden.argmin())]  # the first of equally good ones
        if hidden.min() > _MAX_HIDDEN:
            corners.append(None)
            continue
        taken = np.concatenate([taken, best[None]])
        corners.append((int(best[0]), int(best[1])))
    return corners


def _candidates(box: np.ndarray, height: int, width: int, image_size) -> np.ndarray:
    """Places for a label, best first: XYXY ``[n, 4]``, all inside the image."""
    x0, y0, x1, y1 = box
    left, right, middle = x0, x1 - width, (x0 + x1 - width) / 2
    above, below = y0 - height, y1
    spots = [(left, above), (right, above), (left, below), (right, below), (middle, above)]
    if x1 - x0 >= width and y1 - y0 >= 2.5 * height:  # inside, where the object stays visible
        spots[1:1] = [(left, y0), (right, y0), (left, y1 - height), (right, y1 - height)]
    spots += [(x1, y0), (x0 - width, y0), (x1, y1 - height), (x0 - width, y1 - height)]
    spots += [(middle, below)]
    # Along the left edge, for boxes that share a top; still clearly at its own box.
    spots += [(left, y) for y in np.arange(y0 + height, y1 - 2 * height, height)[:8]]
    corner = np.rint(np.array(spots))
    limit = np.array([image_size[1] - width, image_size[0] - height])
    corner = np.clip(corner, 0, np.maximum(limit, 0))
    return np.concatenate([corner, corner + [width, height]], axis=1)


def _overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Areas of intersection ``[len(a), len(b)]`` of XYXY boxes."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.prod(np.clip(high - low, 0, None), axis=-1)
