"""The guided filter (He, Sun and Tang 2010): smooths a map, but keeps the edges of an image.

In each window of ``2 radius + 1`` pixels the map is taken for a linear function of the image,
``q = a . I + b``, the best one in least squares with ``epsilon`` against steep ones; a pixel gets
the mean over all windows that it lies in (equations 5, 6 and 8; 19 to 21 for colour). All sums are
box filters, so the time doesn't depend on the radius. Windows end at the image's edge.
"""

from __future__ import annotations

from project.errors import UserError

import numpy as np


def guided_filter(
    guide: np.ndarray,
    source: np.ndarray,
    radius: int,
    epsilon: float,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """The map ``source`` filtered along the edges of ``guide``, float32 ``[H, W]``.

    Args:
        guide: ``[H, W]`` (grey) or ``[H, W, 3]`` (colour); uint8 counts as 0-1, divided by 255.
        source: ``[H, W]``, usually 0-1; the result may go a little beyond its range.
        radius: pixels, at least 1.
        epsilon: above 0, in squared units of the guide (0-1): variations of the guide well below
            its root are smoothed away.
        weight: ``[H, W]``, 0 or more: how much a pixel counts in its windows' fits. None counts all
            the same. A window with less than a millionth of the largest weight says nothing; a
            pixel in such windows only gets 0.

    Raises:
        UserError: if shapes or numbers don't fit.
    """
    guide, source = _checked(guide, source, radius, epsilon)
    if not source.size:
        return source.copy()
    if weight is None:
        weight = np.ones_like(source)
    elif np.shape(weight) != source.shape:
        raise UserError(f"the weight has the shape {np.shape(weight)}; expected {source.shape}")
    weight = np.asarray(weight, np.float32)
    total = _box_sum(weight, radius)
    # Running sums leave rests of rounding where there is nothing.
    known = total > 1e-6 * weight.max()
    total[~known] = 1

    def mean(values: np.ndarray) -> np.ndarray:
        return np.where(known, _box_sum(values * weight, radius) / total, 0)

    fit = _fit_grey if guide.ndim == 2 else _fit_color
    slope, offset = fit(guide, source, mean, epsilon)
    # Windows without weight have slope and offset 0, and are left out of the mean.
    windows = np.maximum(_box_sum(known, radius).round(), 1)
    smooth = [_box_sum(s, radius) / windows for s in slope]
    result = _box_sum(np.where(known, offset, 0), radius) / windows
    channels = [guide] if guide.ndim == 2 else list(np.moveaxis(guide, 2, 0))
    for s, channel in zip(smooth, channels, strict=True):
        result += s * channel
    return result


def _fit_grey(guide, source, mean, epsilon):
    """Slopes (one, [H, W]) and offset [H, W] of each pixel's window."""
    mean_guide, mean_source = mean(guide), mean(source)
    variance = mean(guide * guide) - mean_guide**2
    covariance = mean(guide * source) - mean_guide * mean_source
    slope = covariance / (np.maximum(variance, 0) + epsilon)
    return [slope], mean_source - slope * mean_guide


def _fit_color(guide, source, mean, epsilon):
    """Slopes (three, [H, W] each) and offset [H, W] of each pixel's window."""
    # Colours around their overall mean lose fewer digits when squares are subtracted.
    center = guide.mean(axis=(0, 1))
    red, green, blue = np.moveaxis(guide - center, 2, 0)
    means = [mean(c) for c in (red, green, blue)]
    mean_source = mean(source)
    cov_source = [
        mean(c * source) - m * mean_source for c, m in zip((red, green, blue), means, strict=True)
    ]
    rr = mean(red * red) - means[0] ** 2 + epsilon
    gg = mean(green * green) - means[1] ** 2 + epsilon
    bb = mean(blue * blue) - means[2] ** 2 + epsilon
    rg = mean(red * green) - means[0] * means[1]
    rb = mean(red * blue) - means[0] * means[2]
    gb = mean(green * blue) - means[1] * means[2]
    slopes = _solve_symmetric((rr, rg, rb, gg, gb, bb), cov_source)
    offset = mean_source - sum(s * (m + c) for s, m, c in zip(slopes, means, center, strict=True))
    return slopes, offset


def _solve_symmetric(matrix, right):
    """``x`` of ``M x = right`` for symmetric 3 x 3 matrices, all as [H, W] planes, by Cramer."""
    rr, rg, rb, gg, gb, bb = (plane.astype(np.float64) for plane in matrix)
    # Cofactors; the adjugate of a symmetric matrix is symmetric.
    c_rr, c_rg, c_rb = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    c_gg, c_gb, c_bb = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    determinant = rr * c_rr + rg * c_rg + rb * c_rb
    r, g, b = right
    return [
        ((c_rr * r + c_rg * g + c_rb * b) / determinant).astype(np.float32),
        ((c_rg * r + c_gg * g + c_gb * b) / determinant).astype(np.float32),
        ((c_rb * r + c_gb * g + c_bb * b) / determinant).astype(np.float32),
    ]


def _box_sum(values: np.ndarray, radius: int) -> np.ndarray:
    """Sums over each pixel's window, float32 [H, W]; beyond the image there is nothing."""
    import cv2

    side = 2 * radius + 1
    return cv2.boxFilter(
        np.ascontiguousarray(values, np.float32),
        cv2.CV_32F,
        (side, side),
        normalize=False,
        borderType=cv2.BORDER_CONSTANT,
    )


def _checked(guide, source, radius, epsilon) -> tuple[np.ndarray, np.ndarray]:
    guide, source = np.asarray(guide), np.asarray(source, np.float32)
    if source.ndim != 2 or guide.shape[:2] != source.shape or guide.shape[2:] not in ((), (3,)):
        raise UserError(
            f"the guide has the shape {guide.shape} and the map {source.shape}; expected "
            f"(height, width) or (height, width, 3) and (height, width)"
        )
    if radius < 1 or int(radius) != radius or not epsilon > 0:
        raise UserError(
            f"radius {radius}, epsilon {epsilon}; expected whole pixels from 1 on, and above 0"
        )
    scale = 255 if guide.dtype == np.uint8 else 1
    return guide.astype(np.float32) / np.float32(scale), source
