"""Optimizers for the configs: PyTorch's fused ones, with an optional bound on the gradients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch.optim import Optimizer


def adamw(
    params: Iterable,
    lr: float = 1e-3,
    *,
    betas: Sequence[float] = (0.9, 0.999),
    weight_decay: float = 0.01,
    max_norm: float | None = None,
) -> Optimizer:
    """AdamW (Loshchilov & Hutter 2019), gradients clipped to a global L2 norm of ``max_norm``."""
    optimizer = torch.optim.AdamW(
        params, lr=lr, betas=tuple(betas), weight_decay=weight_decay, fused=True
    )
    return clip_gradients(optimizer, max_norm)


def adam(
    params: Iterable,
    lr: float = 1e-3,
    *,
    betas: Sequence[float] = (0.9, 0.999),
    weight_decay: float = 0.0,
    max_norm: float | None = None,
) -> Optimizer:
    """Adam (Kingma & Ba 2015), gradients clipped to a global L2 norm of ``max_norm``."""
    optimizer = torch.optim.Adam(
        params, lr=lr, betas=tuple(betas), weight_decay=weight_decay, fused=True
    )
    return clip_gradients(optimizer, max_norm)


def sgd(
    params: Iterable,
    lr: float = 0.02,
    *,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    nesterov: bool = False,
    max_norm: float | None = None,
) -> Optimizer:
    """SGD with momentum, gradients clipped to a global L2 norm of ``max_norm``."""
    optimizer = torch.optim.SGD(
        params,
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        nesterov=nesterov,
        fused=True,
    )
    return clip_gradients(optimizer, max_norm)


def clip_gradients(optimizer: Optimizer, max_norm: float | None) -> Optimizer:
    """Make each ``optimizer.step()`` first scale the gradients to a global norm of ``max_norm``.

    As a hook of the optimizer it works under any trainer, the real Detectron2's included.
    """
    if max_norm is not None:
        if max_norm <= 0:
            raise ValueError(f"max_norm must be above 0, got {max_norm}")
        optimizer.register_step_pre_hook(partial(_clip, max_norm=max_norm))
    return optimizer


def _clip(optimizer: Optimizer, args: tuple, kwargs: dict, *, max_norm: float) -> None:
    grads = [p.grad for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
    if not grads:
        return
    norm = torch.nn.utils.get_total_norm(grads)
    # A fused optimizer unscales inside its step, so under a GradScaler the gradients here are still
    # multiplied by this factor.
    scale = getattr(optimizer, "grad_scale", None)
    if scale is not None:
        norm = norm / scale
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(grads, factor)
