"""Networks of timm as backbones for an FPN: stem, res2, ..., res5 of strides 4 to 32.

Any feature extractor of timm's does whose modules follow one another: ResNet, RegNet, ConvNeXt,
EfficientNet, MobileNet, ... They have Detectron2's names for stages here, so that what works on its
ResNet works on them: frozen stages, learning rates by depth, activations computed again.

timm's networks want RGB, normalised with the mean and standard deviation of their
``pretrained_cfg``: for most of them ImageNet's, (123.675, 116.28, 103.53) and (58.395, 57.12,
57.375) in grey levels; for names that begin with ``tf_`` often 127.5 and 127.5.

Weights come by the address ``timm://NAME`` in ``train.init_checkpoint``, never with the model
itself: a trained run is built again without a network.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import project  # noqa: F401 - makes `detectron2` importable
from project.errors import UserError, one_line, unknown_name
from project.modeling.checkpointing import BlockStage
from project.modeling.hub import from_hub

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler, get_cache_dir
from torch import nn

STAGES = ("res2", "res3", "res4", "res5")
_STRIDES = (4, 8, 16, 32)
_NORMS = ("", "BN", "SyncBN", "FrozenBN")
_KEYS = "backbone.bottom_up."  # where a Mask R-CNN with an FPN has this backbone


class TimmBackbone(Backbone):
    """A network of timm, cut into ``stem``, ``res2``, ..., each ending in a feature map.

    Its blocks and their arithmetic are timm's own. Parameters are called
    ``<stage>.<module>.<timm's name>``, e.g. ``res3.layer2_0.conv1.weight``.
    """

    def __init__(
        self,
        name: str,
        *,
        out_features: Sequence[str] = STAGES,
        norm: str = "",
        freeze_at: int = 0,
    ):
        """
        Args:
            name: timm's, e.g. "resnet18" or "convnext_tiny.in12k_ft_in1k"; starts from random
                values.
            out_features: the maps to give, of ``STAGES``.
            norm: "" for the network's own; of networks with batch norm also "BN" (the same),
                "SyncBN" over all processes' images, or "FrozenBN" with fixed statistics, scale and
                bias, which suits published weights and small batches.
            freeze_at: 1 freezes the stem, k also res2 to res_k: no gradients, batch norms fixed.

        Raises:
            UserError: if timm isn't installed or has no such network, or the network isn't made of
                stages one after another, or hasn't the norm.
        """
        super().__init__()
        if unknown := [x for x in out_features if x not in STAGES]:
            raise UserError(f"out_features: {unknown_name('stage', unknown[0], STAGES)}")
        if not 0 <= freeze_at <= 5:
            raise UserError(f"freeze_at={freeze_at} must be from 0, for nothing, to 5, for res5")
        network = _network(name)
        stages, channels = _stages(network, name)
        _set_norm(stages, norm, name)
        for stage in list(stages.values())[:freeze_at]:
            _freeze(stage)
        for stage, module in stages.items():
            self.add_module(stage, module)
        self._out_features = [stage for stage in STAGES if stage in out_features]
        self._shapes = {
            stage: ShapeSpec(channels=count, stride=stride)
            for stage, count, stride in zip(STAGES, channels, _STRIDES, strict=True)
            if stage in self._out_features
        }
        PathManager.register_handler(_TimmHandler(), allow_override=True)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Maps ``[N, C, H / stride, W / stride]``, rounded up, of images ``[N, 3, H, W]``."""
        x, outputs = self.stem(x), {}
        for stage in STAGES[: STAGES.index(self._out_features[-1]) + 1]:
            x = getattr(self, stage)(x)
            if stage in self._out_features:
                outputs[stage] = x
        return outputs

    def output_shape(self) -> dict[str, ShapeSpec]:
        return dict(self._shapes)


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError:
        raise UserError(
            "timm's networks need the package timm; pip install -e '.[semantic]'"
        ) from None
    return timm


def _network(name: str, *, pretrained: bool = False) -> nn.Module:
    """The feature extractor of timm's network."""
    timm = _timm()
    known = timm.list_models(pretrained=True) + timm.list_models()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=5) or ["resnet18", "convnext_tiny"]
        raise UserError(f"timm has no network {name!r}; it has {', '.join(close)} and others")
    try:
        return timm.create_model(name, pretrained=pretrained, features_only=True)
    except (RuntimeError, AttributeError) as error:  # a network without maps, or without weights
        raise UserError(f"timm's {name} can't be used: {one_line(error)}") from error


def _stages(network: nn.Module, name: str) -> tuple[dict[str, nn.Sequential], list[int]]:
    """``stem``, ``res2``, ... of timm's extractor; channels of the maps at their ends."""
    from timm.models import FeatureListNet
    from timm.models.efficientnet import EfficientNetFeatures
    from timm.models.mobilenetv3 import MobileNetV3Features

    sequential = (FeatureListNet, EfficientNetFeatures, MobileNetV3Features)
    info = network.feature_info.get_dicts()
    ends = {x["reduction"]: x for x in info}
    channels_first = getattr(network, "output_fmt", "NCHW") == "NCHW"
    if not (isinstance(network, sequential) and channels_first and {*_STRIDES} <= {*ends}):
        raise UserError(
            f"timm's {name} isn't made of stages of strides 4, 8, 16, 32 one after another; take a "
            f"ResNet, RegNet, ConvNeXt, EfficientNet or MobileNet"
        )
    units = _units(network)
    names = list(units)
    last = [names.index(_unit_name(ends[stride]["module"])) for stride in _STRIDES]
    # Without a map of stride 2 the stem is what comes before the first stage.
    first = names.index(_unit_name(ends[2]["module"])) + 1 if 2 in ends else last[0]
    cuts = [0, first, *(end + 1 for end in last)]
    parts = [{n: units[n] for n in names[a:b]} for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
    stages = {"stem": nn.Sequential()}
    for unit, module in parts[0].items():
        stages["stem"].add_module(unit, module)
    for stage, part in zip(STAGES, parts[1:], strict=True):
        stages[stage] = BlockStage()
        for unit, module in _blocks(part).items():
            stages[stage].add_module(unit, module)
    return stages, [ends[stride]["num_chs"] for stride in _STRIDES]


def _unit_name(module: str) -> str:
    return module.replace(".", "_")  # as timm itself calls modules that it takes out


def _units(network: nn.Module) -> dict[str, nn.Module]:
    """The extractor's modules in the order in which images pass through them."""
    units = {}
    for name, child in network.named_children():
        if name == "blocks":  # of EfficientNet and its kin: the stages lie below
            units |= {f"blocks_{n}": module for n, module in child.named_children()}
        else:
            units[name] = child
    for unit in units.values():
        if hasattr(unit, "inplace"):  # its input is kept where activations are computed again
            unit.inplace = False
    return units


def _blocks(units: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """The blocks of plain sequences of them; other units as they are."""
    blocks = {}
    for name, unit in units.items():
        if type(unit) is nn.Sequential:
            blocks |= {f"{name}_{n}": block for n, block in unit.named_children()}
        else:
            blocks[name] = unit
    return blocks


def _set_norm(stages: Mapping[str, nn.Module], norm: str, name: str) -> None:
    """Turn the batch norms into ``norm``, in place."""
    from timm.layers import convert_sync_batchnorm, freeze_batch_norm_2d

    if norm not in _NORMS:
        raise UserError(f"norm: {unknown_name('norm of timm backbones', norm, _NORMS)}")
    norms = [m for s in stages.values() for m in s.modules() if isinstance(m, nn.BatchNorm2d)]
    if norm and not norms:
        raise UserError(f"timm's {name} has no batch norm that could become {norm}; take norm=''")
    convert = {"SyncBN": convert_sync_batchnorm, "FrozenBN": freeze_batch_norm_2d}.get(norm)
    if convert is not None:
        for stage in stages.values():
            convert(stage)  # replaces what is inside


def _freeze(stage: nn.Module) -> None:
    from timm.layers import freeze_batch_norm_2d

    for parameter in stage.parameters():
        parameter.requires_grad = False
    freeze_batch_norm_2d(stage)


class _TimmHandler(PathHandler):
    """``timm://NAME``: a checkpoint of timm's weights, made once, for a Mask R-CNN's backbone."""

    _PREFIX = "timm://"

    def _get_supported_prefixes(self) -> list[str]:
        return [self._PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs) -> str:
        name = path.removeprefix(self._PREFIX)
        file = Path(get_cache_dir(), "timm", f"{name}.pth")
        if force or not file.is_file():
            _save_weights(name, file)
        return str(file)

    def _isfile(self, path: str, **kwargs) -> bool:
        return True


def _save_weights(name: str, file: Path) -> None:
    """Write timm's published weights under the names of a `TimmBackbone` below an FPN."""
    remedy = (
        f"copy ~/.cache/huggingface from a machine where timm.create_model({name!r}, "
        f"pretrained=True) has run, or start from random weights with train.init_checkpoint='' "
        f"model.backbone.bottom_up.norm='' model.backbone.bottom_up.freeze_at=0"
    )
    with from_hub(f"timm's weights {name}", remedy):
        network = _network(name, pretrained=True)
    stages, _ = _stages(network, name)
    state = {
        f"{_KEYS}{stage}.{key}": value
        for stage, module in stages.items()
        for key, value in module.state_dict().items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    torch.save({"model": state}, unfinished)
    unfinished.replace(file)
