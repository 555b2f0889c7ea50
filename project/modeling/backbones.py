"""Backbones beside Detectron2's own."""

from __future__ import annotations

from collections.abc import Sequence

from project.errors import UserError
from project.modeling.norms import norm_for

from detectron2.modeling.backbone import BasicStem, ResNet
from detectron2.modeling.backbone.resnet import BasicBlock
from torch import nn


def build_small_resnet(
    widths: Sequence[int],
    *,
    blocks: int = 1,
    norm: str = "BN",
    in_channels: int = 3,
    out_features: Sequence[str] = ("res2", "res3", "res4", "res5"),
    freeze_at: int = 0,
) -> ResNet:
    """A ResNet of basic blocks for training from scratch; feature strides 4, 8, 16, 32.

    Args:
        widths: channels of the stages res2, res3, ...; the stem has the first of them.
        blocks: basic blocks in each stage.
        norm: a name of `detectron2.layers.get_norm`; "GN" takes any widths.
        freeze_at: 1 freezes the stem, k also res2 to res_k: no gradients, batch norms fixed.

    Raises:
        UserError: for an unknown norm, or two stages after one another of the same width, as a
            stage halves the size and Detectron2's blocks have a shortcut that follows only where
            the width changes.
    """
    norm = norm_for(norm)
    if any(a == b for a, b in zip(widths, widths[1:], strict=False)):
        raise UserError(f"each stage needs another width than the one before, got {list(widths)}")
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
    return ResNet(stem, stages, out_features=list(out_features), freeze_at=freeze_at)


def compile_backbone(
    model: nn.Module, *, backend: str = "inductor", dynamic: bool | None = None
) -> None:
    """Have `torch.compile` make the model's backbone faster, in place; it is done at the first use.

    State keys stay, and a copy of the model is not compiled. Worth it on a GPU: the first steps of
    training and of evaluation wait for a minute or so, on a CPU longer.

    Args:
        dynamic: as in `torch.compile`; None compiles for a second image size with sizes left open.

    Raises:
        UserError: if the model has no ``backbone``.
    """
    if not isinstance(getattr(model, "backbone", None), nn.Module):
        raise UserError(
            f"train.compile=True needs a model with a backbone, and {type(model).__name__} has "
            f"none; set it to False"
        )
    model.backbone.compile(backend=backend, dynamic=dynamic)
