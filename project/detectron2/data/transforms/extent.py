"""Zooming and shifting: any rectangle of the plane resampled to any size.

Follows the API of ``detectron2.data.transforms.ExtentTransform`` and ``.RandomExtent``. What is
better here: images and label maps of every dtype work.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from fvcore.transforms.transform import Transform

from .augmentation import Augmentation
from .interpolation import BILINEAR, map_with_pil

__all__ = ["ExtentTransform", "RandomExtent"]


class ExtentTransform(Transform):
    """The rectangle ``src_rect`` of the image, resampled to ``output_size``.

    Label maps are resampled with the same mode as images, as Detectron2 does it: pass NEAREST where
    they matter, because BILINEAR blends the labels on both sides of a border.

    Args:
        src_rect: (x0, y0, x1, y1) in pixels; may reach beyond the image.
        output_size: (height, width).
        interp: NEAREST, BILINEAR or BICUBIC of Pillow.
        fill: value where there is no image.
    """

    def __init__(
        self,
        src_rect: Sequence[float],
        output_size: Sequence[int],
        interp: int = BILINEAR,
        fill: float = 0,
    ) -> None:
        super().__init__()
        self.src_rect = tuple(float(side) for side in src_rect)
        self.output_size = tuple(int(side) for side in output_size)
        self.interp = interp
        self.fill = fill

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """[H, W] or [H, W, C] → the same with the output size and the same dtype."""

        def extent(image):
            from PIL import Image

            # Pillow's colour of several channels is a tuple.
            channels = len(image.getbands())
            fill = self.fill if channels == 1 else (self.fill,) * channels
            return image.transform(
                self.output_size[::-1],
                Image.Transform.EXTENT,
                self.src_rect,
                self.interp,
                fillcolor=fill,
            )

        return map_with_pil(extent, img)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Points (x, y), [N, 2] → float32 [N, 2]."""
        x0, y0, x1, y1 = self.src_rect
        height, width = self.output_size
        size = np.array([width, height], dtype=np.float32)
        middle = np.array([x0 + x1, y0 + y1], dtype=np.float32) / 2
        scale = size / np.array([x1 - x0, y1 - y0], dtype=np.float32)
        return (np.asarray(coords, dtype=np.float32) - middle) * scale + size / 2


class RandomExtent(Augmentation):
    """A randomly scaled and shifted rectangle becomes the image; its pixels keep their size.

    Draws one number for the scale and two for the shift (x, then y).

    Args:
        scale_range: (lowest, highest) size of the rectangle relative to the image.
        shift_range: (x, y): the rectangle's centre lies within ± half of it, relative to the image,
            around the centre of the image.
    """

    def __init__(self, scale_range: Sequence[float], shift_range: Sequence[float]) -> None:
        self.scale_range = tuple(scale_range)
        self.shift_range = tuple(shift_range)

    def get_transform(self, image: np.ndarray) -> Transform:
        size = np.array(image.shape[1::-1], dtype=float)  # width, height
        rect_size = size * np.random.uniform(*self.scale_range)
        shift = (np.random.rand(2) - 0.5) * self.shift_range
        middle = size * (0.5 + shift)
        low, high = middle - rect_size / 2, middle + rect_size / 2
        width, height = rect_size.astype(int).tolist()
        return ExtentTransform((*low.tolist(), *high.tolist()), (height, width))
