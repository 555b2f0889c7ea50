"""Hooks that evaluate and keep the best model; part of ``detectron2.engine.hooks``.

Better: `BestCheckpointer` leaves ``last_checkpoint`` alone, so that a resumed run goes on from the
last checkpoint and not from the best one, and it remembers the best value over a resume.
"""

from __future__ import annotations

import contextlib
import logging
import math
import operator
import os
import pickle
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from fvcore.common import checkpoint as fvcore_checkpoint

from ..evaluation.testing import flatten_results_dict
from ..utils import comm
from .train_loop import HookBase

__all__ = ["BestCheckpointer", "EvalHook"]

logger = logging.getLogger(__name__)


class EvalHook(HookBase):
    """Evaluates every ``eval_period`` iterations and after a finished training.

    Every process must register it. The results are stored flattened ("bbox/AP"), unsmoothed.

    Args:
        eval_period: in iterations; 0 evaluates at the end only.
        eval_function: no arguments, gives a nested dict of numbers (or nothing).
        eval_after_train: whether to evaluate at the end.

    Raises:
        AssertionError: if the function gives something that is no dict.
        ValueError: if a value is no number.
    """

    def __init__(
        self, eval_period: int, eval_function: Callable[[], Any], eval_after_train: bool = True
    ) -> None:
        self._period = eval_period
        self._func = eval_function
        self._eval_after_train = eval_after_train

    def _evaluate(self) -> None:
        results = self._func()
        if results:
            assert isinstance(results, dict), f"eval_function must give a dict, got {results!r}"
            for name, value in flatten_results_dict(results).items():
                self.trainer.storage.put_scalar(name, _number(name, value), smoothing_hint=False)
        comm.synchronize()  # others wait here, not in their next step's exchange

    def after_step(self) -> None:
        if _is_due(self.trainer, self._period):
            self._evaluate()

    def after_train(self) -> None:
        # Not after an exception that came earlier.
        if self._eval_after_train and self.trainer.iter + 1 >= self.trainer.max_iter:
            self._evaluate()
        self._func = None  # it often holds the trainer


class BestCheckpointer(HookBase):
    """Saves a checkpoint when a metric gets strictly better; register it after `EvalHook`.

    Args:
        eval_period: that of the `EvalHook`.
        checkpointer: saves the file; ``last_checkpoint`` isn't changed.
        val_metric: flattened name, e.g. "bbox/AP".
        mode: "max" or "min".
        file_prefix: name of the file, without ``.pth``. It holds the value as ``best_metric``,
            from which a resumed run goes on.
    """

    def __init__(
        self,
        eval_period: int,
        checkpointer: fvcore_checkpoint.Checkpointer,
        val_metric: str,
        mode: Literal["max", "min"] = "max",
        file_prefix: str = "model_best",
    ) -> None:
        better = {"max": operator.gt, "min": operator.lt}
        assert mode in better, f"mode must be 'max' or 'min', got {mode!r}"
        self._period = eval_period
        self._checkpointer = checkpointer
        self._metric = val_metric
        self._is_better = better[mode]
        self._file_prefix = file_prefix
        self._best: tuple[float, int] | None = None  # value, iteration

    def before_train(self) -> None:
        path = os.path.join(self._checkpointer.save_dir, f"{self._file_prefix}.pth")
        if self.trainer.start_iter > 0 and os.path.isfile(path):
            self._best = self._best_of(path)

    def _best_of(self, path: str) -> tuple[float, int] | None:
        """Value and iteration in a file that this hook saved; None if it can't be told."""
        try:  # mapped, not read: the weights aren't wanted
            saved = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        except (pickle.UnpicklingError, RuntimeError):
            saved = {}
        if saved.get("val_metric") == self._metric:
            return saved["best_metric"], saved["iteration"]
        logger.warning("%s doesn't tell its %r: the next value counts as best", path, self._metric)
        return None

    def _compare(self) -> None:
        latest = self.trainer.storage.latest().get(self._metric)
        if latest is None:
            logger.warning("No metric %r was stored: no best checkpoint is kept", self._metric)
            return
        value, when = latest
        if not math.isfinite(value):
            return
        if self._best is not None and not self._is_better(value, self._best[0]):
            logger.info("%s: %.5f, best is %.5f at iteration %d", self._metric, value, *self._best)
            return
        logger.info("%s: %.5f is the best so far", self._metric, value)
        self._best = (value, when)
        with _untagged(self._checkpointer):
            self._checkpointer.save(
                self._file_prefix,
                iteration=self.trainer.iter,
                best_metric=value,
                val_metric=self._metric,
            )

    def after_step(self) -> None:
        if _is_due(self.trainer, self._period):
            self._compare()

    def after_train(self) -> None:
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self._compare()


def _is_due(trainer, period: int) -> bool:
    """Whether a step with an evaluation just ended; the one after the last step comes later."""
    done = trainer.iter + 1
    return period > 0 and done % period == 0 and done != trainer.max_iter


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"evaluation gave {value!r} for {name!r}, expected a number") from error


@contextlib.contextmanager
def _untagged(checkpointer: fvcore_checkpoint.Checkpointer) -> Iterator[None]:
    """Saves inside leave ``last_checkpoint`` as it is."""
    checkpointer.tag_last_checkpoint = lambda basename: None
    try:
        yield
    finally:
        del checkpointer.tag_last_checkpoint  # the class's method shows again
