"""Features of boxes from a feature pyramid: each box from the level that fits its size.

Follows the API of ``detectron2.modeling.poolers``. Better than there: no loop over levels on the
CPU (one table of all levels, see `layers.roi_align`), no wait for the GPU anywhere, and outputs
that aren't square work on pyramids too.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import nn

from ..layers.roi_align import ROIAlign, roi_align_levels
from ..structures import Boxes


def assign_boxes_to_levels(
    box_lists: list[Boxes],
    min_level: int,
    max_level: int,
    canonical_box_size: int,
    canonical_level: int,
) -> torch.Tensor:
    """(sum of N_i,) int64 levels of boxes, counted from ``min_level`` = 0.

    level = floor(canonical_level + log2(sqrt(area) / canonical_box_size + 1e-8)), at least
    ``min_level`` and at most ``max_level``: equation 1 of Lin et al., "Feature Pyramid Networks for
    Object Detection" (arXiv:1612.03144).
    """
    areas = torch.cat([boxes.area() for boxes in box_lists])
    relative = areas.sqrt() / canonical_box_size
    levels = torch.floor(canonical_level + torch.log2(relative + 1e-8))
    return levels.clamp(min_level, max_level).long() - min_level


def convert_boxes_to_pooler_format(box_lists: list[Boxes]) -> torch.Tensor:
    """(sum of N_i, 5) float32 rows (image i, x0, y0, x1, y1), the images in order."""
    return torch.cat([F.pad(b.tensor, (1, 0), value=float(i)) for i, b in enumerate(box_lists)])


class ROIPooler(nn.Module):
    """Crops boxes out of feature maps, resampled to one size.

    Args:
        output_size: cells of the output, one number or (height, width).
        scales: feature cells per image pixel of each map, 1 / 2^k with consecutive k.
        sampling_ratio: as for `layers.roi_align`; "ROIPool" has no use for it.
        pooler_type: "ROIAlignV2" (aligned), "ROIAlign" (as it was before), or "ROIPool".
        canonical_box_size: boxes of this size in pixels (square root of the area) ...
        canonical_level: ... belong on this level; level k has scale 1 / 2^k.

    Raises:
        ValueError: for another pooler type.
        AssertionError: if the scales are no such sequence.
    """

    def __init__(
        self,
        output_size: int | tuple[int, int],
        scales: list[float],
        sampling_ratio: int,
        pooler_type: str,
        canonical_box_size: int = 224,
        canonical_level: int = 4,
    ):
        super().__init__()
        size = (output_size,) * 2 if isinstance(output_size, int) else tuple(output_size)
        assert len(size) == 2, f"output_size {output_size} is neither a number nor a pair"
        self.output_size = size
        self.scales = tuple(scales)
        self.sampling_ratio = sampling_ratio
        self.pooler_type = pooler_type
        self.level_poolers = nn.ModuleList(self._pooler(scale) for scale in self.scales)
        self.min_level, self.max_level = _level_range(self.scales)
        assert canonical_box_size > 0, f"canonical_box_size {canonical_box_size} isn't positive"
        self.canonical_box_size = canonical_box_size
        self.canonical_level = canonical_level

    def _pooler(self, scale: float) -> nn.Module:
        if self.pooler_type in ("ROIAlign", "ROIAlignV2"):
            aligned = self.pooler_type == "ROIAlignV2"
            return ROIAlign(self.output_size, scale, self.sampling_ratio, aligned)
        if self.pooler_type == "ROIPool":
            from torchvision.ops import RoIPool

            return RoIPool(self.output_size, spatial_scale=scale)
        raise ValueError(
            f"unknown pooler type {self.pooler_type!r}; known: ROIAlignV2, ROIAlign, ROIPool"
        )

    def forward(self, x: list[torch.Tensor], box_lists: list[Boxes]) -> torch.Tensor:
        """Features (sum of N_i, C, *output_size) of all boxes, the images in order.

        Args:
            x: a list of the maps (N, C, H_l, W_l), one for each scale.
            box_lists: a list of the boxes of each of the N images, in its pixels.

        Raises:
            AssertionError: if these aren't lists of those lengths.
        """
        assert isinstance(x, list), f"want a list of feature maps, got {type(x)}"
        assert isinstance(box_lists, list), f"want a list of Boxes, got {type(box_lists)}"
        assert len(x) == len(self.scales), f"{len(x)} feature maps for {len(self.scales)} scales"
        assert len(box_lists) == len(x[0]), f"{len(box_lists)} Boxes for {len(x[0])} images"
        if sum(map(len, box_lists)) == 0:
            return x[0].new_zeros((0, x[0].shape[1], *self.output_size))
        rois = convert_boxes_to_pooler_format(box_lists)
        if len(x) == 1:
            return self.level_poolers[0](x[0], rois)
        levels = assign_boxes_to_levels(
            box_lists,
            self.min_level,
            self.max_level,
            self.canonical_box_size,
            self.canonical_level,
        )
        if x[0].device.type == "cpu" and self.pooler_type != "ROIPool":
            aligned = self.level_poolers[0].aligned
            settings = (self.output_size, self.scales, self.sampling_ratio, aligned)
            return roi_align_levels(x, rois, levels, *settings)
        return self._pool_each_level(x, rois, levels)

    def _pool_each_level(self, x, rois: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        """The sum over levels of all boxes, those of other levels moved where features are 0.

        Nothing is read for a box that is off the map, so this costs little, and no shape depends on
        data: the GPU is never waited for.
        """
        # more than a cell off every map: pooled features are 0
        away = torch.cat([rois[:, :1], torch.full_like(rois[:, 1:], -1e4)], dim=1)
        pooled = (
            pooler(x[level], torch.where((levels == level)[:, None], rois, away))
            for level, pooler in enumerate(self.level_poolers)
        )
        return functools.reduce(torch.add, pooled)

    def extra_repr(self) -> str:
        return (
            f"pooler_type={self.pooler_type}, canonical_box_size={self.canonical_box_size}, "
            f"canonical_level={self.canonical_level}"
        )


def _level_range(scales: tuple[float, ...]) -> tuple[int, int]:
    levels = [-math.log2(scale) for scale in scales]
    first = round(levels[0])
    gaps = [abs(level - first - k) for k, level in enumerate(levels)]
    assert max(gaps) < 1e-9, f"scales {scales} are no sequence 1/2^k, 1/2^(k+1), ..."
    assert first >= 0, f"scales {scales} enlarge the image"
    return first, first + len(scales) - 1
