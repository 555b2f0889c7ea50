"""The picture that `Visualizer` draws on; ``VisImage`` of ``detectron2.utils.visualizer``.

Every shape becomes a small coverage map, which is blended inside its own window.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_SUBPIXEL_BITS = 4  # OpenCV takes fixed-point coordinates: 1/16 pixel


class VisImage:
    """A picture being drawn on, ``scale`` times the size of ``img`` (uint8 RGB ``[H, W, 3]``).

    The ``add_*`` methods take coordinates of the original image, where pixel i covers [i, i+1),
    and colours as three numbers in 0..1.
    """

    def __init__(self, img: np.ndarray, scale: float = 1.0) -> None:
        import cv2

        self.scale = scale
        self.height, self.width = img.shape[:2]
        # The 0.01 keeps e.g. 10 * 0.3 from losing its last pixel.
        size = int(self.width * scale + 0.01), int(self.height * scale + 0.01)
        self._pixels = np.clip(img, 0, 255).astype(np.uint8)
        if size != (self.width, self.height):
            smaller = size[0] < self.width
            method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
            self._pixels = cv2.resize(self._pixels, size, interpolation=method)

    def get_image(self) -> np.ndarray:
        """The picture so far: uint8 RGB ``[H * scale, W * scale, 3]``."""
        return self._pixels.copy()

    def save(self, filepath: str) -> None:
        """Write the picture; the file's ending chooses the format."""
        from PIL import Image

        Image.fromarray(self._pixels).save(filepath)

    def add_coverage(self, coverage: np.ndarray, corner: tuple[int, int], color, alpha: float):
        """Blend ``color`` in by ``alpha`` times ``coverage`` (uint8 ``[h, w]``, 255 = all of it).

        ``corner`` is (x, y) of the map's first pixel in the drawn picture; what sticks out of the
        picture is cut off.
        """
        height, width = self._pixels.shape[:2]
        x, y = corner
        x0, y0 = max(x, 0), max(y, 0)
        x1, y1 = min(x + coverage.shape[1], width), min(y + coverage.shape[0], height)
        if x0 >= x1 or y0 >= y1:
            return
        window = self._pixels[y0:y1, x0:x1]
        share = coverage[y0 - y : y1 - y, x0 - x : x1 - x, None] * (alpha / 255)
        window[...] = np.rint(window + share * (255 * np.asarray(color) - window))

    def add_mask(self, mask: np.ndarray, color, alpha: float) -> None:
        """Blend ``color`` into the pixels where ``mask`` (bool ``[H, W]``) is set."""
        import cv2

        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            return
        if self.scale == 1:
            x0, y0 = int(columns[0]), int(rows[0])
            crop = mask[y0 : rows[-1] + 1, x0 : columns[-1] + 1]
            self.add_coverage(crop.astype(np.uint8) * 255, (x0, y0), color, alpha)
            return
        size = self._pixels.shape[1::-1]
        resized = cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_LINEAR)
        self.add_coverage(
            np.where(resized >= 128, np.uint8(255), np.uint8(0)), (0, 0), color, alpha
        )

    def add_fill(self, rings: Sequence[np.ndarray], color, alpha: float) -> None:
        """Fill closed ``rings`` (each ``[n, 2]``); a ring inside another one is a hole."""
        import cv2

        coverage, corner, fixed = self._window(rings, margin=2)
        cv2.fillPoly(coverage, fixed, 255, lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS)
        self.add_coverage(coverage, corner, color, alpha)

    def add_stroke(self, lines: Sequence[np.ndarray], closed: bool, width: float, color, alpha):
        """Draw ``lines`` (each ``[n, 2]``) of ``width`` original pixels, at least one drawn one."""
        import cv2

        thickness = max(1, round(width * self.scale))
        coverage, corner, fixed = self._window(lines, margin=thickness + 2)
        cv2.polylines(coverage, fixed, closed, 255, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
        self.add_coverage(coverage, corner, color, alpha)

    def _window(self, lines, margin: int):
        """An empty coverage map around ``lines``, its corner, and the lines in fixed point."""
        # OpenCV's coordinate 0 is the centre of the first pixel, ours is its left edge. Far-away
        # points would make a huge map, so they are pulled in to just outside of the picture.
        height, width = self._pixels.shape[:2]
        limit = np.array([width, height]) + 2.0 * margin
        lines = [np.clip(np.asarray(p) * self.scale - 0.5, -2.0 * margin, limit) for p in lines]
        points = np.concatenate(lines)
        low = np.floor(points.min(0)).astype(int) - margin
        size = np.ceil(points.max(0)).astype(int) + margin + 1 - low
        fixed = [np.rint((p - low) * 2**_SUBPIXEL_BITS).astype(np.int32) for p in lines]
        return np.zeros((size[1], size[0]), np.uint8), (int(low[0]), int(low[1])), fixed

    def add_text(self, text: str, position, size: float, color, align: str, rotation: float):
        """Write ``text`` on a dark plate whose top is at ``position``; ``size`` in pixels."""
        from PIL import Image, ImageDraw

        font = _font(max(6, round(size * self.scale)))
        left, top, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).textbbox(
            (0, 0), text, font=font
        )
        pad = 2
        plate = Image.new("L", (int(right - left) + 2 * pad, int(bottom - top) + 2 * pad))
        ImageDraw.Draw(plate).text((pad - left, pad - top), text, font=font, fill=255)
        back = Image.new("L", plate.size, 255)
        if rotation:
            plate, back = (p.rotate(rotation, expand=True) for p in (plate, back))
        x, y = np.asarray(position) * self.scale
        x -= {"left": 0, "center": plate.width / 2, "right": plate.width}[align]
        corner = round(x), round(y)
        self.add_coverage(np.asarray(back), corner, (0, 0, 0), 0.7)
        self.add_coverage(np.asarray(plate), corner, color, 1.0)


@functools.lru_cache(maxsize=32)
def _font(size: int):
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)
