"""Soft edges: how much of each pixel is the object (alpha), and which colour the object has there.

An image is taken for ``I = alpha F + (1 - alpha) B``. A model's mask is hard or blurry; near its
edge, alpha is found anew from the image's colours.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from project.errors import UserError, unknown_name
from project.modeling.postprocess.guided_filter import guided_filter
from project.modeling.postprocess.morphology import as_mask

import numpy as np

logger = logging.getLogger(__name__)

UNKNOWN = 128  # in a trimap, between 0 (background) and 255 (object)
VARIES = 1.0  # how much a colour's variance counts against its distance to the other side's
BAND = 0.012  # of the image's diagonal: how far from its edge a mask may be wrong


def refine_alpha(
    image: np.ndarray,
    probability: np.ndarray,
    method: str = "trimap",
    *,
    band: int | None = None,
    epsilon: float = 1e-3,
) -> np.ndarray:
    """How much of each pixel is the object, float32 ``[H, W]``, 0-1.

    Args:
        image: uint8 RGB ``[H, W, 3]``.
        probability: ``[H, W]``: 0-1, or a bool mask.
        method: "none" (the probability as it is), "guided" (the probability through the guided
            filter), "trimap" (a band around the mask's edge is unknown and gets alpha from the mean
            colours nearby on both sides; the default: fast), "pymatting" (the same band by
            closed-form matting, Levin et al. 2008; some hundred times slower, needs PyMatting).
        band: how many pixels to each side of the mask's edge may be wrong; None takes 1.2 % of the
            image's diagonal, at least 2.
        epsilon: see `guided_filter`; "guided" and "trimap" use it.

    Raises:
        UserError: for an unknown method, arrays that don't fit, or PyMatting missing.
    """
    probability = _checked(image, probability)
    if method not in METHODS:
        raise UserError(unknown_name("alpha method", method, METHODS))
    band = default_band(*probability.shape) if band is None else band
    if band < 1:
        raise UserError(f"the band is {band}; expected at least 1 pixel")
    # Far from anything uncertain alpha is 0 or 1: the work is done in a window around the rest.
    window = _window(trimap(probability, band, band) == UNKNOWN, 3 * band)
    alpha = probability.copy()
    if window is not None:
        alpha[window] = METHODS[method](image[window], probability[window], band, epsilon)
    return alpha


def trimap(
    mask: np.ndarray, inner: int, outer: int, sure: tuple[float, float] = (0.1, 0.9)
) -> np.ndarray:
    """uint8 ``[H, W]``: 255 surely object, 0 surely background, 128 unknown.

    Args:
        mask: bool, or a probability 0-1, which is object from 0.5 on.
        inner: pixels of the mask closer than this to background, and
        outer: pixels of background closer than this to the mask are unknown; 0 for none. Distances
            are Euclidean, from a pixel's centre to the edge between pixels.
        sure: a probability strictly between the two is unknown wherever it lies.
    """
    import cv2

    mask = np.asarray(mask)
    inside = as_mask(mask if mask.dtype == bool else mask >= 0.5)
    result = np.where(inside, np.uint8(255), np.uint8(0))
    if not inside.size:
        return result
    for side, distance in ((inside, inner), (~inside, outer)):
        if distance > 0 and not side.all():
            away = cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            result[side & (away - 0.5 < distance)] = UNKNOWN
    if mask.dtype != bool:
        result[(mask > sure[0]) & (mask < sure[1])] = UNKNOWN
    return result


def default_band(height: int, width: int) -> int:
    """How many pixels to each side of a mask's edge may be wrong in an image of this size."""
    return max(2, round(BAND * float(np.hypot(height, width))))


def estimate_foreground(
    image: np.ndarray, alpha: np.ndarray, method: str = "blur", radii: tuple[int, ...] = (90, 6)
) -> np.ndarray:
    """The object's own colour in each pixel, float32 ``[H, W, 3]``, in the image's units.

    Where alpha is 1 that is the image; towards 0 it is the colour of the object nearby, freed of
    the background that shines through. Far from any object it means nothing.

    Args:
        image: ``[H, W, 3]``, uint8 (0-255; so is the result) or float.
        alpha: ``[H, W]``, 0-1.
        method: "blur": blur fusion (Forte 2021) with one pass for each of ``radii``, the paper's
            two by default; "ml": PyMatting's multi-level estimate (Germer et al. 2020).
        radii: pixels, of the passes.

    Raises:
        UserError: for an unknown method, arrays that don't fit, or PyMatting missing.
    """
    alpha = np.asarray(alpha, np.float32)
    if image.ndim != 3 or image.shape[2] != 3 or alpha.shape != image.shape[:2]:
        raise UserError(
            f"the image has the shape {image.shape} and alpha {alpha.shape}; expected "
            f"(height, width, 3) and (height, width)"
        )
    if method not in ("blur", "ml"):
        raise UserError(unknown_name("foreground method", method, ("blur", "ml")))
    top = np.float32(255 if image.dtype == np.uint8 else 1)
    colors = image.astype(np.float32) / top
    if not alpha.size:
        return colors
    found = _blur_fusion(colors, alpha, radii) if method == "blur" else _multi_level(colors, alpha)
    return np.clip(found, 0, 1) * top


def _none(image, probability, band, epsilon) -> np.ndarray:
    return probability


def _guided(image, probability, band, epsilon) -> np.ndarray:
    return np.clip(guided_filter(image, probability, band, epsilon), 0, 1)


def _nearby_colors(image, probability, band, epsilon) -> np.ndarray:
    """Alpha in the unknown band from where a colour lies between both sides' mean colours nearby.

    With the means F and B of sure pixels, that is ``(I - B).(F - B) / |F - B|^2``. It counts as far
    as the sides differ more than each varies; for the rest the model's word stands. A guided filter
    of two pixels then spreads what surer pixels say.
    """
    known = trimap(probability, band, band)
    sure, unseen = known != UNKNOWN, known == UNKNOWN
    colors = image.astype(np.float32) / 255
    alpha, weight = probability.copy(), np.full_like(probability, 1e-3)
    # From one side of the band over to the other; further where more is unknown.
    radius = 2 * band
    while unseen.any() and radius < 2 * max(unseen.shape):
        front, front_varies, has_front = _mean_color(colors, known == 255, radius)
        back, back_varies, has_back = _mean_color(colors, known == 0, radius)
        found = unseen & has_front & has_back
        step, color = (front - back)[found], (colors - back)[found]
        length = (step**2).sum(1)
        share = np.clip((color * step).sum(1) / (length + 1e-4), 0, 1)
        trust = length / (length + VARIES * (front_varies + back_varies)[found] + 1e-3)
        alpha[found] += trust * (share - alpha[found])
        unexplained = ((color - share[:, None] * step) ** 2).sum(1)
        weight[found] = np.maximum(length / (length + unexplained + 1e-3), 1e-3)
        unseen &= ~found
        radius *= 2
    alpha[sure], weight[sure] = known[sure] == 255, 1
    smooth = guided_filter(image, alpha, 2, epsilon, weight)
    return np.where(sure | unseen, alpha, np.clip(smooth, 0, 1))


def _mean_color(colors, chosen, radius) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the chosen pixels in each window: mean [H, W, 3], variance [H, W], whether there are any.

    The variance is that of the three channels together.
    """
    import cv2

    side, chosen = (2 * radius + 1, 2 * radius + 1), chosen.astype(np.float32)
    # Sums, so that "any" is exact; nothing lies beyond the image.
    how = {"normalize": False, "borderType": cv2.BORDER_CONSTANT}
    number = cv2.boxFilter(chosen, -1, side, **how)
    least = np.maximum(number, 1)
    mean = cv2.boxFilter(colors * chosen[..., None], -1, side, **how) / least[..., None]
    squares = cv2.boxFilter((colors**2).sum(2) * chosen, -1, side, **how) / least
    return mean, np.maximum(squares - (mean**2).sum(2), 0), number > 0.5


def _closed_form(image, probability, band, epsilon) -> np.ndarray:
    pymatting = _pymatting()
    known = trimap(probability, band, band).astype(np.float64)
    known[known == UNKNOWN] = 127.5
    if not ((known == 0).any() and (known == 255).any()):
        return probability  # nothing to tell one from the other by
    return np.clip(pymatting.estimate_alpha_cf(image / 255.0, known / 255), 0, 1)


METHODS: dict[str, Callable] = {
    "none": _none,
    "guided": _guided,
    "trimap": _nearby_colors,
    "pymatting": _closed_form,
}


def _blur_fusion(image: np.ndarray, alpha: np.ndarray, radii: tuple[int, ...]) -> np.ndarray:
    """Means of both colours around each pixel, and what is missing to the image (equations 4-7).

    Each further pass starts from the colours of the one before, in a smaller window.
    """
    import cv2

    alpha = alpha[..., None]
    foreground = background = image
    for radius in radii:
        side = (2 * radius + 1, 2 * radius + 1)

        def mean(colors: np.ndarray, share: np.ndarray, side=side) -> np.ndarray:
            blurred = cv2.blur(share, side)[..., None]
            return cv2.blur(colors * share, side) / (blurred + np.float32(1e-5))

        near, behind = mean(foreground, alpha), mean(background, 1 - alpha)
        missing = image - alpha * near - (1 - alpha) * behind
        foreground, background = np.clip(near + alpha * missing, 0, 1), behind
    return foreground


def _multi_level(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    pymatting = _pymatting()
    found = pymatting.estimate_foreground_ml(image.astype(np.float64), alpha.astype(np.float64))
    return found.astype(np.float32)


def _pymatting():
    """PyMatting, imported when first needed."""
    import sys

    if "pymatting" not in sys.modules:
        logger.info("importing PyMatting, which compiles for about a minute the first time")
    try:
        import pymatting
    except ImportError:
        raise UserError("PyMatting is not installed; run: pip install -e '.[matting]'") from None
    return pymatting


def _checked(image: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """The probability as float32, 0-1."""
    probability = np.asarray(probability, np.float32)
    fits = probability.ndim == 2 and image.shape == (*probability.shape, 3)
    if not fits or image.dtype != np.uint8:
        raise UserError(
            f"the image is {image.dtype} of shape {image.shape}, the probability of shape "
            f"{probability.shape}; expected uint8 (height, width, 3) and (height, width)"
        )
    return np.clip(probability, 0, 1)


def _window(chosen: np.ndarray, margin: int) -> tuple[slice, slice] | None:
    """Rows and columns around the chosen pixels and a margin; None without any."""
    rows, columns = np.flatnonzero(chosen.any(1)), np.flatnonzero(chosen.any(0))
    if not len(rows):
        return None
    return tuple(slice(max(i[0] - margin, 0), i[-1] + 1 + margin) for i in (rows, columns))
