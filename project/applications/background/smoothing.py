"""Edges of a video that don't flicker: alpha averaged over time where nothing moves."""

from __future__ import annotations

from project.errors import UserError

import numpy as np

_MOTION = 6.0  # grey levels: a change of the picture at which most of the past is forgotten


class AlphaSmoother:
    """Alpha of one frame after another: an exponential mean over time, with a gate for motion.

    ``a(t) = alpha(t) + w (a(t - 1) - alpha(t))``, and in each pixel
    ``w = strength exp(-(d / 6)^2)``, where d is how far the picture around it differs from the
    frame before, in grey levels. Where it stands still, errors of single frames are averaged: the
    variance of independent ones falls to ``(1 - strength) / (1 + strength)``. Where something
    moves, or the scene changes, the past counts for nothing, and nothing drags behind.

    Args:
        strength: 0 (nothing is smoothed) to below 1.

    Raises:
        UserError: if it is out of range.
    """

    def __init__(self, strength: float = 0.6) -> None:
        if not 0 <= strength < 1:
            raise UserError(f"the smoothing is {strength:g}; expected 0 or more, and below 1")
        self._strength = strength
        self._picture: np.ndarray | None = None
        self._alpha: np.ndarray | None = None

    def reset(self) -> None:
        """Forget the past: another video begins."""
        self._picture = self._alpha = None

    def __call__(self, image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """The smoothed alpha of the next frame, float32 ``[H, W]``; image: uint8 ``[H, W, 3]``."""
        import cv2

        if self._strength == 0:
            return alpha
        picture = cv2.blur(image, (3, 3)).astype(np.float32)
        if self._picture is not None and self._picture.shape == picture.shape:
            change = cv2.blur(np.abs(picture - self._picture).max(axis=2), (5, 5))
            weight = self._strength * np.exp(-((change / _MOTION) ** 2))
            alpha = (alpha + weight * (self._alpha - alpha)).astype(np.float32)
        self._picture, self._alpha = picture, alpha
        return alpha
