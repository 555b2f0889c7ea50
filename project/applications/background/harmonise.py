"""Objects in the light of their new place: colours moved towards those of the backdrop."""

from __future__ import annotations

import numpy as np

_SPREADS = (0.5, 2.0)  # how much contrast may shrink or grow: beyond that it looks drawn


def harmonise(
    colors: np.ndarray, alpha: np.ndarray, backdrop: np.ndarray, strength: float
) -> np.ndarray:
    """``colors`` with the backdrop's mean and contrast, each channel of CIE Lab on its own.

    The transfer of Reinhard et al. 2001 ("Color transfer between images"), in Lab as OpenCV has it.

    Args:
        colors: float ``[H, W, 3]``, RGB 0-255.
        alpha: float ``[H, W]``, 0-1: how much each pixel counts.
        backdrop: ``[H, W, 3]``, RGB 0-255.
        strength: 0 leaves the colours as they are, 1 goes all the way.

    Returns:
        float32 ``[H, W, 3]``, 0-255.
    """
    weight = alpha.astype(np.float64)
    if strength == 0 or not weight.sum() > 0:
        return colors.astype(np.float32)
    lab, new = _to_lab(colors), _to_lab(backdrop)
    mean, spread = _moments(lab, weight)
    new_mean, new_spread = _moments(new, np.ones_like(weight))
    gain = np.clip(new_spread / np.maximum(spread, 1e-3), *_SPREADS)
    moved = (lab - mean) * gain + new_mean
    return _to_rgb((lab + strength * (moved - lab)).astype(np.float32))


def _moments(lab: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, ``[3]`` each."""
    share = weight / weight.sum()
    mean = np.einsum("hw,hwc->c", share, lab)
    variance = np.einsum("hw,hwc->c", share, lab.astype(np.float64) ** 2) - mean**2
    return mean, np.sqrt(np.maximum(variance, 0))


def _to_lab(colors: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.cvtColor(np.float32(colors) / np.float32(255), cv2.COLOR_RGB2LAB)


def _to_rgb(lab: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).clip(0, 1) * np.float32(255)
