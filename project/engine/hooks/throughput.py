"""How many images a second a run takes in."""

from __future__ import annotations

import time

from project.engine.checks import check_whole

from detectron2.engine import HookBase
from detectron2.utils import comm


class Throughput(HookBase):
    """Stores ``images_per_second``: images of all ranks over the time of the steps they took.

    The time is that of loading, forward, backward and update, and of hooks before this one;
    checkpoints, evaluations and writers stand after it and don't count. On a GPU the host runs
    ahead of the device within a period, so take one in which losses are read.

    Args:
        period: iterations over which is averaged.
    """

    stage = "step"

    def __init__(self, period: int = 20) -> None:
        check_whole("throughput's period", period, 1)
        self._period = period
        self._images, self._seconds = 0, 0.0
        self._started = time.perf_counter()

    def before_step(self) -> None:
        self._started = time.perf_counter()

    def after_step(self) -> None:
        self._seconds += time.perf_counter() - self._started
        # Batches split evenly over the ranks.
        self._images += len(self.trainer.last_batch) * comm.get_world_size()
        if (self.trainer.iter + 1) % self._period == 0:
            rate = self._images / max(self._seconds, 1e-9)
            self.trainer.storage.put_scalar("images_per_second", rate, smoothing_hint=False)
            self._images, self._seconds = 0, 0.0
