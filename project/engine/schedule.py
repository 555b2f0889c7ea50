"""Lengths and learning rates of a run, tied together so that one override moves them all.

Two OmegaConf resolvers serve the configs:

* ``${iterations:EPOCHS,BATCH,SUBSET,SPLIT,ROOT,FILTER_EMPTY}``: the iterations that so many passes
  over a training split take, ``ceil(epochs * images / batch)``;
* ``${part:NUMBER,SHARE}``: ``max(1, round(number * share))``, e.g. a tenth of the run for warm-up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from project.data.catalog import num_images
from project.errors import UserError

from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import (
    CosineParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
)
from omegaconf import OmegaConf


def iterations(
    epochs: float,
    batch_size: int,
    subset: str,
    split: str,
    root: str | None = None,
    filter_empty: bool = True,
) -> int:
    """Iterations of ``epochs`` passes over a split, or over its images with objects alone."""
    if epochs is None or epochs <= 0:
        raise UserError(f"train.epochs must be a number above 0, got {epochs}")
    if batch_size < 1:
        raise UserError(f"the batch must hold at least 1 image, got {batch_size}")
    return math.ceil(epochs * num_images(subset, split, root, filter_empty) / batch_size)


def part(number: float, share: float) -> int:
    """``share`` (0-1) of ``number``, rounded, at least 1."""
    return max(1, round(number * share))


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
