"""Lengths and learning rates of a run, tied together so that one override moves them all.

Three OmegaConf resolvers serve the configs:

* ``${iterations:EPOCHS,BATCH,SUBSET,SPLIT,ROOT,FILTER_EMPTY,NUM_IMAGES}``: the iterations that so
  many passes over a training split, or over NUM_IMAGES of it, take: ``ceil(epochs * images /
  batch)``;
* ``${part:NUMBER,SHARE}``: ``max(1, round(number * share))``, e.g. a tenth of the run for warm-up;
* ``${scaled_lr:LR,REFERENCE_BATCH,BATCH,RULE}``: the learning rate for a batch of another size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from project.data.catalog import num_images
from project.errors import UserError, unknown_name

from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import (
    CosineParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
    PolynomialDecayParamScheduler,
)
from omegaconf import OmegaConf


def iterations(
    epochs: float,
    batch_size: int,
    subset: str,
    split: str,
    root: str | None = None,
    filter_empty: bool = True,
    num_drawn: int | None = None,
) -> int:
    """Iterations of ``epochs`` passes over a split, or over its images with objects alone.

    Args:
        num_drawn: images that are drawn from them (``dataset.num_images``); None takes all.
    """
    if not (isinstance(epochs, int | float) and epochs > 0):
        raise UserError(f"train.epochs must be a number above 0, got {epochs}")
    if not (isinstance(batch_size, int) and batch_size >= 1):
        raise UserError(f"the batch must hold at least 1 image, got {batch_size}")
    images = num_images(subset, split, root, filter_empty)
    return math.ceil(epochs * (images if num_drawn is None else num_drawn) / batch_size)


def part(number: float, share: float) -> int:
    """``share`` (0-1) of ``number``, rounded, at least 1."""
    return max(1, round(number * share))


LR_RULES = {"linear": 1.0, "sqrt": 0.5, "none": 0.0}  # power of the batch's growth


def scaled_lr(lr: float, reference_batch: int, batch: int, rule: str = "linear") -> float:
    """The learning rate for ``batch`` images a step, where ``lr`` suits ``reference_batch``.

    Args:
        rule: "linear" multiplies by batch / reference_batch (Goyal et al. 2017, for SGD), "sqrt"
            by its square root, which keeps the noise of Adam's steps (Malladi et al. 2022), "none"
            by 1.

    Raises:
        UserError: for another rule, or a batch below 1.
    """
    if rule not in LR_RULES:
        raise UserError(f"scaled_lr: {unknown_name('rule', rule, LR_RULES)}")
    for size in (reference_batch, batch):
        if not isinstance(size, int) or size < 1:
            raise UserError(f"scaled_lr: a batch is a whole number of at least 1, got {size!r}")
    return lr * (batch / reference_batch) ** LR_RULES[rule]


def warmup_cosine(
    max_iter: int, warmup_iters: int, *, warmup_factor: float = 0.001, final: float = 0.0
) -> ParamScheduler:
    """Linear warm-up from ``warmup_factor``, then half a cosine from 1 down to ``final``."""
    return _with_warmup(CosineParamScheduler(1.0, final), max_iter, warmup_iters, warmup_factor)


def warmup_multistep(
    max_iter: int,
    warmup_iters: int,
    *,
    milestones: Sequence[float] = (2 / 3, 8 / 9),
    gamma: float = 0.1,
    warmup_factor: float = 0.001,
) -> ParamScheduler:
    """Linear warm-up, then 1, falling by ``gamma`` at each milestone (shares of the run, 0-1)."""
    values = [gamma**k for k in range(len(milestones) + 1)]
    # The scheduler wants whole updates: millionths of the run are finer than any iteration.
    boundaries = [round(share * 1_000_000) for share in milestones]
    steps = MultiStepParamScheduler(values, num_updates=1_000_000, milestones=boundaries)
    return _with_warmup(steps, max_iter, warmup_iters, warmup_factor)


def warmup_polynomial(
    max_iter: int, warmup_iters: int, *, power: float = 0.9, warmup_factor: float = 0.001
) -> ParamScheduler:
    """Linear warm-up from ``warmup_factor``, then ``(1 - progress) ** power`` down to 0.

    "Poly" of DeepLab (Chen et al. 2017) with its power 0.9; a power of 1 falls in a straight line.
    """
    if power <= 0:
        raise UserError(f"the polynomial's power must be above 0, got {power}")
    decay = PolynomialDecayParamScheduler(1.0, power)
    return _with_warmup(decay, max_iter, warmup_iters, warmup_factor)


def _with_warmup(
    scheduler: ParamScheduler, max_iter: int, warmup_iters: int, factor: float
) -> ParamScheduler:
    if not 0 <= warmup_iters <= max_iter:
        raise UserError(
            f"the warm-up ({warmup_iters} iterations) must fit into the run ({max_iter} iterations)"
        )
    if warmup_iters == 0:
        return scheduler
    return WarmupParamScheduler(scheduler, factor, warmup_iters / max_iter)


OmegaConf.register_new_resolver("iterations", iterations, replace=True)
OmegaConf.register_new_resolver("part", part, replace=True)
OmegaConf.register_new_resolver("scaled_lr", scaled_lr, replace=True)
