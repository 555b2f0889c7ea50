"""Weight fillers that the layers of Mask R-CNN start from.

Same distributions as ``fvcore.nn.weight_init``, whose import runs the deprecated TorchScript
compiler (a warning, and an error under ``-W error``).
"""

from __future__ import annotations

from torch import nn


def fill_msra(layer: nn.Module) -> None:
    """Normal weights of variance 2 / fan_out, zero bias (He et al. 2015, as Caffe2 counts it)."""
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    _zero_bias(layer)


def fill_xavier(layer: nn.Module) -> None:
    """Uniform weights of variance 1 / fan_in, zero bias (what Caffe2 calls Xavier)."""
    nn.init.kaiming_uniform_(layer.weight, a=1)
    _zero_bias(layer)


def fill_normal(layer: nn.Module, std: float) -> None:
    """Normal weights of standard deviation ``std``, zero bias."""
    nn.init.normal_(layer.weight, std=std)
    _zero_bias(layer)


def _zero_bias(layer: nn.Module) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
