"""Norms: frozen, synchronised, per channel, and the names that configs call them by.

Follows the API of ``detectron2.layers.batch_norm``. `FrozenBatchNorm2d` is one fused pass over the
input where it needs a gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn


class FrozenBatchNorm2d(nn.Module):
    """Batch norm with fixed statistics and fixed affine: y = (x - mean) / sqrt(var + eps) * w + b.

    It has buffers only, in training and evaluation alike. A new one is the identity. States from
    before version 2 may lack the statistics: then they are 0 and 1.
    """

    _version = 3

    def __init__(self, num_features: int, eps: float = 1e-5):
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        start = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0 - eps}
        for name, value in start.items():
            self.register_buffer(name, torch.full((num_features,), value))
        self.register_buffer("num_batches_tracked", None)  # not in the state; see the conversion

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to the same shape and dtype."""
        if not x.requires_grad:
            statistics = (self.running_mean, self.running_var)
            return F.batch_norm(x, *statistics, self.weight, self.bias, eps=self.eps)
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        # x itself isn't kept for the backward pass, as `batch_norm` would
        scale, shift = (v.to(x.dtype)[:, None, None] for v in (scale, shift))
        return torch.addcmul(shift, x, scale)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args):
        if (local_metadata.get("version") or 0) < 2:
            mean, var = prefix + "running_mean", prefix + "running_var"
            state_dict.setdefault(mean, torch.zeros_like(self.running_mean))
            state_dict.setdefault(var, torch.ones_like(self.running_var))
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def __repr__(self) -> str:
        return f"FrozenBatchNorm2d(num_features={self.num_features}, eps={self.eps})"

    @classmethod
    def convert_frozen_batchnorm(cls, module: nn.Module) -> nn.Module:
        """The module with every BatchNorm2d and SyncBatchNorm in it replaced, in place.

        A batch norm itself is left alone, and its frozen copy returned.
        """
        if isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm)):
            return cls._frozen_copy(module)
        for name, child in list(module.named_children()):
            setattr(module, name, cls.convert_frozen_batchnorm(child))
        return module

    @classmethod
    def _frozen_copy(cls, norm: nn.BatchNorm2d | nn.SyncBatchNorm) -> FrozenBatchNorm2d:
        frozen = cls(norm.num_features, norm.eps)
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            if (value := getattr(norm, name)) is not None:  # without affine or statistics
                setattr(frozen, name, value.detach().clone())
        return frozen.to((norm.weight if norm.affine else frozen.weight).device)


class LayerNorm(nn.Module):
    """Norm over the channels of each place of an (N, C, H, W) tensor, as ConvNeXt and ViTDet use.

    Args:
        normalized_shape: C.
        eps: added to the (biased) variance.
    """

    def __init__(self, normalized_shape: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(normalized_shape))
        self.bias = nn.Parameter(torch.zeros(normalized_shape))
        self.normalized_shape = (normalized_shape,)
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to the same shape; channels-last inputs aren't copied."""
        last = x.permute(0, 2, 3, 1)
        out = F.layer_norm(last, self.normalized_shape, self.weight, self.bias, self.eps)
        return out.permute(0, 3, 1, 2)


class NaiveSyncBatchNorm(nn.BatchNorm2d):
    """Batch norm over the batches of all processes, by a differentiable all-reduce.

    In one process, and in evaluation, it is `torch.nn.BatchNorm2d`.

    Args:
        stats_mode: "" gives each process the same weight (none may have an empty batch);
            "N" weights by batch size, so batches may differ and be empty.
    """

    def __init__(self, *args, stats_mode: str = "", **kwargs):
        super().__init__(*args, **kwargs)
        assert stats_mode in ("", "N"), f"stats_mode {stats_mode!r} is neither '' nor 'N'"
        self._stats_mode = stats_mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to the same shape and dtype."""
        processes = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        if processes == 1 or not self.training:
            return super().forward(x)
        mean, var, seen = self._shared_statistics(x.float())
        self._update(mean.detach(), var.detach(), seen)
        scale = (var + self.eps).rsqrt() * (self.weight if self.affine else 1)
        shift = (self.bias if self.affine else 0) - mean * scale
        return (x * scale[:, None, None] + shift[:, None, None]).to(x.dtype)

    def _shared_statistics(self, x: torch.Tensor):
        """Mean and biased variance (C,) over all processes; 1 if there was any input, else 0."""
        if self._stats_mode == "":
            assert len(x) > 0, "an empty batch needs stats_mode 'N'"
            own, weight = x.new_ones(1), 1
        else:
            own, weight = x.new_full((1,), len(x)), len(x)
        # means of nothing are NaN; nothing adds nothing
        moments = x.flatten(2).transpose(0, 1).flatten(1)
        count = max(moments.shape[1], 1)
        sums = torch.cat([moments.sum(1), moments.square().sum(1)]) * (weight / count)
        total = _AllReduceSum.apply(torch.cat([sums, own]))
        share = total[:-1] / total[-1].clamp(min=1)
        mean, mean_square = share.chunk(2)
        return mean, mean_square - mean.square(), total[-1].detach().clamp(max=1)

    @torch.no_grad()
    def _update(self, mean: torch.Tensor, var: torch.Tensor, seen: torch.Tensor) -> None:
        if self.track_running_stats:
            self.num_batches_tracked += 1
            momentum = self.momentum
            if momentum is None:  # a cumulative average, as BatchNorm2d
                momentum = 1 / self.num_batches_tracked
            self.running_mean += seen * momentum * (mean - self.running_mean)
            self.running_var += seen * momentum * (var - self.running_var)


class _AllReduceSum(torch.autograd.Function):
    """The sum over processes; each process's gradient is the sum of all gradients."""

    @staticmethod
    def forward(ctx, x):
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, grad):
        total = grad.clone()
        dist.all_reduce(total)
        return total


def _group_norm_32(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels)


def _weighted_sync_norm(channels: int) -> NaiveSyncBatchNorm:
    return NaiveSyncBatchNorm(channels, stats_mode="N")


_NORMS = {
    "BN": nn.BatchNorm2d,
    "SyncBN": nn.SyncBatchNorm,
    "FrozenBN": FrozenBatchNorm2d,
    "GN": _group_norm_32,
    "LN": LayerNorm,
    "nnSyncBN": nn.SyncBatchNorm,
    "naiveSyncBN": NaiveSyncBatchNorm,
    "naiveSyncBN_N": _weighted_sync_norm,
}


def get_norm(norm: str | Callable[[int], nn.Module] | None, out_channels: int) -> nn.Module | None:
    """A norm for that many channels; None for None and "".

    Args:
        norm: a name (BN, SyncBN, FrozenBN, GN, LN, nnSyncBN, naiveSyncBN, naiveSyncBN_N), or what
            makes a norm when called with the channels.

    Raises:
        KeyError: for an unknown name.
    """
    if norm is None or norm == "":
        return None
    if isinstance(norm, str):
        if norm not in _NORMS:
            raise KeyError(f"unknown norm {norm!r}; known ones: {', '.join(_NORMS)}")
        norm = _NORMS[norm]
    return norm(out_channels)
