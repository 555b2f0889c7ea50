"""What a layer may know of its input before there is one.

Follows the API of ``detectron2.layers.shape_spec``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ShapeSpec:
    """Channels, sides in pixels and stride (input pixels per step) of a map, where known."""

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None
