"""Colour jitter that knows the channel order, which Detectron2's doesn't."""

from __future__ import annotations

from functools import partial

from project.errors import UserError

import numpy as np
from detectron2.data import transforms as T

_LUMA = {"RGB": (0.299, 0.587, 0.114), "BGR": (0.114, 0.587, 0.299)}  # ITU-R BT.601


class ColorJitter(T.Augmentation):
    """Random brightness, contrast and saturation in one pass over the image.

    Each amount a (0 = off) draws a factor from [1 - a, 1 + a] with numpy's global generator:
    brightness scales all values, contrast the distance to the mean of the image, saturation the
    distance to each pixel's luma. Rounds once, at the end.
    """

    def __init__(
        self,
        brightness: float = 0.2,
        contrast: float = 0.2,
        saturation: float = 0.2,
        *,
        image_format: str = "BGR",
    ) -> None:
        super().__init__()
        amounts = (brightness, contrast, saturation)
        if not all(0 <= amount <= 1 for amount in amounts):
            raise UserError(f"ColorJitter: amounts must be 0 to 1, got {amounts}")
        if image_format not in _LUMA:
            raise UserError(f"ColorJitter: image_format {image_format!r}, expected BGR or RGB")
        self.brightness, self.contrast, self.saturation = amounts
        self.image_format = image_format

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """The colour change for ``image`` [H, W, 3] of 0-255; masks and boxes stay."""
        amounts = np.array([self.brightness, self.contrast, self.saturation])
        factors = 1 + amounts * np.random.uniform(-1, 1, size=3)
        return T.ColorTransform(
            partial(adjust_color, factors=tuple(factors), luma=_LUMA[self.image_format])
        )


def adjust_color(
    image: np.ndarray, factors: tuple[float, float, float], luma: tuple[float, float, float]
) -> np.ndarray:
    """``image`` [H, W, 3] with brightness, contrast and saturation multiplied; same dtype."""
    brightness, contrast, saturation = factors
    values = image.astype(np.float32) * brightness
    mean = values.mean()
    values = mean + contrast * (values - mean)
    gray = values @ np.asarray(luma, np.float32)[:, None]
    values = gray + saturation * (values - gray)
    return np.clip(np.rint(values), 0, 255).astype(image.dtype)
