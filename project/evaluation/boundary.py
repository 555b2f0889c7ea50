"""Boundary IoU: the overlap of two masks' outlines (Cheng et al., CVPR 2021).

The boundary of a mask is the part of it that lies within a distance of its contour, which is 2 % of
the image's diagonal, rounded, at least a pixel, counted in steps of the 8-neighbourhood. Beyond the
image there is background. Average precision takes the smaller one of mask IoU and boundary IoU, as
the authors' implementation does: alone, boundary IoU would forgive a hole in the middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from project.evaluation.rle import compress, crop_runs, decode_crop

import numpy as np

WIDTH = 0.02  # of the image's diagonal


def boundary_pixels(height: int, width: int) -> int:
    """The width of the boundary in an image of this size, in pixels."""
    return max(1, round(WIDTH * float(np.hypot(height, width))))


def mask_boundary(mask: np.ndarray, distance: int) -> np.ndarray:
    """The pixels of a mask (uint8 [H, W], zeros and ones) up to ``distance`` from background.

    What lies outside of the array is background.
    """
    import cv2

    if not mask.size:
        return mask
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    # Erosion by a square of 2 d + 1 pixels is that by 3 pixels d times. OpenCV takes pixels beyond
    # the array for ones: the added ring of zeros is what wears the mask off from outside.
    square = np.ones((2 * distance + 1, 2 * distance + 1), dtype=np.uint8)
    return mask - cv2.erode(padded, square)[1:-1, 1:-1]


def boundary_rles(rles: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The boundary of each mask, both as RLE; a mask without pixels has none."""
    boundaries = []
    for rle in rles:
        height, width = rle["size"]
        crop, left, top = decode_crop(rle)
        boundary = mask_boundary(crop, boundary_pixels(height, width))
        boundaries += compress([crop_runs(boundary, left, top, height, width)], height, width)
    return boundaries
