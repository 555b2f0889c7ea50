"""Objects taken out of one picture and put before another: ``alpha F + (1 - alpha) B``."""

from __future__ import annotations

from project.errors import UserError, unknown_name
from project.modeling.postprocess.matting import estimate_foreground

import numpy as np

DECONTAMINATIONS = ("none", "blur", "ml")


def decide_away_from_edges(probability: np.ndarray, reach: float) -> np.ndarray:
    """``probability`` where the edge at 0.5 is within ``reach`` pixels, else 0 or 1, float32.

    Args:
        probability: float32 ``[H, W]``, 0-1.
    """
    import cv2

    inside = probability >= 0.5
    decided = probability.astype(np.float32)
    for side in (inside, ~inside):
        if side.all():  # there is no edge
            return inside.astype(np.float32)
        away = cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, 5)
        decided[away > reach] = inside[away > reach]
    return decided


def object_colors(image: np.ndarray, alpha: np.ndarray, method: str = "blur") -> np.ndarray:
    """The objects' own colours, without the old background that shines through their edges.

    Where alpha is 1 that is the image exactly; where it is 0 they mean nothing.

    Args:
        image: uint8 RGB ``[H, W, 3]``.
        alpha: float ``[H, W]``, 0-1.
        method: "none" (the image, which leaves halos), or one of
            `project.modeling.postprocess.matting.estimate_foreground`.

    Returns:
        float32 ``[H, W, 3]``, 0-255.

    Raises:
        UserError: for an unknown method.
    """
    if method not in DECONTAMINATIONS:
        raise UserError(unknown_name("decontamination", method, DECONTAMINATIONS))
    colors = image.astype(np.float32)
    rows, columns = _extent((alpha > 0) & (alpha < 1))
    if method == "none" or not alpha[rows, columns].size:
        return colors
    window = rows, columns
    found = estimate_foreground(image[window], alpha[window], method)
    colors[window] = np.where(alpha[window][..., None] < 1, found, colors[window])
    return colors


def _extent(mask: np.ndarray, margin: int = 100) -> tuple[slice, slice]:
    """Rows and columns of the mask and of what may tell its colours; none of an empty one."""
    sides = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return tuple(
        slice(max(s[0] - margin, 0), s[-1] + margin + 1) if len(s) else slice(0, 0) for s in sides
    )


def composite(colors: np.ndarray, alpha: np.ndarray, backdrop: np.ndarray) -> np.ndarray:
    """``colors`` over ``backdrop``, uint8 RGB ``[H, W, 3]``.

    Where alpha is 0 that is the backdrop, and where it is 1 the colours, to the bit.

    Args:
        colors: float ``[H, W, 3]``, 0-255.
        alpha: float ``[H, W]``, 0-1.
        backdrop: ``[H, W, 3]``, 0-255.
    """
    alpha = alpha.astype(np.float32)[..., None]
    mixed = colors * alpha + backdrop * (1 - alpha)
    return np.rint(mixed).clip(0, 255).astype(np.uint8)


def cut_out(colors: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """uint8 RGBA ``[H, W, 4]`` with straight colours: not multiplied with alpha.

    What can't be seen at all is black: programs show it, and it would take most of a file.

    Args:
        colors: float ``[H, W, 3]``, 0-255.
        alpha: float ``[H, W]``, 0-1.
    """
    opacity = np.rint(alpha * 255).clip(0, 255).astype(np.uint8)[..., None]
    colors = np.rint(colors).clip(0, 255).astype(np.uint8)
    return np.concatenate([np.where(opacity > 0, colors, 0).astype(np.uint8), opacity], axis=2)
