"""Pictures as poor cameras and small files show them; nothing moves, so labels stay.

All of them always act: ``T.RandomApply(..., prob=0.3)`` makes one act on three pictures in ten.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from project.errors import UserError, unknown_name

import numpy as np
from detectron2.data import transforms as T


class GaussianBlur(T.Augmentation):
    """Out of focus by a standard deviation drawn from ``sigma``, pixels."""

    def __init__(self, sigma: Sequence[float] = (0.3, 1.5)) -> None:
        super().__init__()
        self.sigma = _range("GaussianBlur", "sigma", sigma, 0.01, 100)

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """The blur for an image of 0-255."""
        return T.ColorTransform(partial(gaussian_blur, sigma=np.random.uniform(*self.sigma)))


class MotionBlur(T.Augmentation):
    """Smeared along a straight line of a length drawn from ``length``, pixels, in any direction."""

    def __init__(self, length: Sequence[float] = (2.0, 8.0)) -> None:
        super().__init__()
        self.length = _range("MotionBlur", "length", length, 1, 1000)

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """The blur for an image of 0-255. Draws the length, then the angle."""
        length, angle = np.random.uniform(*self.length), np.random.uniform(0, math.pi)
        return T.ColorTransform(partial(motion_blur, length=length, angle=angle))


class JpegCompression(T.Augmentation):
    """Written as JPEG and read again, with a quality drawn from ``quality``, 1 to 100.

    Args:
        image_format: channel order of the image, "BGR" or "RGB": colours are kept more coarsely
            than brightness.
    """

    def __init__(self, quality: Sequence[int] = (30, 90), *, image_format: str = "BGR") -> None:
        super().__init__()
        self.quality = _range("JpegCompression", "quality", quality, 1, 100)
        if image_format not in ("BGR", "RGB"):
            raise UserError(unknown_name("image_format", image_format, ("BGR", "RGB")))
        self.image_format = image_format

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """The loss for an image [H, W, 3] of 0-255."""
        low, high = self.quality
        quality = int(np.random.randint(low, high + 1))
        return T.ColorTransform(
            partial(jpeg_compression, quality=quality, is_rgb=self.image_format == "RGB")
        )


def gaussian_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """``image`` [H, W, C] blurred by ``sigma`` pixels; same dtype, edges mirrored."""
    import cv2

    blurred = cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), sigma)
    return blurred.reshape(image.shape)


def motion_blur(image: np.ndarray, length: float, angle: float) -> np.ndarray:
    """``image`` [H, W, C] smeared over ``length`` pixels along ``angle`` (radians; 0: sideways)."""
    import cv2

    blurred = cv2.filter2D(np.ascontiguousarray(image), -1, line_kernel(length, angle))
    return blurred.reshape(image.shape)


def line_kernel(length: float, angle: float) -> np.ndarray:
    """float64 [K, K], K odd: an even line through the middle, of sum 1.

    Its points are shared out among the four pixels around each, so it has no steps.
    """
    reach = (length - 1) / 2
    steps = np.linspace(-reach, reach, 1 + 8 * math.ceil(length))
    middle = math.ceil(reach)
    kernel = np.zeros((2 * middle + 2, 2 * middle + 2))  # one more, which only rounding can touch
    x, y = middle + steps * math.cos(angle), middle + steps * math.sin(angle)
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    for right in (0, 1):
        for down in (0, 1):
            share = np.abs(1 - right - (x - column)) * np.abs(1 - down - (y - row))
            np.add.at(kernel, (row + down, column + right), share)
    kernel = kernel[:-1, :-1]
    return kernel / kernel.sum()


def jpeg_compression(image: np.ndarray, quality: int, is_rgb: bool) -> np.ndarray:
    """``image`` [H, W, 3] as JPEG of ``quality`` shows it; same dtype, values rounded to bytes."""
    import cv2

    pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8)[..., :: -1 if is_rgb else 1]
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    written = cv2.imencode(".jpg", np.ascontiguousarray(pixels), options)[1]
    read = cv2.imdecode(written, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(read[..., :: -1 if is_rgb else 1]).astype(image.dtype, copy=False)


def _range(
    owner: str, name: str, values: Sequence[float], lowest: float, highest: float
) -> tuple[float, float]:
    if len(values) != 2 or not lowest <= values[0] <= values[1] <= highest:
        raise UserError(
            f"{owner}: {name} must be two ascending numbers from {lowest} to {highest}, "
            f"got {values}"
        )
    return values[0], values[1]
