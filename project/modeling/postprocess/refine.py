"""Masks made better, or so one hopes, under names: each takes an image and a soft or hard mask.

Nothing uses a refinement unless it is asked to: ``tools/benchmark.py refine`` shows what each does
to the masks of a model on given images, and most do nothing good there.
"""

from __future__ import annotations

from collections.abc import Callable

from project.errors import UserError, unknown_name
from project.modeling.postprocess.crf import crf_probability
from project.modeling.postprocess.matting import default_band, refine_alpha
from project.modeling.postprocess.morphology import (
    close_mask,
    fill_holes,
    open_mask,
    remove_small_parts,
)

import numpy as np

BAND = 0.04  # of the root of an object's area: how far from its edge a mask may be wrong
MAX_HOLE = 0.02  # of the object's area
MIN_PART = 0.05  # of the largest part's area


def refine_mask(image: np.ndarray, probability: np.ndarray, method: str) -> np.ndarray:
    """The mask of one object after a refinement, bool ``[H, W]``.

    The work is done in a window around the object. An empty mask stays empty.

    Args:
        image: uint8 RGB ``[H, W, 3]``.
        probability: ``[H, W]``: 0-1, object from 0.5 on; or a bool mask.
        method: one of `REFINEMENTS`.

    Raises:
        UserError: for an unknown method, or arrays that don't fit.
    """
    if method not in REFINEMENTS:
        raise UserError(unknown_name("refinement", method, REFINEMENTS))
    probability = np.asarray(probability, np.float32)
    if probability.ndim != 2 or image.shape != (*probability.shape, 3) or image.dtype != np.uint8:
        raise UserError(
            f"the image is {image.dtype} of shape {image.shape}, the mask of shape "
            f"{probability.shape}; expected uint8 (height, width, 3) and (height, width)"
        )
    mask = probability >= 0.5
    if not mask.any():
        return mask
    band = object_band(mask)
    window = tuple(
        slice(max(int(places[0]) - 6 * band, 0), int(places[-1]) + 1 + 6 * band)
        for places in (np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0)))
    )
    result = np.zeros_like(mask)
    result[window] = REFINEMENTS[method](image[window], probability[window], band)
    return result


def object_band(mask: np.ndarray) -> int:
    """How many pixels to each side of its edge an object's mask may be wrong, by its size."""
    wanted = round(BAND * float(np.sqrt(np.count_nonzero(mask))))
    return min(max(1, wanted), default_band(*mask.shape))


def _none(image, probability, band) -> np.ndarray:
    return probability >= 0.5


def _open(image, probability, band) -> np.ndarray:
    return open_mask(probability >= 0.5, max(1, band // 2))


def _close(image, probability, band) -> np.ndarray:
    return close_mask(probability >= 0.5, max(1, band // 2))


def _fill(image, probability, band) -> np.ndarray:
    mask = probability >= 0.5
    return fill_holes(mask, MAX_HOLE * np.count_nonzero(mask))


def _without_parts(image, probability, band) -> np.ndarray:
    return remove_small_parts(probability >= 0.5, min_share=MIN_PART)


def _crf(image, probability, band) -> np.ndarray:
    return crf_probability(image, probability) >= 0.5


def _alpha(method: str) -> Callable:
    def refined(image, probability, band) -> np.ndarray:
        return refine_alpha(image, probability, method, band=band) >= 0.5

    return refined


REFINEMENTS: dict[str, Callable] = {
    "none": _none,
    "opening": _open,
    "closing": _close,
    "holes": _fill,
    "parts": _without_parts,
    "guided": _alpha("guided"),
    "trimap": _alpha("trimap"),
    "crf": _crf,
    "pymatting": _alpha("pymatting"),
}
