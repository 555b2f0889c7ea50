"""What stands in front: hidden pixels, followed through the transforms that come after."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from detectron2.data import transforms as T


class Occlusion(T.Transform):
    """A patch painted over the picture; masks lose what it hides.

    A polygon can't lose a part and stay what it was, so polygons come out as they are:
    `hidden_pixels` tells what to take from their bit masks.

    Args:
        pixels: [h, w, C] of the picture's dtype.
        shape: bool [h, w], which of them are painted.
        top, left: the picture's pixel under the first of them; all lie in the picture.
        size: height and width of the picture.
        min_visible: share of an object, 0-1, that must stay visible for it to be kept.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        shape: np.ndarray,
        top: int,
        left: int,
        size: tuple[int, int],
        min_visible: float = 0.0,
    ) -> None:
        super().__init__()
        self.pixels, self.shape, self.size = pixels, shape, size
        self.top, self.left = top, left
        self.min_visible = min_visible

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """A copy of the picture with the patch on it."""
        img = np.array(img)
        self._window(img)[self.shape] = self.pixels[self.shape]
        return img

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """The points themselves."""
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """A copy of the mask, or map of labels, with zeros where it is hidden."""
        segmentation = np.array(segmentation)
        self._window(segmentation)[self.shape] = 0
        return segmentation

    def inverse(self) -> T.Transform:
        """Nothing: no coordinate was changed."""
        return T.NoOpTransform()

    def mark(self, hidden: np.ndarray) -> None:
        """Write ones into ``hidden`` [H, W] where the patch is."""
        self._window(hidden)[self.shape] = 1

    def _window(self, array: np.ndarray) -> np.ndarray:
        height, width = self.shape.shape
        return array[self.top : self.top + height, self.left : self.left + width]


def hidden_pixels(transforms: Iterable[T.Transform]) -> tuple[np.ndarray, float] | None:
    """What all occlusions among ``transforms`` hide in the picture that comes out of them.

    Returns:
        bool [H, W] and the largest of their ``min_visible``; None if there are none.
    """
    hidden, least = None, 0.0
    for step in transforms:
        if isinstance(step, Occlusion):
            if hidden is None:
                hidden = np.zeros(step.size, np.uint8)
            step.mark(hidden)
            least = max(least, step.min_visible)
        elif hidden is not None:
            hidden = step.apply_segmentation(hidden)
    # A padding may be marked with another number than 0.
    return None if hidden is None else (hidden == 1, least)
