"""Feature pyramid network (Lin et al. 2016); API of ``detectron2.modeling.backbone.fpn``.

Takes inputs of any size: levels are brought to their neighbour's size, not only doubled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ...layers import Conv2d, ShapeSpec, get_norm
from ..weight_init import fill_xavier
from .backbone import Backbone


class FPN(Backbone):
    """Maps ``p2``, ``p3``, ... of equal channels, from the maps of a bottom-up backbone.

    Each is a 1x1 convolution of the map of the same stride, plus the upsampled level above, and a
    3x3 convolution of that. A top block adds coarser levels.
    """

    def __init__(
        self,
        bottom_up: Backbone,
        in_features: Sequence[str],
        out_channels: int,
        norm="",
        top_block: nn.Module | None = None,
        fuse_type: str = "sum",
        square_pad: int = 0,
    ):
        """
        Args:
            in_features: names of ``bottom_up``'s maps, fine to coarse, strides doubling.
            norm: a name or callable for `get_norm`; convolutions have a bias only without one.
            top_block: takes the map called ``top_block.in_feature`` (of either pyramid) and
                gives a list of ``top_block.num_levels`` coarser ones.
            fuse_type: "sum", or "avg" for half of it.
            square_pad: > 0 asks for square inputs of this side.

        Raises:
            AssertionError: if strides don't double, or ``fuse_type`` is another.
        """
        super().__init__()
        self.in_features = list(in_features)
        shapes = bottom_up.output_shape()
        strides = [shapes[name].stride for name in self.in_features]
        assert all(b == 2 * a for a, b in zip(strides, strides[1:], strict=False)), (
            f"strides of {self.in_features} must double, got {strides}"
        )
        assert fuse_type in ("sum", "avg"), f"fuse_type is 'sum' or 'avg', got {fuse_type!r}"
        self._levels = [int(math.log2(stride)) for stride in strides]
        for level, name in zip(self._levels, self.in_features, strict=True):
            lateral = self._conv(shapes[name].channels, out_channels, 1, norm)
            self.add_module(f"fpn_lateral{level}", lateral)
            self.add_module(f"fpn_output{level}", self._conv(out_channels, out_channels, 3, norm))
        self.top_block = top_block
        self.bottom_up = bottom_up  # after the convolutions: the order of the state's keys
        self.fuse_type, self.square_pad = fuse_type, square_pad
        last = self._levels[-1] + (top_block.num_levels if top_block is not None else 0)
        self._shapes = {
            f"p{level}": ShapeSpec(channels=out_channels, stride=2**level)
            for level in range(self._levels[0], last + 1)
        }

    @staticmethod
    def _conv(in_channels: int, out_channels: int, kernel: int, norm) -> Conv2d:
        conv = Conv2d(
            in_channels,
            out_channels,
            kernel_size=kernel,
            padding=kernel // 2,
            bias=norm == "",
            norm=get_norm(norm, out_channels),
        )
        fill_xavier(conv)
        return conv

    @property
    def size_divisibility(self) -> int:
        """Stride of the coarsest map that takes part in the top-down path."""
        return 2 ** self._levels[-1]

    @property
    def padding_constraints(self) -> dict[str, int]:
        return {"square_size": self.square_pad}

    def output_shape(self) -> dict[str, ShapeSpec]:
        return dict(self._shapes)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Maps ``p2``, ``p3``, ..., fine to coarse, of images ``[N, C, H, W]``."""
        bottom_up = self.bottom_up(x)
        merged, outputs = None, {}
        for level, name in zip(reversed(self._levels), reversed(self.in_features), strict=True):
            lateral = getattr(self, f"fpn_lateral{level}")(bottom_up[name])
            merged = lateral if merged is None else self._fuse(lateral, merged)
            outputs[f"p{level}"] = getattr(self, f"fpn_output{level}")(merged)
        if self.top_block is not None:
            source = self.top_block.in_feature
            source = bottom_up[source] if source in bottom_up else outputs[source]
            for k, extra in enumerate(self.top_block(source), start=self._levels[-1] + 1):
                outputs[f"p{k}"] = extra
        return {name: outputs[name] for name in self._shapes}

    def _fuse(self, lateral: torch.Tensor, above: torch.Tensor) -> torch.Tensor:
        total = lateral + F.interpolate(above, size=lateral.shape[-2:], mode="nearest")
        return total / 2 if self.fuse_type == "avg" else total


class LastLevelMaxPool(nn.Module):
    """Top block of Mask R-CNN: p6 is every second pixel of p5."""

    num_levels = 1
    in_feature = "p5"

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [F.max_pool2d(x, kernel_size=1, stride=2)]


class LastLevelP6P7(nn.Module):
    """Top block of RetinaNet: p6 and p7 by 3x3 convolutions of stride 2."""

    num_levels = 2

    def __init__(self, in_channels: int, out_channels: int, in_feature: str = "res5"):
        super().__init__()
        self.in_feature = in_feature
        self.p6 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=1)
        for conv in (self.p6, self.p7):
            fill_xavier(conv)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        p6 = self.p6(x)
        return [p6, self.p7(F.relu(p6))]
