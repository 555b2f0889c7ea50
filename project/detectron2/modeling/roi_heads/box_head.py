"""From box features to one vector per box; API of ``detectron2.modeling.roi_heads.box_head``."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ...layers import ShapeSpec
from ..weight_init import fill_xavier
from .convolution import conv_3x3


class FastRCNNConvFCHead(nn.Sequential):
    """3x3 convolutions, then fully connected layers, each with ReLU.

    Layers are called ``conv1``, ..., ``flatten``, ``fc1``, ``fc_relu1``, ....
    """

    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        conv_dims: Sequence[int],
        fc_dims: Sequence[int],
        conv_norm="",
    ):
        """
        Args:
            input_shape: channels, height and width of the pooled features.
            conv_dims: outputs of the convolutions; ``fc_dims`` of the fully connected layers.
            conv_norm: a name or callable for `get_norm`; convolutions have a bias only without one.

        Raises:
            AssertionError: if both lists are empty.
        """
        super().__init__()
        assert len(conv_dims) + len(fc_dims), "conv_dims and fc_dims must not both be empty"
        channels, height, width = input_shape.channels, input_shape.height, input_shape.width
        for k, out_channels in enumerate(conv_dims, start=1):
            self.add_module(f"conv{k}", conv_3x3(channels, out_channels, conv_norm))
            channels = out_channels
        self._shape = ShapeSpec(channels=channels, height=height, width=width)
        if len(fc_dims):
            self.add_module("flatten", nn.Flatten())
            size = channels * (height or 1) * (width or 1)
            for k, out_size in enumerate(fc_dims, start=1):
                fc = nn.Linear(size, out_size)
                fill_xavier(fc)
                self.add_module(f"fc{k}", fc)
                self.add_module(f"fc_relu{k}", nn.ReLU())
                size = out_size
            self._shape = ShapeSpec(channels=size)

    @property
    def output_shape(self) -> ShapeSpec:
        """Channels of the vectors, or channels, height and width where no layer flattens."""
        return self._shape
