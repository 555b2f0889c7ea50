"""The end of a run that no longer gets better."""

from __future__ import annotations

import logging

from project.engine.checks import check_whole
from project.engine.hooks.goal import Goal
from project.engine.hooks.moments import is_due

from detectron2.engine import HookBase
from detectron2.utils import comm

logger = logging.getLogger(__name__)


class EarlyStopping(HookBase):
    """Stops the run after ``patience`` evaluations in a row without a new best value.

    All ranks go by the value of rank 0, which alone evaluates, so they stop together. Best value
    and patience are in the checkpoints: a resumed run stops where the unbroken one does.

    Args:
        metric: its name in the storage, e.g. "segm/AP" or "validation/total_loss".
        period: iterations between its values: ``train.eval_period``; 0 never stops.
        patience: evaluations. One whose value is NaN counts as no better; one that didn't store the
            metric doesn't count.
        min_delta: how much more than the best a value must be to count as better.
        mode: "max" or "min".
    """

    stage = "evaluation"

    def __init__(
        self,
        metric: str,
        *,
        period: int,
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "max",
    ) -> None:
        check_whole("early stopping's period", period, 0)
        check_whole("early stopping's patience", patience, 1)
        self._goal = Goal(metric, mode, min_delta)
        self._period, self._patience = period, patience
        self._best: float | None = None
        self._best_iteration = -1
        self._waited = 0  # evaluations since the best one

    def after_step(self) -> None:
        if is_due(self.trainer, self._period):
            value = None
            if comm.is_main_process():
                value = self._goal.newest(self.trainer.storage, self.trainer.iter)
            value = comm.all_gather(value)[0]
            if value is not None:
                self._take(value)

    def _take(self, value: float) -> None:
        if self._goal.is_better(value, self._best):
            self._best, self._best_iteration, self._waited = value, self.trainer.iter, 0
            return
        self._waited += 1
        if self._waited >= self._patience:
            self.trainer.stop(self._reason())

    def _reason(self) -> str:
        times = f"{self._waited} evaluation{'' if self._waited == 1 else 's'}"
        if self._best is None:
            return f"{self._goal.metric} had no finite value in {times}"
        return (
            f"{self._goal.metric} was not better in {times} than {self._best:.4f} at iteration "
            f"{self._best_iteration}"
        )

    def state_dict(self) -> dict:
        return {
            "best": self._best,
            "best_iteration": self._best_iteration,
            "waited": self._waited,
        }

    def load_state_dict(self, state_dict: dict) -> None:
        self._best = state_dict["best"]
        self._best_iteration = state_dict["best_iteration"]
        self._waited = state_dict["waited"]
