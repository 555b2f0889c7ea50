"""Resampling modes, and the ways of Pillow that other libraries don't have.

The numbers are those of ``PIL.Image.Resampling``, so that configs may hold either; naming them here
spares the import of Pillow.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["BICUBIC", "BILINEAR", "NEAREST", "map_with_pil", "nearest_indices", "pil_resize"]

NEAREST, BILINEAR, BICUBIC = 0, 2, 3


def nearest_indices(old: int, new: int) -> np.ndarray:
    """For each of ``new`` pixels the one of ``old`` pixels under its centre, int64 [new].

    Pillow walks over the pixels by adding the step up, which rounds differently from a product
    where a centre falls on a border; `cumsum` adds in the same order.
    """
    step = old / new
    steps = np.full(new, step)
    steps[0] = step * 0.5
    return np.minimum(np.cumsum(steps).astype(np.int64), old - 1)


def map_with_pil(function: Callable, array: np.ndarray) -> np.ndarray:
    """``function`` of Pillow images applied to an array [H, W] or [H, W, C] of any dtype.

    Grey and RGB uint8 arrays pass as they are; others channel by channel, as 32-bit floats (exact
    for labels up to 2²⁴) if they aren't uint8.
    """
    from PIL import Image

    if array.dtype == np.uint8 and (array.ndim == 2 or array.shape[2] == 3):
        return np.asarray(function(Image.fromarray(np.ascontiguousarray(array))))
    if array.ndim == 3:
        channels = [map_with_pil(function, array[:, :, c]) for c in range(array.shape[2])]
        return np.stack(channels, axis=2)
    image = Image.fromarray(np.ascontiguousarray(array, dtype=np.float32))
    return np.asarray(function(image)).astype(array.dtype)


def pil_resize(image: np.ndarray, size: tuple[int, int], mode: int) -> np.ndarray:
    """``image`` resized to ``size`` = (width, height) with a mode that only Pillow has."""
    return map_with_pil(lambda pil_image: pil_image.resize(size, mode), image)
