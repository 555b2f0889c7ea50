"""Pictures on the way to the model: kept once decoded, and laid out as a model takes them."""

from __future__ import annotations

from collections.abc import Callable

from project.errors import UserError

import numpy as np
import torch


class ImageCache:
    """Decoded pictures by file name, up to a bound; this process keeps them from pass to pass.

    The first ones that fit stay and none is thrown out for another: a training pass shows every
    picture before it shows one again, so a cache of the most recent ones would hardly ever be hit.
    Copies of a cache, those that loader processes are sent too, start empty.

    Args:
        limit_mb: room for pixels, in units of 2^20 bytes; a picture takes height x width x 3 bytes.

    Raises:
        UserError: if the limit is negative.
    """

    def __init__(self, limit_mb: float) -> None:
        if not limit_mb >= 0:
            raise UserError(f"cache_mb must be at least 0, got {limit_mb}")
        self.limit_mb = limit_mb
        self.num_bytes = 0
        self._pictures: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._pictures)

    def __reduce__(self) -> tuple:
        return ImageCache, (self.limit_mb,)

    def read(self, file_name: str, decode: Callable[[str], np.ndarray]) -> np.ndarray:
        """What ``decode(file_name)`` gives, or gave; the caller may write into it."""
        kept = self._pictures.get(file_name)
        if kept is not None:
            return kept.copy()
        picture = decode(file_name)
        if self.num_bytes + picture.nbytes <= self.limit_mb * 2**20:
            self._pictures[file_name] = picture.copy()
            self.num_bytes += picture.nbytes
        return picture


def planes(image: np.ndarray) -> torch.Tensor:
    """[H, W, C] → contiguous tensor [C, H, W] of the same dtype, in memory of its own.

    OpenCV takes three channels apart some ten times faster than NumPy's general transposition. A
    mirrored picture is a view with a negative stride, which OpenCV doesn't take: its planes are
    mirrored one by one.
    """
    if image.shape[2] != 3 or image.dtype not in (np.uint8, np.float32):
        return torch.from_numpy(image.transpose(2, 0, 1).copy())
    import cv2

    mirrored = image.strides[1] < 0
    result = np.empty((3, *image.shape[:2]), image.dtype)
    if mirrored:
        for source, target in zip(
            cv2.split(np.ascontiguousarray(image[:, ::-1])), result, strict=True
        ):
            cv2.flip(source, 1, dst=target)
    else:
        cv2.split(np.ascontiguousarray(image), list(result))
    return torch.from_numpy(result)
