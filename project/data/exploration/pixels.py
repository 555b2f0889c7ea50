"""What the pixels of an image are like: colour, brightness, sharpness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HISTOGRAM_BINS = 64
SHARPNESS_SIDE = 512  # pixels: sharpness depends on scale, so larger images are shrunk to it
LUMA = (0.299, 0.587, 0.114)  # of R, G, B: ITU-R BT.601, as JPEG has it


@dataclass(frozen=True, eq=False)
class PixelMeasures:
    """One image's pixels.

    Attributes:
        histogram: int64 [3, 64], pixels of red, green, blue in 64 equal bins of 0-255.
        mean: float64 [3] of R, G, B, 0-255.
        square: float64 [3], mean of the squared values.
        brightness: mean luma, 0-255.
        sharpness: variance of the Laplacian of the luma; low for blurred images.
    """

    histogram: np.ndarray
    mean: np.ndarray
    square: np.ndarray
    brightness: float
    sharpness: float


def pixel_measures(rgb: np.ndarray) -> PixelMeasures:
    """Measures of a uint8 RGB image [H, W, 3] with at least one pixel."""
    import cv2

    counts = np.stack([np.bincount(rgb[..., c].ravel(), minlength=256) for c in range(3)])
    values = np.arange(256)
    total = rgb.shape[0] * rgb.shape[1]
    mean = counts @ values / total
    gray = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    factor = SHARPNESS_SIDE / max(gray.shape)
    if factor < 1:
        size = max(round(gray.shape[1] * factor), 1), max(round(gray.shape[0] * factor), 1)
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    return PixelMeasures(
        histogram=counts.reshape(3, HISTOGRAM_BINS, -1).sum(2),
        mean=mean,
        square=counts @ values**2 / total,
        brightness=float(mean @ LUMA),
        sharpness=float(cv2.Laplacian(gray, cv2.CV_64F).var()),
    )


@dataclass(frozen=True, eq=False)
class PixelSummary:
    """All images' pixels together, every pixel weighing the same.

    ``mean`` and ``std`` are float64 [3] of R, G, B, 0-255 (NaN without an image); ``histogram``
    float64 [3, 64] is percent of the pixels.
    """

    mean: np.ndarray
    std: np.ndarray
    histogram: np.ndarray


def summarise_pixels(
    histograms: np.ndarray, means: np.ndarray, squares: np.ndarray
) -> PixelSummary:
    """Mean, deviation and histogram from those of N images: [N, 3, 64], [N, 3] and [N, 3]."""
    pixels = histograms.sum(2)[:, :1].astype(float)  # [N, 1]
    total = pixels.sum()
    if not total:
        return PixelSummary(np.full(3, np.nan), np.full(3, np.nan), np.zeros((3, HISTOGRAM_BINS)))
    mean = (means * pixels).sum(0) / total
    variance = (squares * pixels).sum(0) / total - mean**2
    std = np.sqrt(np.maximum(variance, 0))
    return PixelSummary(mean, std, 100 * histograms.sum(0) / total)


def outliers(values: np.ndarray, limit: float = 3.5) -> np.ndarray:
    """int64 [N]: -1 for unusually low values, 1 for unusually high ones, else 0.

    A value is unusual where 0.6745 · |value - median| / MAD exceeds ``limit``, MAD being the median
    distance to the median (Iglewicz and Hoaglin, 1993). Values that aren't numbers are never
    unusual; where most are equal (MAD 0), none is.
    """
    values = np.asarray(values, float)
    known = values[np.isfinite(values)]
    if not len(known):
        return np.zeros(len(values), np.int64)
    distance = values - np.median(known)
    spread = np.median(np.abs(known - np.median(known)))
    unusual = np.isfinite(distance) & (0.6745 * np.abs(distance) > limit * spread) & (spread > 0)
    return np.where(unusual, np.sign(np.nan_to_num(distance)), 0).astype(np.int64)
