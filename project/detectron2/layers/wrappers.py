"""Thin layers over PyTorch's: a convolution with its norm and activation, and small helpers.

Follows the API of ``detectron2.layers.wrappers``. PyTorch's own layers take empty batches by now,
so what upstream wraps for that is PyTorch's own here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

BatchNorm2d = nn.BatchNorm2d
ConvTranspose2d = nn.ConvTranspose2d
Linear = nn.Linear
interpolate = F.interpolate


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d`, then a norm, then an activation, each only where given.

    Args:
        norm: a module; its state has the prefix ``norm.``.
        activation: a callable.
    """

    def __init__(
        self,
        *args,
        norm: nn.Module | None = None,
        activation: Callable[[torch.Tensor], torch.Tensor] | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.norm = norm
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        out = super().forward(x)
        for step in (self.norm, self.activation):
            if step is not None:
                out = step(out)
        return out


def cat(tensors: list[torch.Tensor], dim: int = 0) -> torch.Tensor:
    """The tensors of a list or tuple as one; a single one is returned itself, uncopied."""
    assert isinstance(tensors, (list, tuple)), f"want a list or tuple, got {type(tensors)}"
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim)


def nonzero_tuple(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """One index tensor a dimension of the places that aren't 0; a scalar counts as one place."""
    return torch.atleast_1d(x).nonzero(as_tuple=True)


def cross_entropy(
    input: torch.Tensor, target: torch.Tensor, *, reduction: str = "mean", **kwargs
) -> torch.Tensor:
    """`torch.nn.functional.cross_entropy`, but the mean over no targets is 0, not NaN.

    The zero keeps its graph, so that every parameter gets a gradient.
    """
    if reduction == "mean" and target.numel() == 0:
        return input.sum() * 0.0
    return F.cross_entropy(input, target, reduction=reduction, **kwargs)
