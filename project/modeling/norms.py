"""Normalisation layers by name: batch, group, synchronised or frozen, and where each can work."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from project.errors import UserError, unknown_name

from detectron2.modeling import ResNet
from torch import nn

# The names of `detectron2.layers.get_norm`; "" is none.
NORMS = ("BN", "SyncBN", "FrozenBN", "GN", "LN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N")
_KEYS = ("norm", "conv_norm")  # arguments of Detectron2's modules that take such a name
# In a ResNet's state, under our names or Caffe2's (res2_0_branch2a_bn_s, ..._bn_rm).
_BATCH_NORM_KEY = re.compile(r".*(?:res|conv)\d?.*(?:_bn_\w+|\.running_mean)")
_STATISTICS_KEY = re.compile(r".*(?:_bn_rm|_bn_running_mean|\.running_mean)")


def group_norm(channels: int) -> nn.GroupNorm:
    """Group norm (Wu & He 2018) of 32 groups, or as many powers of two below as divide evenly.

    Detectron2's "GN" refuses channels that 32 doesn't divide, which small models have.
    """
    return nn.GroupNorm(math.gcd(32, channels), channels)


def norm_for(name: str) -> str | Callable[[int], nn.Module]:
    """What Detectron2's modules take as ``norm``, checked; "GN" fits any number of channels.

    Raises:
        UserError: for an unknown name.
    """
    check_norm(name)
    return group_norm if name == "GN" else name


def check_norm(name: str, key: str = "norm") -> None:
    """Raise a `UserError` with the closest name unless ``name`` is a norm, or "" for none."""
    if name and name not in NORMS:
        raise UserError(f"{key}: {unknown_name('norm', name, NORMS)}")


def check_norm_names(node: Any, key: str = "model") -> None:
    """`check_norm` for each norm in a model's config, given as plain dicts and lists.

    Interpolations are left out, as they lead to a name that is looked at where it stands.
    """
    if isinstance(node, Mapping):
        for name, value in node.items():
            if name in _KEYS and isinstance(value, str) and "${" not in value:
                check_norm(value, f"{key}.{name}")
            check_norm_names(value, f"{key}.{name}")
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for place, value in enumerate(node):
            check_norm_names(value, f"{key}.{place}")


def check_sync_norms(model: nn.Module, device: str, num_processes: int) -> None:
    """Raise a `UserError` where synchronised batch norm can't work: several processes on the CPU.

    In one process it is ordinary batch norm, on any device.
    """
    if num_processes == 1 or not str(device).startswith("cpu"):
        return
    for name, module in model.named_modules():
        if isinstance(module, nn.SyncBatchNorm):
            raise UserError(
                f"{name} is SyncBN, which exchanges its statistics between GPUs only; on "
                f"{num_processes} CPU processes take norm=naiveSyncBN, GN or FrozenBN"
            )


def norm_mismatch(model: nn.Module, keys: Iterable[str]) -> str:
    """Why weights don't suit the norms of the model's ResNet, or "" if they do.

    Scale and bias of batch norm load into any norm, where they mean something else.

    Args:
        keys: of the weights' state.
    """
    norms = [m for net in model.modules() if isinstance(net, ResNet) for m in net.modules()]
    keys = list(keys)
    if not any(map(_BATCH_NORM_KEY.fullmatch, keys)):
        return ""
    if any(isinstance(m, nn.GroupNorm) for m in norms):
        return (
            "these weights were trained with batch norm, whose scale and bias don't suit the "
            "model's group norm; take norm=FrozenBN, or weights of a ResNet with group norm "
            "(detectron2://ImageNetPretrained/FAIR/R-50-GN.pkl)"
        )
    trained = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in norms)
    if trained and not any(map(_STATISTICS_KEY.fullmatch, keys)):
        return (
            "the statistics of batch norm are folded into these weights, which suits "
            "norm=FrozenBN; the model's batch norm normalises a second time"
        )
    return ""
