"""What every feature extractor offers; API of ``detectron2.modeling.backbone.backbone``."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod

import torch
from torch import nn

from ...layers import ShapeSpec


class Backbone(nn.Module, metaclass=ABCMeta):
    """Turns a batch of images into named feature maps."""

    @abstractmethod
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Feature maps NCHW by name, of images ``[N, C, H, W]``."""

    @abstractmethod
    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each feature map, by name."""

    @property
    def size_divisibility(self) -> int:
        """What the input's height and width must be divisible by; 0 for no such need."""
        return 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        """More wishes about the input's padding: ``padding_constraints`` of ImageList."""
        return {}
