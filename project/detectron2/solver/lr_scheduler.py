"""Learning rate as a function of training progress (API of ``detectron2.solver.lr_scheduler``).

Better than upstream: a warm-up that doesn't fit into the training, and a training of no iterations,
are told instead of giving odd rates or a division by zero.
"""

from __future__ import annotations

from typing import Literal

from fvcore.common.param_scheduler import ParamScheduler
from torch.optim.lr_scheduler import LRScheduler

__all__ = ["LRMultiplier", "LRScheduler", "WarmupParamScheduler"]


class WarmupParamScheduler(ParamScheduler):
    """``scheduler`` behind a warm-up over the first ``warmup_length`` of training.

    The warm-up starts at ``warmup_factor * scheduler(0)``. ``"constant"`` stays there; ``"linear"``
    climbs to the value that `scheduler` has where it takes over, so there is no jump.

    Args:
        scheduler: maps progress 0..1 to a multiplier.
        warmup_factor: start value, as a fraction of ``scheduler(0)``.
        warmup_length: fraction of training, 0..1.
        warmup_method: ``"linear"`` or ``"constant"``.
        rescale_interval: squeeze all of `scheduler` into what is left after the warm-up; otherwise
            the warm-up hides its beginning.

    Raises:
        ValueError: for another `warmup_method`, or a `warmup_length` outside 0..1.
    """

    def __init__(
        self,
        scheduler: ParamScheduler,
        warmup_factor: float,
        warmup_length: float,
        warmup_method: Literal["linear", "constant"] = "linear",
        rescale_interval: bool = False,
    ):
        if warmup_method not in ("linear", "constant"):
            raise ValueError(f"warmup_method must be 'linear' or 'constant', got {warmup_method!r}")
        if not 0 <= warmup_length <= 1:
            raise ValueError(
                f"warmup_length is a fraction of training, 0..1, got {warmup_length}; "
                f"is the warm-up longer than the training?"
            )
        self._scheduler, self._length, self._rescale = scheduler, warmup_length, rescale_interval
        self._start = self._end = warmup_factor * scheduler(0.0)
        if warmup_method == "linear":
            self._end = scheduler(0.0 if rescale_interval else warmup_length)

    def __call__(self, where: float) -> float:
        # The tolerance keeps iteration 100 of 1000 out of a warm-up of 0.1 whatever the rounding.
        if where + self.WHERE_EPSILON <= self._length:
            return self._start + (self._end - self._start) * where / self._length
        if self._rescale and self._length < 1:
            where = (where - self._length) / (1 - self._length)
        return self._scheduler(min(max(where, 0.0), 1.0))


class LRMultiplier(LRScheduler):
    """Each group's base learning rate times ``multiplier(iteration / max_iter)``.

    Only ``base_lrs`` and ``last_epoch`` (the iteration) are its state: the multiplier comes from
    the config, so a resumed run may change it. After the last step progress is exactly 1.

    Args:
        optimizer: its groups hold the base rates, in ``initial_lr`` when resuming.
        multiplier: maps progress 0..1 to a factor.
        max_iter: iterations of the whole training.
        last_iter: the last finished iteration; -1 before the first one.

    Raises:
        ValueError: if `multiplier` is no fvcore ``ParamScheduler``, or `max_iter` is below 1.
    """

    def __init__(self, optimizer, multiplier: ParamScheduler, max_iter: int, last_iter: int = -1):
        if not isinstance(multiplier, ParamScheduler):
            raise ValueError(
                f"multiplier must be an fvcore ParamScheduler, got {type(multiplier).__name__}"
            )
        if max_iter < 1:
            raise ValueError(f"max_iter must be at least 1 iteration, got {max_iter}")
        self._multiplier, self._max_iter = multiplier, max_iter
        super().__init__(optimizer, last_epoch=last_iter)  # makes the first step

    def state_dict(self) -> dict:
        return {"base_lrs": self.base_lrs, "last_epoch": self.last_epoch}

    def get_lr(self) -> list[float]:
        factor = self._multiplier(self.last_epoch / self._max_iter)
        return [base_lr * factor for base_lr in self.base_lrs]
