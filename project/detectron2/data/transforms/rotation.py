"""Rotation by any angle: the transform, and the augmentation that chooses one.

Follows the API of ``detectron2.data.transforms.RotationTransform`` and ``.RandomRotation``. What is
better here: a choice between several centres works, and label maps of every dtype can be rotated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from fvcore.transforms.transform import NoOpTransform, Transform, TransformList

from .augmentation import Augmentation
from .crop import CropTransform

__all__ = ["RandomRotation", "RotationTransform"]


class RotationTransform(Transform):
    """Rotate counter-clockwise (as seen on the screen, where y points down) around a point.

    Args:
        h, w: size of the image, pixels.
        angle: degrees.
        expand: enlarge the canvas to (bound_h, bound_w) so that the whole image fits, and move the
            centre of the image to its centre; else the canvas keeps its size.
        center: (x, y) in pixels; None is the centre of the image.
        interp: an interpolation flag of OpenCV for images; None is linear.
    """

    def __init__(
        self,
        h: int,
        w: int,
        angle: float,
        expand: bool = True,
        center: Sequence[float] | None = None,
        interp: int | None = None,
    ) -> None:
        super().__init__()
        self.h, self.w = h, w
        self.angle = angle
        self.expand = expand
        self.center = np.array((w / 2, h / 2) if center is None else tuple(center), dtype=float)
        self.interp = interp
        radians = np.deg2rad(angle)
        cos, sin = np.cos(radians), np.sin(radians)
        self.bound_h, self.bound_w = h, w
        if expand:
            self.bound_w = int(np.rint(h * abs(sin) + w * abs(cos)))
            self.bound_h = int(np.rint(h * abs(cos) + w * abs(sin)))
        # p → matrix @ p + offset, in continuous coordinates; y points down, hence the signs.
        self._matrix = np.array([[cos, sin], [-sin, cos]])
        self._offset = self.center - self._matrix @ self.center
        if expand:
            middle = self._matrix @ [w / 2, h / 2] + self._offset
            self._offset += np.array([self.bound_w / 2, self.bound_h / 2]) - middle

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """[H, W] or [H, W, C], uint8, 16-bit or float → the canvas; black where nothing was.

        Raises:
            AssertionError: if the image isn't (h, w).
        """
        if len(img) == 0 or self._is_identity():
            return img
        assert img.shape[:2] == (self.h, self.w), (
            f"Expected an image of size {(self.h, self.w)}, got an array {img.shape}"
        )
        import cv2

        # OpenCV counts from the centre of the first pixel: both ends move by half a pixel.
        half = np.full(2, 0.5)
        offset = self._matrix @ half + self._offset - half
        flags = self.interp if interp is None else interp
        rotated = cv2.warpAffine(
            img,
            np.column_stack([self._matrix, offset]),
            (self.bound_w, self.bound_h),
            flags=cv2.INTER_LINEAR if flags is None else flags,
        )
        return rotated.reshape(self.bound_h, self.bound_w, *img.shape[2:])

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Points (x, y), [N, 2], rotated; float64."""
        coords = np.asarray(coords, dtype=float)
        if len(coords) == 0 or self._is_identity():
            return coords
        return coords @ self._matrix.T + self._offset

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """A label map, nearest neighbour, label 0 where nothing was."""
        import cv2

        # OpenCV warps neither bool nor 32- and 64-bit integers; doubles hold them.
        plain = segmentation
        if segmentation.dtype.kind not in "uf" or segmentation.dtype.itemsize > 2:
            plain = segmentation.astype(np.float64)
        return self.apply_image(plain, interp=cv2.INTER_NEAREST).astype(segmentation.dtype)

    def inverse(self) -> Transform:
        """The rotation back, and the crop to the old size.

        Raises:
            NotImplementedError: without ``expand``, as corners of the image are lost.
        """
        if not self.expand:
            raise NotImplementedError("A rotation with expand=False loses the corners of the image")
        back = RotationTransform(self.bound_h, self.bound_w, -self.angle, True, None, self.interp)
        left, top = (back.bound_w - self.w) // 2, (back.bound_h - self.h) // 2
        crop = CropTransform(left, top, self.w, self.h, back.bound_w, back.bound_h)
        return TransformList([back, crop])

    def _is_identity(self) -> bool:
        return self.angle % 360 == 0


class RandomRotation(Augmentation):
    """Rotate by a random angle around a random centre.

    Args:
        angle: degrees, counter-clockwise: (lowest, highest) for "range", all choices for "choice";
            one number is the only choice.
        expand: enlarge the canvas so that the whole image fits.
        center: relative (x, y), each 0..1: the two opposite corners of the area it is drawn from
            for "range", all choices for "choice"; one pair is the only choice; None is the centre
            of the image. Without effect if ``expand``.
        sample_style: "range" draws uniformly, one number for the angle and two for the centre (x,
            then y); "choice" draws one for each of them.
        interp: an interpolation flag of OpenCV; None is linear.

    Raises:
        AssertionError: for another style, or a range that isn't two values.
    """

    def __init__(
        self,
        angle: float | Sequence[float],
        expand: bool = True,
        center: Sequence | None = None,
        sample_style: str = "range",
        interp: int | None = None,
    ) -> None:
        assert sample_style in ("range", "choice"), (
            f"sample_style must be 'range' or 'choice', got {sample_style!r}"
        )
        self.angle = (angle, angle) if isinstance(angle, (int, float)) else tuple(angle)
        self.expand = expand
        self.center = None if center is None else _pairs(center)
        self.sample_style = sample_style
        self.interp = interp
        if sample_style == "range":
            assert len(self.angle) == 2, f"A range needs two angles, got {self.angle}"
            assert self.center is None or len(self.center) == 2, (
                f"A range needs two centres, got {self.center}"
            )

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        angle, center = self._draw_angle(), self._draw_center()
        if angle % 360 == 0:
            return NoOpTransform()
        if center is not None:
            center = (center[0] * width, center[1] * height)
        return RotationTransform(height, width, angle, self.expand, center, self.interp)

    def _draw_angle(self) -> float:
        if self.sample_style == "choice":
            return np.random.choice(self.angle).item()
        return np.random.uniform(*self.angle)

    def _draw_center(self) -> tuple[float, float] | None:
        if self.center is None:
            return None
        if self.sample_style == "choice":
            return self.center[np.random.choice(len(self.center))]
        (x0, y0), (x1, y1) = self.center
        return np.random.uniform(x0, x1), np.random.uniform(y0, y1)


def _pairs(center: Sequence) -> tuple[tuple[float, float], ...]:
    """One pair (twice, as the ends of a range) or several, as plain tuples."""
    if isinstance(center[0], (int, float)):
        center = (center, center)
    return tuple((float(x), float(y)) for x, y in center)
