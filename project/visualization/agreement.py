"""Truth and prediction pixel by pixel: what is true, false, missed, or of the wrong class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from project.visualization.overlay import OverlayStyle, draw_overlay, fit_for_drawing
from project.visualization.palette import class_color
from project.visualization.records import DrawnObject

import numpy as np

# Colour of the palette and name; the numbers in `PixelAgreement.kinds` are places in this list.
KINDS = ((6, "true"), (0, "false"), (1, "missed"), (3, "wrong class"))
TRUE, FALSE, MISSED, WRONG_CLASS = range(1, 5)
CROWD_COLOR = (48, 48, 48)


@dataclass(frozen=True, eq=False)
class PixelAgreement:
    """Objects of an image, truth and prediction, flattened to pixels.

    Attributes:
        kinds: uint8 ``[H, W]``: 0 for a pixel of no object (and for what is predicted in a crowd
            region of its class: COCO counts it neither way), else `TRUE`, `FALSE`, `MISSED` or
            `WRONG_CLASS`.
    """

    kinds: np.ndarray

    @property
    def iou(self) -> float | None:
        """Share of the pixels of truth or prediction that is true, 0..1; None if there are none."""
        counts = np.bincount(self.kinds.reshape(-1), minlength=WRONG_CLASS + 1)
        return float(counts[TRUE] / counts[1:].sum()) if counts[1:].any() else None


def pixel_agreement(
    truth: Sequence[DrawnObject], predicted: Sequence[DrawnObject], size: tuple[int, int]
) -> PixelAgreement:
    """Compare masks class by class in an image of ``size`` (height, width).

    A pixel is a class's where any of its objects has it. It is true where truth and prediction have
    the same classes; false where only the prediction has one more, missed where only the truth has,
    of the wrong class where both have one that the other lacks. Objects without a mask don't count.
    """
    common, extra, lacking = (np.zeros(size, bool) for _ in range(3))
    for index in {obj.class_index for obj in (*truth, *predicted)}:
        real = _union([o for o in truth if not o.iscrowd], index, size)
        crowd = _union([o for o in truth if o.iscrowd], index, size)
        found = _union(predicted, index, size)
        common |= real & found
        extra |= found & ~real & ~crowd
        lacking |= real & ~found
    kinds = np.zeros(size, np.uint8)
    kinds[common] = TRUE
    kinds[extra] = FALSE
    kinds[lacking] = MISSED
    kinds[extra & lacking] = WRONG_CLASS
    return PixelAgreement(kinds)


def _union(objects: Sequence[DrawnObject], class_index: int, size: tuple[int, int]) -> np.ndarray:
    pixels = np.zeros(size, bool)
    for obj in objects:
        if obj.class_index == class_index and obj.mask is not None:
            mask = obj.mask
            height, width = mask.pixels.shape
            pixels[mask.y : mask.y + height, mask.x : mask.x + width] |= mask.pixels
    return pixels


def draw_agreement(
    image: np.ndarray, truth: Sequence[DrawnObject], agreement: PixelAgreement, alpha: float = 0.6
) -> np.ndarray:
    """The image in light grey at a readable size, its pixels coloured by kind, crowds hatched.

    Args:
        image: uint8 RGB ``[H, W, 3]``.
        truth: where the crowd regions are.
        alpha: opacity of the colours, 0..1.
    """
    import cv2

    crowds = [obj for obj in truth if obj.iscrowd]
    picture, crowds = fit_for_drawing(image, crowds)
    size = picture.shape[1::-1]
    grey = 64 + cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) // 4 * 3  # colours need light
    picture = np.repeat(grey[..., None], 3, axis=2)
    # Nearest: a pixel is of one kind.
    kinds = cv2.resize(agreement.kinds, size, interpolation=cv2.INTER_NEAREST)
    for kind, (color, _) in enumerate(KINDS, 1):
        levels = np.arange(256)[:, None] * (1 - alpha) + np.array(class_color(color)) * alpha
        blended = np.rint(levels).astype(np.uint8)
        here = kinds == kind
        picture[here] = blended[grey[here]]
    style = OverlayStyle(boxes=False, labels=False)
    return draw_overlay(picture, crowds, style, [CROWD_COLOR] * len(crowds))
