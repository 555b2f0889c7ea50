"""The primitives of `Visualizer`: text, boxes, lines, circles, polygons and masks on a picture."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator

import numpy as np

from .vis_image import VisImage
from .vis_masks import outlines, to_numpy


class Pen:
    """Draws shapes on an RGB image, with widths and font sizes that fit it.

    Args:
        img_rgb: ``[H, W, 3]`` uint8, RGB.
        scale: the drawn picture is this many times larger.
        font_size_scale: times the default font size.
    """

    def __init__(self, img_rgb: np.ndarray, scale: float, font_size_scale: float) -> None:
        self.img = np.clip(np.asarray(img_rgb), 0, 255).astype(np.uint8)
        self.output = VisImage(self.img, scale)
        side = min(self.img.shape[:2])
        self._font_size = float(np.clip(side / 32, 9 / scale, 24)) * font_size_scale
        self._line_width = max(1.0, side / 300)
        self._random = np.random.default_rng(0)

    def get_output(self) -> VisImage:
        """The picture drawn so far."""
        return self.output

    def draw_text(
        self,
        text: str,
        position,
        *,
        font_size: float | None = None,
        color="g",
        horizontal_alignment: str = "center",
        rotation: float = 0,
    ) -> VisImage:
        """Write ``text`` below the point ``position`` (x, y), on a dark plate.

        ``font_size`` is in pixels of the original image, ``rotation`` in degrees anticlockwise.
        """
        rgb = np.asarray(_rgb(color))
        rgb = rgb + 0.4 * (1 - rgb)  # dark colours can't be read on the dark plate
        size = self._font_size if font_size is None else font_size
        self.output.add_text(text, position, size, rgb, horizontal_alignment, rotation)
        return self.output

    def draw_box(self, box_coord, alpha: float = 0.5, edge_color="g", line_style: str = "-"):
        """Draw the outline of an XYXY box; ``line_style`` "-" is solid, any other one dashed."""
        x0, y0, x1, y1 = (float(v) for v in box_coord)
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        self._stroke(corners, True, line_style, self._line_width, _rgb(edge_color), alpha)
        return self.output

    def draw_line(self, x_data, y_data, color, linestyle: str = "-", linewidth=None) -> VisImage:
        """Draw a polyline through the points (``x_data[i]``, ``y_data[i]``)."""
        points = np.stack([np.asarray(x_data, float), np.asarray(y_data, float)], axis=1)
        width = self._line_width if linewidth is None else linewidth
        self._stroke(points, False, linestyle, width, _rgb(color), 1.0)
        return self.output

    def draw_circle(self, circle_coord, color, radius: float = 3) -> VisImage:
        """Fill a circle around (x, y)."""
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius + np.asarray(circle_coord)
        self.output.add_fill([ring], _rgb(color), 1.0)
        return self.output

    def draw_polygon(self, segment, color, edge_color=None, alpha: float = 0.5) -> VisImage:
        """Fill a polygon (``[n, 2]`` or flat) by ``alpha``; its outline is drawn solid."""
        ring = np.asarray(segment, float).reshape(-1, 2)
        self.output.add_fill([ring], _rgb(color), alpha)
        edge = _rgb(color if edge_color is None else edge_color)
        self.output.add_stroke([ring], True, self._line_width, edge, 1.0)
        return self.output

    def draw_binary_mask(
        self,
        binary_mask,
        color=None,
        *,
        edge_color=None,
        text: str | None = None,
        alpha: float = 0.5,
        area_threshold: float = 10,
    ) -> VisImage:
        """Fill a mask ``[H, W]``, outline it, and write ``text`` once at its largest region.

        Connected regions of fewer than ``area_threshold`` pixels are left out.
        """
        import cv2

        color = self._random_color() if color is None else _rgb(color)
        count, regions, stats, centers = cv2.connectedComponentsWithStats(
            np.ascontiguousarray(to_numpy(binary_mask), dtype=np.uint8), connectivity=8
        )
        areas = stats[:, cv2.CC_STAT_AREA]
        kept = [r for r in range(1, count) if areas[r] >= area_threshold]
        if not kept:
            return self.output
        mask = np.isin(regions, kept)
        self.output.add_mask(mask, color, alpha)
        edge = color if edge_color is None else _rgb(edge_color)
        self.output.add_stroke(outlines(mask), True, self._line_width, edge, 1.0)
        if text is not None:
            self.draw_text(text, centers[max(kept, key=lambda r: areas[r])], color=color)
        return self.output

    def _random_color(self) -> tuple[float, float, float]:
        hue, saturation, value = self._random.uniform([0, 0.6, 0.75], [1, 1, 1])
        return colorsys.hsv_to_rgb(hue, saturation, value)

    def _stroke(self, points, closed: bool, style: str, width: float, color, alpha: float) -> None:
        if style in ("-", "solid"):
            self.output.add_stroke([points], closed, width, color, alpha)
        elif dashes := list(_dashes(points, closed, 5 * max(width, 1))):
            self.output.add_stroke(dashes, False, width, color, alpha)


def _dashes(points: np.ndarray, closed: bool, length: float) -> Iterator[np.ndarray]:
    """Pieces of ``length`` pixels along a polyline, with gaps of the same length."""
    points = np.concatenate([points, points[:1]]) if closed else points
    for start, end in zip(points[:-1], points[1:], strict=True):
        side = float(np.linalg.norm(end - start))
        for begin in np.arange(0, side, 2 * length):
            stop = min(begin + length, side)
            yield start + (end - start) * np.array([[begin], [stop]]) / side


def _rgb(color) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    return to_rgb(color if isinstance(color, str) else tuple(float(v) for v in color))
