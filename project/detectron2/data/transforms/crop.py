"""Cropping: the transform, and the augmentations that choose a window.

Follows the API of ``detectron2.data.transforms.RandomCrop``, ``.FixedSizeCrop`` and of fvcore's
``CropTransform``. What is better here: polygons that the window doesn't cut aren't touched (nor is
shapely needed for them), and self-intersecting ones keep their area when they are cut.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from fvcore.transforms.transform import CropTransform as _CropTransform
from fvcore.transforms.transform import PadTransform, Transform, TransformList

from .augmentation import Augmentation

__all__ = ["CropTransform", "FixedSizeCrop", "RandomCrop"]


class CropTransform(_CropTransform):
    """The window of ``w`` × ``h`` pixels with the top left corner (x0, y0), as far as it has image.

    ``orig_w`` and ``orig_h``, the size before, are needed by ``inverse()`` only.
    """

    def apply_polygons(self, polygons: list[np.ndarray]) -> list[np.ndarray]:
        """The parts of the polygons, each [N, 2], inside the window; there may be more or fewer.

        A polygon that the window cuts is made valid first, so that overlapping loops count as the
        COCO rasteriser counts them (even-odd); holes are filled.
        """
        cropped = []
        for polygon in polygons:
            low, high = polygon.min(axis=0), polygon.max(axis=0)
            if self._holds(low, high):
                cropped.append(self.apply_coords(np.array(polygon, dtype=float)))
            elif self._meets(low, high):
                cropped.extend(map(self.apply_coords, self._cut(polygon)))
        return cropped

    def _holds(self, low: np.ndarray, high: np.ndarray) -> bool:
        return bool(
            self.x0 <= low[0]
            and self.y0 <= low[1]
            and high[0] <= self.x0 + self.w
            and high[1] <= self.y0 + self.h
        )

    def _meets(self, low: np.ndarray, high: np.ndarray) -> bool:
        return bool(
            low[0] < self.x0 + self.w
            and low[1] < self.y0 + self.h
            and high[0] > self.x0
            and high[1] > self.y0
        )

    def _cut(self, polygon: np.ndarray) -> list[np.ndarray]:
        import shapely

        if len(polygon) < 3:
            return []
        shape = shapely.Polygon(polygon)
        if not shape.is_valid:
            shape = shapely.make_valid(shape)
        window = shapely.box(self.x0, self.y0, self.x0 + self.w, self.y0 + self.h)
        parts = shapely.get_parts(shapely.get_parts(shapely.intersection(shape, window)))
        # Where a polygon only touches the window, points and lines come out: they have no area.
        return [
            np.array(part.exterior.coords)[:-1]  # the last point repeats the first
            for part in parts
            if isinstance(part, shapely.Polygon) and not part.is_empty
        ]


class FixedSizeCrop(Augmentation):
    """Crop to a size at a random place; draws one number, for both axes.

    Args:
        crop_size: (height, width).
        pad: fill images that are smaller on the right and at the bottom; else they stay smaller.
        pad_value: grey level of the filling.
        seg_pad_value: its label.
    """

    def __init__(
        self,
        crop_size: Sequence[int],
        pad: bool = True,
        pad_value: float = 128.0,
        seg_pad_value: int = 255,
    ) -> None:
        self.crop_size = tuple(crop_size)
        self.pad = pad
        self.pad_value = pad_value
        self.seg_pad_value = seg_pad_value

    def get_transform(self, image: np.ndarray) -> TransformList:
        size, wanted = np.array(image.shape[:2]), np.array(self.crop_size)
        y0, x0 = np.round(np.maximum(size - wanted, 0) * np.random.uniform()).astype(int).tolist()
        (height, width), (crop_h, crop_w) = size.tolist(), self.crop_size
        crop = CropTransform(x0, y0, crop_w, crop_h, width, height)
        if not self.pad:
            return TransformList([crop])
        padding = PadTransform(
            0,
            0,
            max(crop_w - width, 0),
            max(crop_h - height, 0),
            min(crop_w, width),
            min(crop_h, height),
            self.pad_value,
            self.seg_pad_value,
        )
        return TransformList([crop, padding])


class RandomCrop(Augmentation):
    """Crop a window of a fixed or random size at a random place.

    Args:
        crop_type: how to read ``crop_size`` = (a, b):

            * "relative": height a·H, width b·W;
            * "relative_range": height and width relative, drawn from [a, 1] and [b, 1];
            * "absolute": height a, width b, in pixels, or what the image has;
            * "absolute_range": height and width drawn from a..b pixels, or what the image has.
        crop_size: two numbers.

    Draws the size first (two numbers for the "_range" types), then the top and the left.

    Raises:
        AssertionError: for another ``crop_type``.
    """

    def __init__(self, crop_type: str, crop_size: Sequence[float]) -> None:
        known = ("relative", "relative_range", "absolute", "absolute_range")
        assert crop_type in known, f"crop_type must be one of {known}, got {crop_type!r}"
        self.crop_type = crop_type
        self.crop_size = tuple(crop_size)

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        crop_h, crop_w = self.get_crop_size((height, width))
        assert min(height - crop_h, width - crop_w) >= 0, (
            f"Can't crop {(crop_h, crop_w)} out of an image of {(height, width)}"
        )
        y0 = np.random.randint(height - crop_h + 1)
        x0 = np.random.randint(width - crop_w + 1)
        return CropTransform(x0, y0, crop_w, crop_h)

    def get_crop_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of a window for an image of ``image_size`` = (height, width)."""
        a, b = self.crop_size
        if self.crop_type == "absolute":
            return min(a, image_size[0]), min(b, image_size[1])
        if self.crop_type == "absolute_range":
            assert a <= b, f"A range of sizes must ascend, got {self.crop_size}"
            height, width = (
                int(np.random.randint(min(side, a), min(side, b) + 1)) for side in image_size
            )
            return height, width
        parts = np.asarray(self.crop_size, dtype=np.float64)
        if self.crop_type == "relative_range":
            # Rounded to float32 first, as the golden streams have it.
            parts = parts.astype(np.float32)
            parts = parts + np.random.rand(2) * (1 - parts)
        height, width = (np.array(image_size) * parts + 0.5).astype(int).tolist()
        return height, width
