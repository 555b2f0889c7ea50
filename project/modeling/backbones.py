"""Backbones beside Detectron2's own."""

from __future__ import annotations

from collections.abc import Sequence

import project  # noqa: F401 - makes `detectron2` importable

from detectron2.modeling.backbone import BasicStem, ResNet
from detectron2.modeling.backbone.resnet import BasicBlock


def build_small_resnet(
    widths: Sequence[int],
    *,
    blocks: int = 1,
    norm: str = "BN",
    in_channels: int = 3,
    out_features: Sequence[str] = ("res2", "res3", "res4", "res5"),
) -> ResNet:
    """A ResNet of basic blocks for training from scratch; feature strides 4, 8, 16, 32.

    Args:
        widths: channels of the stages res2, res3, ...; the stem has the first of them.
        blocks: basic blocks in each stage.
        norm: as in `detectron2.layers.get_norm`.
    """
    stages, channels = [], widths[0]
    for k, width in enumerate(widths):
        strides = [1 if k == 0 else 2] + [1] * (blocks - 1)
        stages.append(
            ResNet.make_stage(
                BasicBlock,
                blocks,
                in_channels=channels,
                out_channels=width,
                stride_per_block=strides,
                norm=norm,
            )
        )
        channels = width
    stem = BasicStem(in_channels, widths[0], norm=norm)
    return ResNet(stem, stages, out_features=list(out_features))
