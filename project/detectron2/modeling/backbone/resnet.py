"""ResNet (He et al. 2015), with its state keys; API of ``detectron2.modeling.backbone.resnet``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ...layers import CNNBlockBase, Conv2d, ShapeSpec, get_norm
from ..weight_init import fill_msra, fill_normal
from .backbone import Backbone

ResNetBlockBase = CNNBlockBase

_BLOCKS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def _conv_norm(in_channels: int, out_channels: int, kernel: int, norm, **kwargs) -> Conv2d:
    """Convolution without bias that keeps the size at stride 1, followed by ``norm``."""
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel_size=kernel,
        padding=kwargs.get("dilation", 1) * (kernel // 2),
        bias=False,
        norm=get_norm(norm, out_channels),
        **kwargs,
    )
    fill_msra(conv)
    return conv


class _ResidualBlock(CNNBlockBase):
    """``relu(residual(x) + shortcut(x))``; the shortcut is a convolution where channels change."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm):
        super().__init__(in_channels, out_channels, stride)
        self.shortcut = None
        if in_channels != out_channels:
            self.shortcut = _conv_norm(in_channels, out_channels, 1, norm, stride=stride)

    def residual(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.residual(x)
        out += x if self.shortcut is None else self.shortcut(x)
        return F.relu_(out)


class BasicBlock(_ResidualBlock):
    """Two 3x3 convolutions and a shortcut: the block of ResNet-18 and -34."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, norm="BN"):
        """
        Args:
            stride: of the first convolution and the shortcut.
            norm: a name or callable for `get_norm`.
        """
        super().__init__(in_channels, out_channels, stride, norm)
        self.conv1 = _conv_norm(in_channels, out_channels, 3, norm, stride=stride)
        self.conv2 = _conv_norm(out_channels, out_channels, 3, norm)

    def residual(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2(F.relu_(self.conv1(x)))


class BottleneckBlock(_ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions and a shortcut: the block of ResNet-50 and deeper."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        num_groups: int = 1,
        norm="BN",
        stride_in_1x1: bool = False,
        dilation: int = 1,
    ):
        """
        Args:
            bottleneck_channels: of the 3x3 convolution.
            num_groups: of the 3x3 convolution (ResNeXt).
            norm: a name or callable for `get_norm`.
            stride_in_1x1: the stride sits in the first 1x1 convolution (weights from MSRA or
                Caffe2) rather than in the 3x3 one (weights from torchvision).
            dilation: of the 3x3 convolution.
        """
        super().__init__(in_channels, out_channels, stride, norm)
        width = bottleneck_channels
        strides = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = _conv_norm(in_channels, width, 1, norm, stride=strides[0])
        self.conv2 = _conv_norm(
            width, width, 3, norm, stride=strides[1], groups=num_groups, dilation=dilation
        )
        self.conv3 = _conv_norm(width, out_channels, 1, norm)

    def residual(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv3(F.relu_(self.conv2(F.relu_(self.conv1(x)))))


class BasicStem(CNNBlockBase):
    """7x7 convolution and max-pooling, each of stride 2."""

    def __init__(self, in_channels: int = 3, out_channels: int = 64, norm="BN"):
        super().__init__(in_channels, out_channels, 4)
        self.conv1 = _conv_norm(in_channels, out_channels, 7, norm, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(F.relu_(self.conv1(x)), kernel_size=3, stride=2, padding=1)


class ResNet(Backbone):
    """A stem, then stages ``res2``, ``res3``, ..., and for classification a linear layer."""

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[Sequence[CNNBlockBase]],
        num_classes: int | None = None,
        out_features: Sequence[str] | None = None,
        freeze_at: int = 0,
    ):
        """
        Args:
            stem: with attributes ``out_channels`` and ``stride``.
            stages: lists of blocks; stages beyond the last output are left out of the model.
            num_classes: adds average pooling and ``linear`` with that many outputs.
            out_features: of ``stem``, ``res2``, ..., ``linear``; the last layer if None.
            freeze_at: see `freeze`.

        Raises:
            AssertionError: if an output feature isn't one of the layers.
        """
        super().__init__()
        names = [f"res{k}" for k, _ in enumerate(stages, start=2)]
        layers = ["stem", *names] + ([] if num_classes is None else ["linear"])
        self.out_features = [layers[-1]] if out_features is None else list(out_features)
        unknown = set(self.out_features) - set(layers)
        assert self.out_features, "out_features must not be empty"
        assert not unknown, f"out_features {self.out_features} are not all among {layers}"
        deepest = max(layers.index(name) for name in self.out_features)
        self.stem = stem
        self.stage_names = names[:deepest]
        channels, stride = stem.out_channels, stem.stride
        self._shapes = {"stem": ShapeSpec(channels=channels, stride=stride)}
        for name, blocks in zip(self.stage_names, stages, strict=False):
            self.add_module(name, nn.Sequential(*blocks))
            for block in blocks:
                channels, stride = block.out_channels, stride * block.stride
            self._shapes[name] = ShapeSpec(channels=channels, stride=stride)
        self.num_classes = num_classes
        if num_classes is not None:
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.linear = nn.Linear(channels, num_classes)
            fill_normal(self.linear, std=0.01)
            self._shapes["linear"] = ShapeSpec(channels=num_classes)
        self.freeze(freeze_at)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """The output features of images ``[N, C, H, W]``, by name.

        Raises:
            AssertionError: if ``x`` isn't 4-D.
        """
        assert x.dim() == 4, f"images must be [N, C, H, W], got {tuple(x.shape)}"
        outputs = {}
        for name in ("stem", *self.stage_names):
            x = getattr(self, name)(x)
            outputs[name] = x
        if "linear" in self.out_features:
            outputs["linear"] = self.linear(self.avgpool(x).flatten(1))
        return {name: x for name, x in outputs.items() if name in self.out_features}

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {name: self._shapes[name] for name in self.out_features}

    def freeze(self, freeze_at: int = 0) -> ResNet:
        """Stop training the first layers: from 1 on the stem, from k on also ``res2..resk``.

        Their parameters stop requiring gradients and their batch norms become frozen ones.
        """
        if freeze_at >= 1:
            self.stem.freeze()
        for depth, name in enumerate(self.stage_names, start=2):
            if freeze_at >= depth:
                for block in getattr(self, name):
                    block.freeze()
        return self

    @staticmethod
    def make_stage(
        block_class: type[CNNBlockBase],
        num_blocks: int,
        *,
        in_channels: int,
        out_channels: int,
        **kwargs,
    ) -> list[CNNBlockBase]:
        """Blocks of one stage; the first one takes ``in_channels``, the others ``out_channels``.

        Args:
            kwargs: for every block; ``name_per_block`` holds one value of ``name`` for each.

        Raises:
            AssertionError: if a list per block has another length than ``num_blocks``.
        """
        shared, lists = {}, {}
        for key, value in kwargs.items():
            name = key.removesuffix("_per_block")
            if name == key:
                shared[key] = value
                continue
            assert len(value) == num_blocks, f"{key} needs {num_blocks} values, got {value}"
            assert name not in kwargs, f"both {key} and {name} are given"
            lists[name] = list(value)
        blocks = []
        for k in range(num_blocks):
            own = {name: values[k] for name, values in lists.items()}
            channels = out_channels if k else in_channels
            blocks.append(block_class(channels, out_channels, **shared, **own))
        return blocks

    @staticmethod
    def make_default_stages(
        depth: int, block_class: type[CNNBlockBase] | None = None, **kwargs
    ) -> list[list[CNNBlockBase]]:
        """The four stages of ResNet-18, -34, -50, -101 or -152.

        Args:
            block_class: None for the depth's own.
            kwargs: for `make_stage`, the same in all stages.

        Raises:
            KeyError: for another depth.
        """
        counts = _BLOCKS_PER_STAGE[depth]
        basic = depth < 50
        block_class = block_class or (BasicBlock if basic else BottleneckBlock)
        stages, in_channels = [], 64
        for k, count in enumerate(counts):
            width = 64 * 2**k
            out_channels = width if basic else 4 * width
            own = {} if basic else {"bottleneck_channels": width}
            stage = ResNet.make_stage(
                block_class,
                count,
                in_channels=in_channels,
                out_channels=out_channels,
                stride_per_block=[1 if k == 0 else 2] + [1] * (count - 1),
                **own,
                **kwargs,
            )
            stages.append(stage)
            in_channels = out_channels
        return stages


def make_stage(*args, **kwargs) -> list[CNNBlockBase]:
    """The same as `ResNet.make_stage`."""
    return ResNet.make_stage(*args, **kwargs)
