"""Anchor boxes on a feature pyramid; API of ``detectron2.modeling.anchor_generator``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from ..structures import Boxes


class DefaultAnchorGenerator(nn.Module):
    """Anchors of every size and aspect ratio at every location of each feature map.

    Faster R-CNN's anchors (Ren et al. 2015), with one set of sizes per pyramid level as in FPN.
    """

    box_dim = 4

    def __init__(
        self,
        *,
        sizes: Sequence[float] | Sequence[Sequence[float]],
        aspect_ratios: Sequence[float] | Sequence[Sequence[float]],
        strides: Sequence[int],
        offset: float = 0.5,
    ):
        """
        Args:
            sizes: square roots of the anchors' areas, in pixels of the input: a list per level, or
                one flat list (or a list of one list) for all of them.
            aspect_ratios: height / width, given the same way.
            strides: of the feature maps, in pixels.
            offset: of the first anchor's centre, in strides, in [0, 1).

        Raises:
            AssertionError: if a list is missing, empty or of the wrong length, or ``offset`` is
                outside its range.
        """
        super().__init__()
        self.strides = list(strides)
        assert 0.0 <= offset < 1.0, f"offset must be in [0, 1), got {offset}"
        self.offset = offset
        levels = zip(
            _per_level(sizes, len(self.strides), "sizes"),
            _per_level(aspect_ratios, len(self.strides), "aspect_ratios"),
            strict=True,
        )
        self.cell_anchors = nn.Module()
        for level, (level_sizes, ratios) in enumerate(levels):
            cell = self.generate_cell_anchors(level_sizes, ratios)
            self.cell_anchors.register_buffer(str(level), cell, persistent=False)

    @staticmethod
    def generate_cell_anchors(
        sizes: Sequence[float] = (32, 64, 128, 256, 512),
        aspect_ratios: Sequence[float] = (0.5, 1, 2),
    ) -> torch.Tensor:
        """Anchors around the origin, ``[len(sizes) * len(aspect_ratios), 4]`` XYXY, size-major."""
        boxes = []
        for size in sizes:
            for ratio in aspect_ratios:
                width = size / math.sqrt(ratio)
                height = ratio * width
                boxes.append([-width / 2, -height / 2, width / 2, height / 2])
        return torch.tensor(boxes)

    @property
    def num_anchors(self) -> list[int]:
        """Anchors per location, for each level."""
        return [len(cell) for cell in self.cell_anchors.buffers()]

    @property
    def num_cell_anchors(self) -> list[int]:
        """The same as `num_anchors`."""
        return self.num_anchors

    def forward(self, features: Sequence[torch.Tensor]) -> list[Boxes]:
        """Anchors of each level, ``[H * W * A, 4]``: rows, then columns, then anchors of a cell.

        Args:
            features: NCHW maps, one per level; only their heights and widths are used.
        """
        cells = list(self.cell_anchors.buffers())
        return [
            Boxes(self._spread(cell, feature.shape[-2:], stride))
            for cell, feature, stride in zip(cells, features, self.strides, strict=True)
        ]

    def _spread(self, cell: torch.Tensor, size: Sequence[int], stride: int) -> torch.Tensor:
        centres = [
            (torch.arange(n, device=cell.device, dtype=torch.float32) + self.offset) * stride
            for n in size
        ]
        y, x = torch.meshgrid(*centres, indexing="ij")
        return (torch.stack([x, y, x, y], dim=-1)[:, :, None] + cell.float()).reshape(-1, 4)


def _per_level(values, num_levels: int, name: str) -> list[list[float]]:
    assert isinstance(values, Sequence), f"{name} must be a list, got {values!r}"
    assert len(values) > 0, f"{name} must not be empty"
    if not isinstance(values[0], Sequence):
        values = [values]
    levels = [list(level) for level in values]
    if len(levels) == 1:
        levels *= num_levels
    assert len(levels) == num_levels, (
        f"{name} has {len(levels)} lists, but there are {num_levels} strides"
    )
    return levels
