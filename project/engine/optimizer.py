"""Optimizers for the configs: PyTorch's fused ones, with an optional bound on the gradients.

`lr_factors` gives the layers of a model learning rates of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from project.errors import UserError

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


# ``backbone.res3.0...`` of a ResNet, ``backbone.bottom_up.res3.0...`` of one below an FPN.
_RESNET_LAYER = re.compile(r"backbone\.(?:bottom_up\.)?(?:(stem)|res(\d+))\.")
_NECK = re.compile(r"backbone\.(?:fpn_|top_block\.)")
# Where the models of Detectron2, of segmentation-models-pytorch and of transformers have it.
_BACKBONES = ("backbone.", "network.encoder.", "network.model.pixel_level_module.encoder.")
_LAST_STAGE = 5  # res5


def lr_factors(layer_decay: float = 1.0, backbone: float = 1.0) -> Callable[[str], float]:
    """Factor on the learning rate of a parameter, by its name: deeper in the backbone, smaller.

    For ``lr_factor_func`` of `detectron2.solver.get_default_optimizer_params`, whose ``base_lr``
    it multiplies. Layers near the image are general and need little change, those near the heads
    more (Bao et al. 2022, BEiT; Li et al. 2022, ViTDet): res5 learns at ``layer_decay``, res4 at
    its square, ..., res2 at the 4th power and the stem at the 5th; FPN and heads at 1.

    Args:
        layer_decay: above 0 and at most 1, e.g. 0.8; 1 treats all layers alike.
        backbone: one more factor for all of the backbone, FPN left out, e.g. 0.1; above 0.

    Raises:
        UserError: if a number is out of range. The function raises it for a backbone that is no
            ResNet and whose layers therefore can't be told.
    """
    if not 0 < layer_decay <= 1:
        raise UserError(f"layer_decay must be above 0 and at most 1, got {layer_decay}")
    if not backbone > 0:
        raise UserError(
            f"the backbone's factor must be above 0, got {backbone}; to train none of it, set "
            f"model.backbone.bottom_up.freeze_at=5"
        )
    return partial(_lr_factor, layer_decay=layer_decay, backbone=backbone)


def _lr_factor(name: str, *, layer_decay: float, backbone: float) -> float:
    if not name.startswith(_BACKBONES) or _NECK.match(name):
        return 1.0
    if layer_decay == 1.0:
        return backbone
    layer = _RESNET_LAYER.match(name)
    if layer is None:
        raise UserError(
            f"layer_decay={layer_decay} needs a ResNet (stem, res2, res3, ...), and the model has "
            f"{name}; leave layer_decay at 1"
        )
    stage = 1 if layer[1] else int(layer[2])
    return backbone * layer_decay ** (_LAST_STAGE + 1 - stage)
