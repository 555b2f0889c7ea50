"""Hooks of the training loop; follows ``detectron2.engine.hooks``.

Usual order: `IterationTimer`, `LRScheduler`, `PeriodicCheckpointer` (main process only),
`EvalHook`, `BestCheckpointer`, `PeriodicWriter` (main process only, last).
"""

from __future__ import annotations

import datetime
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from fvcore.common import checkpoint as fvcore_checkpoint
from fvcore.common.param_scheduler import ParamScheduler
from torch.optim.lr_scheduler import LRScheduler as _TorchScheduler

from ..utils.events import EventWriter
from ..utils.file_io import PathManager
from .evaluation_hooks import BestCheckpointer, EvalHook
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
