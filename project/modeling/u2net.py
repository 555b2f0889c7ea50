"""U²-Net, a U-Net whose every stage is a small U-Net: masks with fine edges, trained from scratch.

Qin et al. 2020, "U²-Net: Going deeper with nested U-structure for salient object detection",
Pattern Recognition 106 (table 1 and figures 2 and 5). Written from the paper.
"""

from __future__ import annotations

from project.errors import UserError, unknown_name

import torch
from torch import nn
from torch.nn import functional as F

# A row is a stage of table 1: height of its U, whether it dilates instead of pooling, and its
# channels in, within and out. The decoder's rows go from the deepest to the shallowest.
_ENCODERS = {
    "full": (
        (7, False, 3, 32, 64),
        (6, False, 64, 32, 128),
        (5, False, 128, 64, 256),
        (4, False, 256, 128, 512),
        (4, True, 512, 256, 512),
        (4, True, 512, 256, 512),
    ),
    "small": (
        (7, False, 3, 16, 64),
        (6, False, 64, 16, 64),
        (5, False, 64, 16, 64),
        (4, False, 64, 16, 64),
        (4, True, 64, 16, 64),
        (4, True, 64, 16, 64),
    ),
}
_DECODERS = {
    "full": (
        (4, True, 1024, 256, 512),
        (4, False, 1024, 128, 256),
        (5, False, 512, 64, 128),
        (6, False, 256, 32, 64),
        (7, False, 128, 16, 64),
    ),
    "small": (
        (4, True, 128, 16, 64),
        (4, False, 128, 16, 64),
        (5, False, 128, 16, 64),
        (6, False, 128, 16, 64),
        (7, False, 128, 16, 64),
    ),
}
_STRIDE = 32  # of the deepest features


class U2Net(nn.Module):
    """U²-Net with a map of logits from each of six depths, and their fusion.

    Images may have any size from 1x1. Nothing is padded but by the convolutions: pooling rounds
    sizes up (a last odd row or column is pooled alone), and what comes back from below is stretched
    to the size that it meets, so that all maps have the image's size.
    """

    def __init__(self, num_outputs: int, size: str = "full"):
        """
        Args:
            num_outputs: channels of the logits.
            size: "full" (44.0 million parameters) or "small" (1.13 million).

        Raises:
            UserError: for another size, or no output.
        """
        super().__init__()
        if size not in _ENCODERS:
            raise UserError(f"U2Net: {unknown_name('size', size, _ENCODERS)}")
        if num_outputs < 1:
            raise UserError(f"U2Net: num_outputs={num_outputs} must be at least 1")
        self.encoders = nn.ModuleList(_ResidualU(*row) for row in _ENCODERS[size])
        self.decoders = nn.ModuleList(_ResidualU(*row) for row in _DECODERS[size])
        sources = [_ENCODERS[size][-1], *_DECODERS[size]]
        self.sides = nn.ModuleList(nn.Conv2d(row[-1], num_outputs, 3, padding=1) for row in sources)
        self.fuse = nn.Conv2d(len(sources) * num_outputs, num_outputs, 1)
        self.apply(_initialise)

    def forward(self, images: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Logits ``[N, num_outputs, H, W]`` of images ``[N, 3, H, W]``.

        In training a list of seven: the fused one, then those of the sides from the shallowest to
        the deepest. The paper's loss is the sum of the losses of all seven.

        Raises:
            UserError: in training, if batch norm would meet a single value in the deepest stage.
        """
        if self.training:
            _check_batch(images)
        sides = [
            _stretch(side(x), images.shape[-2:])
            for side, x in zip(self.sides, self._features(images), strict=True)
        ]
        sides.reverse()
        fused = self.fuse(torch.cat(sides, dim=1))
        return [fused, *sides] if self.training else fused

    def _features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The deepest encoder's features, then the decoders', from the deepest on."""
        skips = []
        for k, encoder in enumerate(self.encoders):
            x = encoder(x if k == 0 else _halve(x))
            skips.append(x)
        features = [skips.pop()]
        for decoder in self.decoders:
            features.append(decoder(_join(features[-1], skips.pop())))
        return features


class _ResidualU(nn.Module):
    """Residual U-block (RSU): a convolution, plus a U-Net over its result.

    The dilated form (RSU-4F) keeps the size and widens the view by dilations 1, 2, 4, 8 instead.
    """

    def __init__(self, height: int, dilated: bool, in_channels: int, mid: int, out_channels: int):
        super().__init__()
        self.dilated = dilated
        self.entry = _convolution(in_channels, out_channels)
        steps = [2**k if dilated else 1 for k in range(height)]
        up_steps = steps[-2::-1]
        if not dilated:
            steps[-1] = 2  # the bottom sees wider instead of being pooled once more
        inputs = [out_channels] + [mid] * (height - 1)
        outputs = [mid] * (height - 2) + [out_channels]
        self.down = nn.ModuleList(map(_convolution, inputs, [mid] * height, steps))
        self.up = nn.ModuleList(map(_convolution, [2 * mid] * (height - 1), outputs, up_steps))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        entry = x = self.entry(x)
        last, skips = len(self.down) - 1, []
        for k, convolution in enumerate(self.down):
            pooled = 0 < k < last and not self.dilated
            x = convolution(_halve(x) if pooled else x)
            skips.append(x)
        x = skips.pop()
        for convolution in self.up:
            x = convolution(_join(x, skips.pop()))
        return x + entry


def _convolution(in_channels: int, out_channels: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _initialise(module: nn.Module) -> None:
    """The paper's initial values: Xavier for convolutions, no bias."""
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def _halve(x: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(x, 2, ceil_mode=True)


def _stretch(x: torch.Tensor, size: torch.Size) -> torch.Tensor:
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _join(deep: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
    return torch.cat([_stretch(deep, skip.shape[-2:]), skip], dim=1)


def _check_batch(images: torch.Tensor) -> None:
    n, _, h, w = images.shape
    if n == 1 and max(h, w) <= _STRIDE:
        raise UserError(
            f"U2Net can't train on a single image of {h}x{w}: its batch norms need more than one "
            f"value; give it several images, or one of more than {_STRIDE} pixels"
        )
