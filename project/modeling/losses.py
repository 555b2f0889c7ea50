"""Losses against imbalance, as functions of logits; heads that use them are in `heads`."""

from __future__ import annotations

import math

import torch


def weighted_cross_entropy(
    logits: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor, focal_gamma: float = 0.0
) -> torch.Tensor:
    """``sum_i w_i (1 - p_i)^gamma (-log p_i) / N``, 0-dim; p_i is the softmax of row i's class.

    Focal loss (Lin et al. 2017, eq. 5) with the softmax in place of the sigmoid; with gamma 0 the
    cross entropy. Divided by the number of rows and not by the sum of their weights, so that what
    a row contributes doesn't depend on the others. The gradient to logit j of row i is
    ``w_i ((1 - p)^gamma - gamma p (1 - p)^(gamma - 1) log p) (p_j - [j is i's class]) / N``.

    Args:
        logits: ``[N, C]``; taken as float32 if shorter. Without rows the loss is 0, still connected
            to them.
        classes: int64 ``[N]``, in 0..C-1.
        weights: ``[C]``, of the classes.
        focal_gamma: at least 0.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    log_p = logits.log_softmax(1).gather(1, classes[:, None])[:, 0]
    loss = -log_p * weights.to(logits.dtype)[classes]
    if focal_gamma:
        # Where 1 - p is 0 the loss is too, but the slope of the power would be infinite for
        # gamma < 1; the clamp makes it 0.
        miss = 1 - log_p.exp()
        loss = loss * miss.clamp(min=torch.finfo(miss.dtype).tiny) ** focal_gamma
    return loss.sum() / max(len(classes), 1)


def dice_loss(logits: torch.Tensor, targets: torch.Tensor, smooth: float = 1.0) -> torch.Tensor:
    """``mean_b 1 - (2 sum(p t) + s) / (sum(p) + sum(t) + s)``, 0-dim; sums over a mask's pixels.

    Soft Dice (Milletari et al. 2016, with plain sums below): every mask counts the same whatever
    its area, unlike in a mean over pixels. ``smooth`` is in pixels and keeps empty masks defined.

    Args:
        logits: ``[B, H, W]``; taken as float32 if shorter. Without masks the loss is 0, still
            connected to them.
        targets: ``[B, H, W]``, bool or 0..1.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    p, t = logits.sigmoid().flatten(1), targets.to(logits.dtype).flatten(1)
    overlap = (2 * (p * t).sum(1) + smooth) / (p.sum(1) + t.sum(1) + smooth)
    return (1 - overlap).sum() / max(len(logits), 1)


def background_bias(num_classes: int, background: float) -> float:
    """The bias of the background's logit with which zero features give it ``background``.

    The other logits have bias 0. After Lin et al. 2017, section 4.1, for a softmax: solves
    ``e^b / (e^b + K) = background``.

    Args:
        num_classes: K, without background.
        background: in (0, 1).
    """
    return math.log(background * num_classes / (1 - background))
