"""The best model of a run, beside its newest."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from project.engine.checkpoints import is_full
from project.engine.checks import check_whole
from project.engine.hooks.goal import Goal
from project.engine.hooks.moments import has_finished, is_due

from detectron2.checkpoint import Checkpointer
from detectron2.engine import HookBase
from detectron2.utils import comm

logger = logging.getLogger(__name__)


class BestCheckpoint(HookBase):
    """Saves ``<file_prefix>.pth`` when a metric gets better than ever.

    Like `detectron2.engine.hooks.BestCheckpointer`, with two differences: the best value is in the
    run's checkpoints, so that a resumed run compares with it and not with values of the lost part;
    and ``last_checkpoint`` still names the newest checkpoint. The file holds the value as
    ``best_metric`` and the metric's name as ``val_metric``. A full disk doesn't end the run.

    Args:
        metric: its name in the storage, e.g. "segm/AP" or "validation/total_loss".
        period: iterations between its values: ``train.eval_period``. It is looked at after the last
            iteration too; with 0, only there.
        mode: "max" or "min".
        file_prefix: name of the file, without ending.
    """

    stage = "evaluation"

    def __init__(
        self, metric: str, *, period: int, mode: str = "max", file_prefix: str = "model_best"
    ) -> None:
        check_whole("best checkpoint's period", period, 0)
        self._goal = Goal(metric, mode)
        self._period, self._file_prefix = period, file_prefix
        self._best: float | None = None
        self._best_iteration = -1

    def after_step(self) -> None:
        if is_due(self.trainer, self._period):
            self._compare()

    def after_train(self) -> None:
        if has_finished(self.trainer):
            self._compare()

    def _compare(self) -> None:
        if not comm.is_main_process():
            return
        value = self._goal.newest(self.trainer.storage, self.trainer.iter)
        if value is None:
            return
        if not self._goal.is_better(value, self._best):
            if self._best is not None:
                shown = self._goal.metric, value, self._best, self._best_iteration
                logger.info("%s is %.4f; the best was %.4f at iteration %d", *shown)
            return
        logger.info("%s is %.4f, the best so far", self._goal.metric, value)
        before = self._best, self._best_iteration
        self._best, self._best_iteration = value, self.trainer.iter  # the file holds it too
        if not self._save(value):
            self._best, self._best_iteration = before

    def _save(self, value: float) -> bool:
        """Write the file; False, and an error in the log, where the disk is full."""
        checkpointer = self.trainer.run.checkpointer
        try:
            with _pointer_kept(checkpointer):
                checkpointer.save(
                    self._file_prefix,
                    iteration=self.trainer.iter,
                    best_metric=value,
                    val_metric=self._goal.metric,
                )
        except (OSError, RuntimeError) as error:
            if not is_full(error):
                raise
            logger.error("no room for %s.pth: the best model isn't kept", self._file_prefix)
            return False
        return True

    def state_dict(self) -> dict:
        if self._best is None:
            return {}
        return {"best": self._best, "best_iteration": self._best_iteration}

    def load_state_dict(self, state_dict: dict) -> None:
        self._best = state_dict["best"]
        self._best_iteration = state_dict["best_iteration"]


@contextlib.contextmanager
def _pointer_kept(checkpointer: Checkpointer) -> Iterator[None]:
    """Saves inside leave ``last_checkpoint`` alone: a resumed run goes on from the newest."""
    checkpointer.tag_last_checkpoint = _leave  # hides the method of the class
    try:
        yield
    finally:
        del checkpointer.tag_last_checkpoint


def _leave(last_filename_basename: str) -> None:
    """In the place of ``Checkpointer.tag_last_checkpoint``: does nothing."""
