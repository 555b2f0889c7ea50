"""A pen that paints labelled parts on a fine canvas, and the sprite that comes of it.

An object is painted as *part labels* on a canvas `FINE` times as fine as the picture. Colours and
patterns are looked up per label afterwards, in one pass, and one area-averaged downscale gives
premultiplied colours and a soft alpha: a hair of one fine pixel covers a quarter of a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FINE = 4  # canvas pixels per picture pixel, along each axis
DARK = np.float32([38, 36, 40])  # tyres, eyes, noses
_PATTERNED = 128  # added to a part's label where the pattern shows its second colour
_PAD = 3  # picture pixels of empty border, which a slight blur may fill
_RING = np.stack([np.cos(a := np.linspace(0, 2 * np.pi, 20, endpoint=False)), np.sin(a)], axis=1)

Point = tuple[float, float]


@dataclass(frozen=True)
class Sprite:
    """One object (or occluder) ready to be laid over a picture.

    Attributes:
        colour: premultiplied RGB, float32 (h, w, 3), 0-255.
        alpha: coverage, float32 (h, w), 0-1.
        foot: (x, y) of the point that stands on the ground, in sprite pixels.
    """

    colour: np.ndarray
    alpha: np.ndarray
    foot: tuple[int, int]


def random_colour(rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """An RGB colour, float32 (3,), 0-255; every class draws its colours from this one source.

    Args:
        strength: scales the saturation; backgrounds use less of it than objects.
    """
    hue = rng.uniform(0, 6)
    saturation = rng.beta(1.6, 1.4) * strength
    value = rng.uniform(0.3, 1.0)
    offsets = np.array([5.0, 3.0, 1.0])
    wave = np.clip(np.minimum((offsets + hue) % 6, 4 - (offsets + hue) % 6), 0, 1)
    return np.float32(255 * value * (1 - saturation * wave))


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], cells: int) -> np.ndarray:
    """Low-frequency noise, float32 of ``size`` (height, width), mean about 0, range about ±1."""
    import cv2

    height, width = size
    rows = max(2, round(cells * height / max(height, width)))
    columns = max(2, round(cells * width / max(height, width)))
    coarse = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


class Pen:
    """Paints one object in its own units: x to the right, y up from the ground at 0.

    Args:
        box: (x0, y0, x1, y1) in object units; what is painted outside of it is lost.
        scale: picture pixels per object unit.
        angle: turn about the foot point, radians.
        flip: mirror left and right.

    ``origin`` is where the units' zero lies; it can be moved while painting.
    """

    def __init__(
        self,
        box: tuple[float, float, float, float],
        scale: float,
        angle: float = 0.0,
        flip: bool = False,
    ) -> None:
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        mirror = np.diag([-1.0 if flip else 1.0, 1.0])
        self._matrix = np.diag([1.0, -1.0]) @ turn @ mirror * scale * FINE
        x0, y0, x1, y1 = box
        corners = np.array([(x0, y0), (x0, y1), (x1, y0), (x1, y1)]) @ self._matrix.T
        low = np.floor(corners.min(0) / FINE).astype(int) - _PAD
        high = np.ceil(corners.max(0) / FINE).astype(int) + _PAD
        self.foot = (int(-low[0]), int(-low[1]))
        self._shift = -low * FINE
        columns, rows = (high - low) * FINE
        self._labels = np.zeros((rows, columns), np.uint8)
        self._colours: list[tuple[np.ndarray, np.ndarray]] = [(np.zeros(3), np.zeros(3))]
        self.origin: Point = (0.0, 0.0)
        self._unit = scale * FINE

    def part(self, colour: np.ndarray, second: np.ndarray | None = None) -> int:
        """Label of a new part; ``second`` is the colour of the object's pattern on it."""
        assert len(self._colours) < _PATTERNED, "too many parts for 8-bit labels"
        self._colours.append((colour, colour if second is None else second))
        return len(self._colours) - 1

    def fill(self, points: Sequence[Point] | np.ndarray, label: int) -> None:
        """Fill the polygon ``points`` (N, 2)."""
        import cv2

        cv2.fillPoly(self._labels, [self._to_canvas(points)], label)

    def blob(self, centre: Point, radii: Point, label: int) -> None:
        """Fill an upright ellipse."""
        self.fill(_RING * radii + centre, label)

    def limb(self, joints: Sequence[Point], radii: Sequence[float], label: int) -> None:
        """Fill a rounded, tapering tube through ``joints``, with a radius at each of them."""
        import cv2

        rings = [_RING * r + j for j, r in zip(joints, radii, strict=True)]
        for first, second in zip(rings[:-1], rings[1:], strict=True):
            both = self._to_canvas(np.concatenate([first, second]))
            cv2.fillConvexPoly(self._labels, cv2.convexHull(both), label)

    def hairs(self, roots: np.ndarray, tips: np.ndarray, bend: np.ndarray, label: int) -> None:
        """Hairs one fine pixel wide from ``roots`` to ``tips`` (N, 2), bent by ``bend`` (N, 2)."""
        import cv2

        middle = (roots + tips) / 2 + bend
        lines = self._to_canvas(np.stack([roots, middle, tips], axis=1).reshape(-1, 2))
        cv2.polylines(self._labels, list(lines.reshape(-1, 3, 2)), False, label, 1)

    def finish(self, rng: np.random.Generator, blur: float = 0.0) -> Sprite:
        """Colour, pattern, shade and downscale what was painted.

        Args:
            blur: standard deviation of a Gaussian blur in picture pixels, at most 1.
        """
        import cv2

        labels = self._cropped()
        cover = (labels > 0).astype(np.uint8) * 255
        seams = _seams(labels)
        table = np.array(self._colours, np.float32).clip(0, 255).astype(np.uint8)
        if (table[:, 0] != table[:, 1]).any():
            marked = _pattern(rng, labels.shape, self._unit)
            np.add(labels, _PATTERNED, out=labels, where=marked)
        colour = _look_up(table, labels)
        colour[seams] //= 2
        size = (labels.shape[1] // FINE, labels.shape[0] // FINE)
        alpha = cv2.resize(cover, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        colour = cv2.resize(colour, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        colour *= _shade(rng, alpha.shape)[..., None]
        if blur > 0.2:
            alpha = cv2.GaussianBlur(alpha, (5, 5), blur).clip(0, 1)
            colour = cv2.GaussianBlur(colour, (5, 5), blur)
        return Sprite(np.minimum(colour, 255 * alpha[..., None]), alpha, self.foot)

    def _to_canvas(self, points: Sequence[Point] | np.ndarray) -> np.ndarray:
        moved = np.asarray(points) + self.origin
        return np.rint(moved @ self._matrix.T + self._shift).astype(np.int32)

    def _cropped(self) -> np.ndarray:
        """The painted part of the canvas with its border; moves ``foot`` along."""
        import cv2

        x, y, width, height = cv2.boundingRect(self._labels)
        left, top = max(x // FINE - _PAD, 0), max(y // FINE - _PAD, 0)
        self.foot = (self.foot[0] - left, self.foot[1] - top)
        right, bottom = -(-(x + width) // FINE) + _PAD, -(-(y + height) // FINE) + _PAD
        return self._labels[top * FINE : bottom * FINE, left * FINE : right * FINE].copy()


def _look_up(table: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Colours (h, w, 3) of ``labels``; ``table`` (parts, 2, 3) holds both colours of each part."""
    import cv2

    lut = np.zeros((256, 1, 3), np.uint8)
    lut[: len(table), 0], lut[_PATTERNED : _PATTERNED + len(table), 0] = table[:, 0], table[:, 1]
    return cv2.LUT(cv2.merge([labels] * 3), lut)


def _seams(labels: np.ndarray) -> np.ndarray:
    """Where a part ends: bool (h, w)."""
    seams = np.zeros(labels.shape, bool)
    seams[:, 1:] = labels[:, 1:] != labels[:, :-1]
    seams[1:] |= labels[1:] != labels[:-1]
    return seams


def _pattern(rng: np.random.Generator, size: tuple[int, int], unit: float) -> np.ndarray:
    """Where the second colour shows: stripes, checks, dots, blotches or nowhere; bool (h, w)."""
    kind = rng.integers(6)
    pitch = unit * rng.uniform(0.05, 0.12)
    turn = rng.uniform(0, np.pi)
    if kind == 4:
        return smooth_noise(rng, size, int(rng.integers(5, 9))) > 0.15
    if kind == 5:
        return np.zeros(size, bool)
    y = np.arange(size[0], dtype=np.float32)[:, None] / np.float32(pitch)
    x = np.arange(size[1], dtype=np.float32)[None] / np.float32(pitch)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    u = x * cos + y * sin
    if kind == 0:
        return u % 2 < 1
    v = y * cos - x * sin
    if kind == 1:
        return (u % 2 < 1) ^ (v % 2 < 1)
    if kind == 2:
        return (u % 1.6 - 0.8) ** 2 + (v % 1.6 - 0.8) ** 2 < 0.25
    return v % 3 < 0.8


def _shade(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Light from one side, cloudiness and grain; factors about 1, float32 of ``size``."""
    x = np.linspace(-1, 1, size[1], dtype=np.float32)[None]
    y = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None]
    light = 1 + rng.uniform(-0.2, 0.2) * x - rng.uniform(0, 0.2) * y
    light = light + 0.08 * smooth_noise(rng, size, 6)
    return light + 0.05 * rng.standard_normal(size, dtype=np.float32)
