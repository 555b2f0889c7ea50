"""Resizing: the transform, and the augmentations that choose a size.

Follows the API of ``detectron2.data.transforms.ResizeTransform``, ``.Resize``,
``.ResizeShortestEdge`` and ``.ResizeScale``. What is better here: uint8 images are resized by
torch's vectorised kernels (Pillow's result to one grey level, several times faster), and label maps
of every dtype can be resized.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import torch
from fvcore.transforms.transform import NoOpTransform, Transform

from .augmentation import Augmentation
from .interpolation import BICUBIC, BILINEAR, NEAREST, nearest_indices, pil_resize

__all__ = ["Resize", "ResizeScale", "ResizeShortestEdge", "ResizeTransform"]

_TORCH_MODES = {NEAREST: "nearest", BILINEAR: "bilinear", BICUBIC: "bicubic"}


class ResizeTransform(Transform):
    """Resize from (h, w) to (new_h, new_w).

    Images: uint8 as Pillow does it (antialiased where it shrinks); floats by
    `torch.nn.functional.interpolate` without antialiasing; other dtypes only with ``NEAREST``.
    Label maps: nearest neighbour, any dtype.

    Args:
        h, w: size of the image before, pixels.
        new_h, new_w: size after.
        interp: a resampling mode of Pillow; None is bilinear.
    """

    def __init__(self, h: int, w: int, new_h: int, new_w: int, interp: int | None = None) -> None:
        super().__init__()
        self.h, self.w = h, w
        self.new_h, self.new_w = new_h, new_w
        self.interp = BILINEAR if interp is None else interp

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """[H, W] or [H, W, C] → the same with the new size and the same dtype.

        Raises:
            AssertionError: if the image isn't (h, w), or has an axis too many.
            NotImplementedError: for a mode that the dtype of the image doesn't have.
        """
        assert img.ndim in (2, 3), f"Expected [H, W] or [H, W, C], got an array {img.shape}"
        assert img.shape[:2] == (self.h, self.w), (
            f"Expected an image of size {(self.h, self.w)}, got an array {img.shape}"
        )
        mode = self.interp if interp is None else interp
        if (self.h, self.w) == (self.new_h, self.new_w):
            return img
        floating = np.issubdtype(img.dtype, np.floating)
        if mode == NEAREST and not floating:
            return self._nearest(img)
        if img.dtype == np.uint8 and mode not in (BILINEAR, BICUBIC):
            return pil_resize(img, (self.new_w, self.new_h), mode)
        if mode not in _TORCH_MODES or not (floating or img.dtype == np.uint8):
            raise NotImplementedError(f"Can't resize {img.dtype} images with mode {mode!r}")
        return self._interpolate(img, _TORCH_MODES[mode], antialias=not floating)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Points (x, y), [N, 2], scaled in place."""
        coords[:, 0] *= self.new_w / self.w
        coords[:, 1] *= self.new_h / self.h
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """A label map with the new size: no label that wasn't there before."""
        return self.apply_image(segmentation, interp=NEAREST)

    def inverse(self) -> Transform:
        """The resize from the new size back to the old one."""
        return ResizeTransform(self.new_h, self.new_w, self.h, self.w, self.interp)

    def _nearest(self, img: np.ndarray) -> np.ndarray:
        rows = nearest_indices(self.h, self.new_h)
        columns = nearest_indices(self.w, self.new_w)
        return img.take(rows, axis=0).take(columns, axis=1)

    def _interpolate(self, img: np.ndarray, mode: str, antialias: bool) -> np.ndarray:
        # Channels last in memory is what a [H, W, C] array is, and what the fast kernels want.
        # Torch takes no negative strides (flipped images) and warns of read-only memory.
        pixels = torch.from_numpy(np.require(img, requirements=["C", "W"]))
        resized = torch.nn.functional.interpolate(
            pixels.reshape(1, self.h, self.w, -1).permute(0, 3, 1, 2),
            size=(self.new_h, self.new_w),
            mode=mode,
            **({} if mode == "nearest" else {"align_corners": False, "antialias": antialias}),
        )
        new_shape = (self.new_h, self.new_w, *img.shape[2:])
        return resized[0].permute(1, 2, 0).numpy().reshape(new_shape)


class Resize(Augmentation):
    """Resize to a fixed size, whatever the aspect ratio. Draws nothing.

    Args:
        shape: (h, w), or one number for a square.
        interp: a resampling mode of Pillow.
    """

    def __init__(self, shape: int | Sequence[int], interp: int = BILINEAR) -> None:
        self.shape = (shape, shape) if isinstance(shape, int) else tuple(shape)
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> Transform:
        return ResizeTransform(*image.shape[:2], *self.shape, self.interp)


class ResizeShortestEdge(Augmentation):
    """Resize to a length of the shorter side, keeping the aspect ratio; draws one number.

    Args:
        short_edge_length: pixels; (lowest, highest) for "range", all choices for "choice"; one
            number is the only choice. If 0 is chosen, the image stays as it is.
        max_size: the longer side never exceeds it: the image becomes smaller instead.
        sample_style: "range" or "choice".
        interp: a resampling mode of Pillow.

    Raises:
        AssertionError: for another style, or a range that isn't two numbers.
    """

    def __init__(
        self,
        short_edge_length: int | Sequence[int],
        max_size: int = sys.maxsize,
        sample_style: str = "range",
        interp: int = BILINEAR,
    ) -> None:
        assert sample_style in ("range", "choice"), (
            f"sample_style must be 'range' or 'choice', got {sample_style!r}"
        )
        if isinstance(short_edge_length, int):
            short_edge_length = (short_edge_length, short_edge_length)
        self.short_edge_length = tuple(short_edge_length)
        assert sample_style == "choice" or len(self.short_edge_length) == 2, (
            f"A range needs two lengths, got {self.short_edge_length}"
        )
        self.max_size = max_size
        self.sample_style = sample_style
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        length = self._draw()
        if length == 0:
            return NoOpTransform()
        new_h, new_w = self.get_output_shape(height, width, length, self.max_size)
        return ResizeTransform(height, width, new_h, new_w, self.interp)

    def _draw(self) -> int:
        if self.sample_style == "choice":
            return int(np.random.choice(self.short_edge_length))
        low, high = self.short_edge_length
        return int(np.random.randint(low, high + 1))

    @staticmethod
    def get_output_shape(
        oldh: int, oldw: int, short_edge_length: int, max_size: int
    ) -> tuple[int, int]:
        """(height, width) after the resize, rounded half up.

        The shorter side becomes ``short_edge_length``; if the longer one then exceeds ``max_size``,
        both shrink until it doesn't.
        """
        ratio = short_edge_length / min(oldh, oldw)
        # Only the longer side is multiplied: the shorter one is met exactly, without rounding.
        size = [
            float(short_edge_length) if side == min(oldh, oldw) else ratio * side
            for side in (oldh, oldw)
        ]
        if (longest := max(size)) > max_size:
            size = [side * (max_size / longest) for side in size]
        height, width = (int(side + 0.5) for side in size)
        return height, width


class ResizeScale(Augmentation):
    """Fit the image into a randomly scaled target size, keeping the aspect ratio; draws one number.

    The large-scale jitter of Ghiasi et al., "Simple Copy-Paste", 2021, is this with a range like
    0.1 to 2.0, followed by `FixedSizeCrop` to the target size.

    Args:
        min_scale, max_scale: range of the scale of the target size.
        target_height, target_width: target size at scale 1, pixels.
        interp: a resampling mode of Pillow.
    """

    def __init__(
        self,
        min_scale: float,
        max_scale: float,
        target_height: int,
        target_width: int,
        interp: int = BILINEAR,
    ) -> None:
        self.min_scale, self.max_scale = min_scale, max_scale
        self.target_height, self.target_width = target_height, target_width
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> Transform:
        size = np.array(image.shape[:2])
        scale = np.random.uniform(self.min_scale, self.max_scale)
        target = scale * np.array([self.target_height, self.target_width])
        new_h, new_w = np.round(size * (target / size).min()).astype(int).tolist()
        return ResizeTransform(*size.tolist(), new_h, new_w, self.interp)
