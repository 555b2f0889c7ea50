"""Hooks of the training loop; follows ``detectron2.engine.hooks``.

Usual order: `IterationTimer`, `LRScheduler`, `PeriodicCheckpointer` (main process only),
`EvalHook`, `BestCheckpointer`, `PeriodicWriter` (main process only, last).

Better: `BestCheckpointer` leaves ``last_checkpoint`` alone, so that a resumed run goes on from the
last checkpoint and not from the best one, and it remembers the best value over a resume.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import math
import operator
import os
import pickle
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from fvcore.common import checkpoint as fvcore_checkpoint
from fvcore.common.param_scheduler import ParamScheduler
from torch.optim.lr_scheduler import LRScheduler as _TorchScheduler

from ..evaluation.testing import flatten_results_dict
from ..utils import comm
from ..utils.events import EventWriter
from ..utils.file_io import PathManager
from .train_loop import HookBase

__all__ = [
    "BestCheckpointer",
    "EvalHook",
    "IterationTimer",
    "LRScheduler",
    "PeriodicCheckpointer",
    "PeriodicWriter",
    "TorchProfiler",
]

logger = logging.getLogger(__name__)


class IterationTimer(HookBase):
    """Writes ``time``, the seconds of each step, and logs the speed at the end.

    Register it first: its clock runs from its own ``before_step`` to its own ``after_step``.

    Args:
        warmup_iter: the first steps, which are slow, aren't counted: ``time`` starts with the
            ``warmup_iter``-th finished one.
    """

    def __init__(self, warmup_iter: int = 3) -> None:
        self._warmup_iter = warmup_iter
        self._steps = 0  # counted ones
        self._seconds = 0.0  # within them
        self._counting_since = self._step_started = time.perf_counter()

    def before_train(self) -> None:
        self._steps, self._seconds = 0, 0.0
        self._counting_since = time.perf_counter()

    def before_step(self) -> None:
        self._step_started = time.perf_counter()

    def after_step(self) -> None:
        now = time.perf_counter()
        if self.trainer.iter - self.trainer.start_iter + 1 < self._warmup_iter:
            self._counting_since = now
            return
        seconds = now - self._step_started
        self._steps += 1
        self._seconds += seconds
        self.trainer.storage.put_scalars(time=seconds)

    def after_train(self) -> None:
        if self._steps == 0:
            return
        overall = time.perf_counter() - self._counting_since
        logger.info(
            "%d iterations in %s (%.4f s/it), and %s in hooks",
            self._steps,
            datetime.timedelta(seconds=int(self._seconds)),
            self._seconds / self._steps,
            datetime.timedelta(seconds=int(max(overall - self._seconds, 0))),
        )


class PeriodicWriter(HookBase):
    """Calls writers every ``period`` iterations, after the last one, and when training ends.

    Args:
        writers: written in this order, and closed at the end.
        period: in iterations.

    Raises:
        AssertionError: if one of them is no `EventWriter`.
    """

    def __init__(self, writers: Sequence[EventWriter], period: int = 20) -> None:
        self._writers = list(writers)
        strangers = [writer for writer in self._writers if not isinstance(writer, EventWriter)]
        assert not strangers, f"expected EventWriters, got {strangers}"
        self._period = period

    def _write(self) -> None:
        for writer in self._writers:
            writer.write()

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter:
            self._write()

    def after_train(self) -> None:
        # What other hooks stored in their after_train is still new.
        self._write()
        for writer in self._writers:
            writer.close()


class PeriodicCheckpointer(fvcore_checkpoint.PeriodicCheckpointer, HookBase):
    """fvcore's PeriodicCheckpointer as a hook: ``model_0000099.pth``, ..., ``model_final.pth``."""

    def before_train(self) -> None:
        self.max_iter = self.trainer.max_iter

    def after_step(self) -> None:
        self.step(self.trainer.iter)


class LRScheduler(HookBase):
    """Steps a learning rate schedule after each iteration and writes ``lr``.

    Args:
        optimizer: default ``trainer.optimizer``.
        scheduler: a torch scheduler, or fvcore's ParamScheduler, whose values multiply the
            optimizer's rates; default ``trainer.scheduler``.
    """

    def __init__(self, optimizer: torch.optim.Optimizer | None = None, scheduler=None) -> None:
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._shown_group = 0

    @property
    def scheduler(self):
        """The scheduler in use."""
        return self._scheduler or self.trainer.scheduler

    def before_train(self) -> None:
        self._optimizer = self._optimizer or self.trainer.optimizer
        if isinstance(self.scheduler, ParamScheduler):
            from ..solver import LRMultiplier

            last = self.trainer.iter - 1  # -1 for a fresh start
            self._scheduler = LRMultiplier(
                self._optimizer, self.scheduler, self.trainer.max_iter, last_iter=last
            )
        self._shown_group = self.get_best_param_group_id(self._optimizer)

    @staticmethod
    def get_best_param_group_id(optimizer: torch.optim.Optimizer) -> int:
        """Index of the group whose rate is worth showing.

        The largest one; if all have one parameter, the first with the most common rate.
        """
        groups = optimizer.param_groups
        sizes = [len(group["params"]) for group in groups]
        if max(sizes) > 1:
            return sizes.index(max(sizes))
        rates = [float(group["lr"]) for group in groups]
        return rates.index(Counter(rates).most_common(1)[0][0])

    def after_step(self) -> None:
        rate = self._optimizer.param_groups[self._shown_group]["lr"]
        self.trainer.storage.put_scalar("lr", rate, smoothing_hint=False)
        self.scheduler.step()

    def state_dict(self) -> dict:
        is_torch = isinstance(self.scheduler, _TorchScheduler)
        return self.scheduler.state_dict() if is_torch else {}

    def load_state_dict(self, state_dict: dict) -> None:
        # A ParamScheduler has no state: before_train makes it continue at trainer.iter.
        if isinstance(self.scheduler, _TorchScheduler):
            self.scheduler.load_state_dict(state_dict)


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


class TorchProfiler(HookBase):
    """Profiles single steps: shapes, memory, stacks, flops.

    Args:
        enable_predicate: takes the trainer; true for the steps to profile.
        output_dir: gets ``log/profiler-tensorboard-iter<N>/`` or ``profiler-trace-iter<N>.json``.
        activities: of ``torch.profiler``; default CPU, and CUDA where present.
        save_tensorboard: write for TensorBoard's profiler plugin instead of a Chrome trace.
    """

    def __init__(
        self,
        enable_predicate: Callable[[Any], bool],
        output_dir: str,
        *,
        activities=None,
        save_tensorboard: bool = True,
    ) -> None:
        self._is_enabled = enable_predicate
        self._output_dir = output_dir
        self._activities = activities
        self._save_tensorboard = save_tensorboard
        self._profiler = None

    def before_step(self) -> None:
        if self._is_enabled(self.trainer):
            details = ("record_shapes", "profile_memory", "with_stack", "with_flops")
            self._profiler = torch.profiler.profile(
                activities=self._activities,
                on_trace_ready=self._save,
                **dict.fromkeys(details, True),
            )
            self._profiler.start()

    def after_step(self) -> None:
        if self._profiler is not None:
            self._profiler.stop()
            self._profiler = None

    def _save(self, profiler: torch.profiler.profile) -> None:
        step = self.trainer.iter
        if self._save_tensorboard:
            folder = os.path.join(self._output_dir, "log", f"profiler-tensorboard-iter{step}")
            torch.profiler.tensorboard_trace_handler(folder)(profiler)
        else:
            PathManager.mkdirs(self._output_dir)
            name = f"profiler-trace-iter{step}.json"
            profiler.export_chrome_trace(os.path.join(self._output_dir, name))


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
