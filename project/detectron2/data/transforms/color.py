"""Changes of colour, which leave coordinates and label maps alone.

Follows the API of the colour transforms and augmentations of ``detectron2.data.transforms``. Every
augmentation here becomes fvcore's ``BlendTransform``: ``src_weight · src + dst_weight · image``,
clipped to 0..255 and truncated for uint8 images.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from fvcore.transforms.transform import BlendTransform, NoOpTransform, Transform

from .augmentation import Augmentation

__all__ = [
    "ColorTransform",
    "PILColorTransform",
    "RandomBrightness",
    "RandomContrast",
    "RandomLighting",
    "RandomSaturation",
]

# Share of red, green and blue in the luminance of a pixel (ITU-R BT.601).
_LUMINANCE = np.array([0.299, 0.587, 0.114])
# Principal components of the colours of ImageNet (Krizhevsky et al., 2012): directions in the rows'
# space of the channels, and the size of each.
_COMPONENTS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
_COMPONENT_SIZES = np.array([0.2175, 0.0188, 0.0045])


class ColorTransform(Transform):
    """``op`` (array → array of the same size) applied to images.

    Raises:
        ValueError: if ``op`` can't be called.
    """

    def __init__(self, op: Callable) -> None:
        if not callable(op):
            raise ValueError(f"op must be a function of an image, got {op!r}")
        super().__init__()
        self.op = op

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """``op`` of the image."""
        return self.op(img)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """The points themselves."""
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """The label map itself."""
        return segmentation

    def inverse(self) -> Transform:
        """Nothing: no coordinate was changed."""
        return NoOpTransform()


class PILColorTransform(ColorTransform):
    """``op`` (Pillow image → Pillow image of the same size) applied to uint8 images."""

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """``op`` of the image."""
        from PIL import Image

        return np.asarray(self.op(Image.fromarray(np.ascontiguousarray(img))))


class _RandomBlend(Augmentation):
    """A weight w is drawn uniformly; the image becomes w · image + (1 - w) · `_source(image)`.

    w = 1 keeps the image, w = 0 leaves only the source, w > 1 moves away from it. Draws one number.

    Args:
        intensity_min, intensity_max: range of w.
    """

    def __init__(self, intensity_min: float, intensity_max: float) -> None:
        self.intensity_min = intensity_min
        self.intensity_max = intensity_max

    def get_transform(self, image: np.ndarray) -> Transform:
        weight = np.random.uniform(self.intensity_min, self.intensity_max)
        return BlendTransform(self._source(image), src_weight=1 - weight, dst_weight=weight)

    def _source(self, image: np.ndarray) -> float | np.ndarray:
        raise NotImplementedError


class RandomBrightness(_RandomBlend):
    """Blend with black: w < 1 darkens, w > 1 brightens."""

    def _source(self, image: np.ndarray) -> float:
        return 0


class RandomContrast(_RandomBlend):
    """Blend with the mean of the whole image: w < 1 flattens, w > 1 heightens the contrast."""

    def _source(self, image: np.ndarray) -> float:
        return image.mean()


class RandomSaturation(_RandomBlend):
    """Blend with the grey image: w < 1 fades, w > 1 strengthens the colours.

    Grey is 0.299, 0.587, 0.114 of the three channels in the order they come, BGR or RGB.

    Raises:
        AssertionError: (when used) if the image doesn't have three channels.
    """

    def _source(self, image: np.ndarray) -> np.ndarray:
        assert image.shape[2:] == (3,), (
            f"Saturation needs three channels, got an image {image.shape}"
        )
        return (image @ _LUMINANCE)[..., np.newaxis]


class RandomLighting(Augmentation):
    """Add a random colour along the principal components of the colours of ImageNet.

    Draws three normal numbers with the standard deviation ``scale``. Channels are taken as they
    come, BGR or RGB.

    Raises:
        AssertionError: (when used) if the image doesn't have three channels.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def get_transform(self, image: np.ndarray) -> Transform:
        assert image.shape[2:] == (3,), f"Lighting needs three channels, got an image {image.shape}"
        weights = np.random.normal(scale=self.scale, size=3)
        color = _COMPONENTS @ (weights * _COMPONENT_SIZES)
        return BlendTransform(color, src_weight=1.0, dst_weight=1.0)
