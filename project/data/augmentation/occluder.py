"""Things in the way: random patches that hide parts of what is behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from project.data.occlusion import Occlusion
from project.errors import UserError, unknown_name

import numpy as np
from detectron2.data import transforms as T


class RandomOccluder(T.Augmentation):
    """One or more patches that hide parts of the picture, each a rectangle or an ellipse.

    Masks lose what is hidden, and boxes follow, where `project.data.mapper.InstanceMapper` makes
    them (in its polygon format, a picture in which an object is hit gets bit masks). Detectron2's
    own mapper doesn't: polygons can't follow. As in random erasing (Zhong et al., 2020), but for
    masks.

    Args:
        max_patches: 1 to this many, equally likely.
        size: lowest and highest share of the picture's height and width that a patch takes.
        fills: what patches may show: "flat" (one colour), "noise", "stripes" or "blur" (the
            picture itself, smeared).
        min_visible: objects of which less than this share stays visible, 0-1, are dropped.
    """

    def __init__(
        self,
        max_patches: int = 2,
        size: Sequence[float] = (0.1, 0.35),
        fills: Sequence[str] = ("flat", "noise", "stripes", "blur"),
        min_visible: float = 0.1,
    ) -> None:
        super().__init__()
        if max_patches < 1:
            raise UserError(f"RandomOccluder: max_patches must be at least 1, got {max_patches}")
        if len(size) != 2 or not 0 < size[0] <= size[1] <= 1:
            raise UserError(f"RandomOccluder: size must be 0 < lowest <= highest <= 1, got {size}")
        if not 0 <= min_visible <= 1:
            raise UserError(f"RandomOccluder: min_visible must be 0 to 1, got {min_visible}")
        for fill in fills or [""]:
            if fill not in _FILLS:
                raise UserError(f"RandomOccluder: {unknown_name('fill', fill, _FILLS)}")
        self.max_patches, self.size = max_patches, tuple(size)
        self.fills, self.min_visible = tuple(fills), min_visible

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """The patches for ``image`` [H, W, C] of 0-255."""
        number = np.random.randint(1, self.max_patches + 1)
        return T.TransformList([self._patch(image) for _ in range(number)])

    def _patch(self, image: np.ndarray) -> Occlusion:
        sides = np.array(image.shape[:2])
        height, width = np.maximum(np.rint(sides * np.random.uniform(*self.size, 2)), 1).astype(int)
        top = int(np.random.randint(sides[0] - height + 1))
        left = int(np.random.randint(sides[1] - width + 1))
        shape = np.ones((height, width), bool)
        if np.random.uniform() < 0.5:
            shape = _ellipse(height, width)
        window = image[top : top + height, left : left + width]
        fill = _FILLS[self.fills[np.random.randint(len(self.fills))]]
        pixels = np.clip(np.rint(fill(window)), 0, 255).astype(image.dtype)
        return Occlusion(pixels, shape, top, left, image.shape[:2], self.min_visible)


def _ellipse(height: int, width: int) -> np.ndarray:
    """bool [H, W]: the largest ellipse."""
    y = (2 * np.arange(height)[:, None] + 1) / height - 1
    x = (2 * np.arange(width)[None] + 1) / width - 1
    return x**2 + y**2 <= 1


def _color(window: np.ndarray) -> np.ndarray:
    return np.random.uniform(0, 255, window.shape[2])


def _flat(window: np.ndarray) -> np.ndarray:
    return np.broadcast_to(_color(window), window.shape)


def _noise(window: np.ndarray) -> np.ndarray:
    return _color(window) + np.random.normal(scale=40, size=window.shape)


def _stripes(window: np.ndarray) -> np.ndarray:
    """Two colours in waves of 3 pixels up to half the patch, in any direction."""
    angle = np.random.uniform(0, math.pi)
    period = np.random.uniform(3, max(4, max(window.shape[:2]) / 2))
    y, x = np.ogrid[: window.shape[0], : window.shape[1]]
    wave = np.sin((x * math.cos(angle) + y * math.sin(angle)) * 2 * math.pi / period)
    share = (0.5 + 0.5 * wave)[..., None]
    return share * _color(window) + (1 - share) * _color(window)


def _blur(window: np.ndarray) -> np.ndarray:
    import cv2

    side = max(window.shape[:2]) // 2 * 2 + 1
    return cv2.blur(np.ascontiguousarray(window), (side, side)).reshape(window.shape)


_FILLS = {"flat": _flat, "noise": _noise, "stripes": _stripes, "blur": _blur}
