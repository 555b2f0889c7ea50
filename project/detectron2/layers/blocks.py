"""What the blocks of a convolutional network have in common.

Follows the API of ``detectron2.layers.blocks``.
"""

from __future__ import annotations

from torch import nn

from .batch_norm import FrozenBatchNorm2d


class CNNBlockBase(nn.Module):
    """A block of a network: it takes and gives one (N, C, H, W) tensor.

    Args:
        in_channels: C of its input.
        out_channels: C of its output.
        stride: input pixels per output pixel, along both axes.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = stride

    def freeze(self) -> CNNBlockBase:
        """The block itself; no parameter learns any more, batch norms are `FrozenBatchNorm2d`."""
        self.requires_grad_(False)
        FrozenBatchNorm2d.convert_frozen_batchnorm(self)
        return self
