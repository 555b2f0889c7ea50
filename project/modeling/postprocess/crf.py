"""The fully connected CRF (Krähenbühl and Koltun 2011) by mean field, in PyTorch.

Labels of pixels with near places and near colours attract each other. With positions p, colours c
and the class probabilities of a model as unaries, the energy of two labels that differ (Potts) is

    k(i, j) =  w_1 exp(-|p_i - p_j|^2 / 2 s_1^2)
             + w_2 exp(-|p_i - p_j|^2 / 2 s_2^2 - |c_i - c_j|^2 / 2 s_3^2),    i != j

and a step of mean field is ``Q_i = softmax(log P_i + sum_j k(i, j) Q_j)`` (their algorithm 1 for
Potts: what is common to all labels cancels). The sum runs either over all pairs of pixels, exactly
and quadratically, for small images; or over a square window around each pixel, the truncation of
Teichmann and Cipolla (2018), as shifts of the whole image. Each pair's kernel is computed once and
serves all iterations and both of its pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from project.errors import UserError, unknown_name

import numpy as np
import torch

MAX_EXACT_PIXELS = 16_384  # their kernel is 1 GB
NORMALIZATIONS = ("none", "symmetric")
Messages = Callable[[torch.Tensor], torch.Tensor]  # of the distributions [C, H, W]: their sums


@dataclass(frozen=True)
class CrfSettings:
    """Weights and widths of the two kernels.

    Attributes:
        smooth_weight, smooth_sigma: w_1 and s_1 (pixels): removes specks.
        color_weight, color_sigma, color_range: w_2, s_2 (pixels) and s_3 (grey levels, 0-255):
            moves edges to where the colour changes.
        radius: pixels, of the window; None takes all pairs.
        iterations: of mean field; 0 gives the probabilities back.
        normalization: "symmetric" divides k(i, j) of each kernel by the root of both pixels' sums,
            so that a weight means the same in flat and in busy regions and for any window (the
            authors' implementation); "none" takes the formula above as it stands.
    """

    smooth_weight: float = 1.0
    smooth_sigma: float = 3.0
    color_weight: float = 3.0
    color_sigma: float = 5.0
    color_range: float = 13.0
    radius: int | None = 5
    iterations: int = 5
    normalization: str = "symmetric"

    def __post_init__(self) -> None:
        if self.normalization not in NORMALIZATIONS:
            raise UserError(unknown_name("normalization", self.normalization, NORMALIZATIONS))
        if min(self.smooth_sigma, self.color_sigma, self.color_range) <= 0:
            raise UserError(
                f"smooth_sigma {self.smooth_sigma}, color_sigma {self.color_sigma}, color_range "
                f"{self.color_range}: expected numbers above 0"
            )
        least = 1 if self.radius is None else self.radius
        if self.iterations < 0 or least < 1:
            raise UserError(
                f"{self.iterations} iterations, radius {self.radius}; expected at least 0, and at "
                f"least 1 or None"
            )


DEFAULTS = CrfSettings()


def dense_crf(
    probabilities: torch.Tensor, image: torch.Tensor, settings: CrfSettings = DEFAULTS
) -> torch.Tensor:
    """The label distribution of each pixel after mean field, ``[C, H, W]``, summing to 1 over C.

    Args:
        probabilities: ``[C, H, W]``, float, 0-1, of the C labels; on any device. Below 1e-6 they
            count as 1e-6: a model that is certain leaves nothing to infer.
        image: ``[3, H, W]``, of any type, 0-255, on the same device.

    Raises:
        UserError: if shapes don't fit, or all pairs of too many pixels are asked for.
    """
    if probabilities.ndim != 3 or image.shape != (3, *probabilities.shape[1:]):
        raise UserError(
            f"probabilities of shape {tuple(probabilities.shape)} and an image of shape "
            f"{tuple(image.shape)}; expected (labels, height, width) and (3, height, width)"
        )
    dtype = torch.float64 if probabilities.dtype == torch.float64 else torch.float32
    unary = probabilities.to(dtype).clamp(min=1e-6).log()
    q = unary.softmax(0)
    if not q.numel() or not settings.iterations:
        return q
    build = _all_pairs if settings.radius is None else _windows
    messages = build(image.to(dtype), settings)
    for _ in range(settings.iterations):
        q = (unary + messages(q)).softmax(0)
    return q


def crf_probability(
    image: np.ndarray,
    probability: np.ndarray,
    settings: CrfSettings = DEFAULTS,
    *,
    certainty: float = 0.9,
    device: str = "cpu",
) -> np.ndarray:
    """The probability of the object, float32 ``[H, W]``, after a CRF of object and background.

    Args:
        image: uint8 RGB ``[H, W, 3]``.
        probability: ``[H, W]``, 0-1, or a bool mask.
        certainty: 0.5-1: probabilities are taken for at most as certain. A hard mask says nothing
            about how wrong it may be; this does.
    """
    if not 0.5 < certainty <= 1:
        raise UserError(f"certainty is {certainty}; expected above 0.5, up to 1")
    p = np.clip(np.asarray(probability, np.float32), 1 - certainty, certainty)
    both = torch.from_numpy(np.stack([1 - p, p])).to(device)
    planes = torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0))).to(device)
    with torch.no_grad():
        return dense_crf(both, planes, settings)[1].cpu().numpy()


def _kernels(settings: CrfSettings) -> list[tuple[float, float, float]]:
    """(weight, width in pixels, width in grey levels) of the kernels that have a weight."""
    smooth = settings.smooth_weight, settings.smooth_sigma, math.inf
    color = settings.color_weight, settings.color_sigma, settings.color_range
    return [kernel for kernel in (smooth, color) if kernel[0]]


def _all_pairs(image: torch.Tensor, settings: CrfSettings) -> Messages:
    """Messages of every pixel to every other one: a product with the kernel's matrix [N, N]."""
    height, width = image.shape[1:]
    if height * width > MAX_EXACT_PIXELS:
        raise UserError(
            f"all pairs of {height} x {width} pixels don't fit into memory; give a radius, or an "
            f"image of up to {MAX_EXACT_PIXELS} pixels"
        )
    rows = torch.arange(height, device=image.device, dtype=image.dtype)
    columns = torch.arange(width, device=image.device, dtype=image.dtype)
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).flatten(1)
    far, different = _squares(places), _squares(image.flatten(1))
    total = torch.zeros_like(far)
    for weight, sigma, color_range in _kernels(settings):
        kernel = torch.exp(-far / (2 * sigma**2) - different / (2 * color_range**2))
        kernel.fill_diagonal_(0)  # no pixel tells itself anything
        if settings.normalization == "symmetric":
            scale = _inverse_root(kernel.sum(1))
            kernel *= scale[:, None] * scale
        total.add_(kernel, alpha=weight)

    def messages(q: torch.Tensor) -> torch.Tensor:
        return (q.flatten(1) @ total).view_as(q)

    return messages


def _squares(points: torch.Tensor) -> torch.Tensor:
    """Squared distances [N, N] of points [D, N]; as differences, since squares lose digits."""
    return sum((p[:, None] - p) ** 2 for p in points)


def _windows(image: torch.Tensor, settings: CrfSettings) -> Messages:
    """Messages between pixels at most ``radius`` rows and columns apart, one shift at a time."""
    height, width = image.shape[1:]
    down, aside = min(settings.radius, height - 1), min(settings.radius, width - 1)
    # One of each two opposite shifts: the kernel of a pair is that of both its pixels.
    shifts = [(y, x) for y in range(down + 1) for x in range(-aside, aside + 1) if (y, x) > (0, 0)]
    pairs = [(_part(y, x), _part(-y, -x)) for y, x in shifts]
    different = [((image[here] - image[there]) ** 2).sum(0) for here, there in pairs]
    totals = [torch.zeros_like(d) for d in different]
    for weight, sigma, color_range in _kernels(settings):
        kernels = [
            torch.exp(-(y * y + x * x) / (2 * sigma**2) - d / (2 * color_range**2))
            for (y, x), d in zip(shifts, different, strict=True)
        ]
        if settings.normalization == "symmetric":
            scale = _inverse_root(_sums(kernels, pairs, image[0]))
            for kernel, (here, there) in zip(kernels, pairs, strict=True):
                kernel *= scale[here] * scale[there]
        for total, kernel in zip(totals, kernels, strict=True):
            total.add_(kernel, alpha=weight)

    def messages(q: torch.Tensor) -> torch.Tensor:
        result = torch.zeros_like(q)
        for kernel, (here, there) in zip(totals, pairs, strict=True):
            result[here] += kernel * q[there]
            result[there] += kernel * q[here]
        return result

    return messages


def _part(down: int, right: int) -> tuple:
    """The part of maps [..., H, W] whose pixels have a neighbour so many rows and columns on."""
    return ..., *(slice(max(-d, 0), -d if d > 0 else None) for d in (down, right))


def _sums(kernels: list[torch.Tensor], pairs: list[tuple], like: torch.Tensor) -> torch.Tensor:
    """The sum of each pixel's kernel over its window, [H, W]."""
    sums = torch.zeros_like(like)
    for kernel, (here, there) in zip(kernels, pairs, strict=True):
        sums[here] += kernel
        sums[there] += kernel
    return sums


def _inverse_root(sums: torch.Tensor) -> torch.Tensor:
    """``1 / sqrt(sums)``; 0 for a pixel that nothing is like."""
    return torch.where(sums > 0, sums.clamp(min=torch.finfo(sums.dtype).tiny).rsqrt(), 0)
