"""The convolution that box and mask heads are made of."""

from __future__ import annotations

from torch.nn import functional as F

from ...layers import Conv2d, get_norm
from ..weight_init import fill_msra


def conv_3x3(in_channels: int, out_channels: int, norm) -> Conv2d:
    """3x3 convolution that keeps the size, with ReLU; a bias only without ``norm`` (`get_norm`)."""
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel_size=3,
        padding=1,
        bias=not norm,
        norm=get_norm(norm, out_channels),
        activation=F.relu,
    )
    fill_msra(conv)
    return conv
