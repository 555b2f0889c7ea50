"""A metric of the storage that is to become large or small."""

from __future__ import annotations

import logging
import math

from project.errors import UserError, unknown_name

from detectron2.utils.events import EventStorage

MODES = ("max", "min")

logger = logging.getLogger(__name__)


class Goal:
    """Which values of a metric are better than others.

    Args:
        metric: name in the storage: "segm/AP", "validation/total_loss", "segm/AP-cake", ...
        mode: "max" or "min".
        min_delta: by how much a value must be better, in the metric's unit.
    """

    def __init__(self, metric: str, mode: str = "max", min_delta: float = 0.0) -> None:
        if mode not in MODES:
            raise UserError(unknown_name("mode", mode, MODES))
        if not min_delta >= 0:
            raise UserError(f"min_delta={min_delta}: expected a number of at least 0")
        self.metric = metric
        self._sign = 1 if mode == "max" else -1
        self._min_delta = min_delta

    def is_better(self, value: float, best: float | None) -> bool:
        """Whether ``value`` beats ``best``; NaN and infinities never do, others always beat None.

        A gain of exactly ``min_delta`` isn't enough.
        """
        if not math.isfinite(value):
            return False
        return best is None or self._sign * (value - best) > self._min_delta

    def newest(self, storage: EventStorage, iteration: int) -> float | None:
        """The value stored at ``iteration``, or None; a metric never stored is warned of."""
        stored = storage.latest()
        if self.metric not in stored:
            logger.warning("%s", unknown_name("metric", self.metric, _metrics_first(stored)))
            return None
        value, when = stored[self.metric]
        return value if when == iteration else None


def _metrics_first(names) -> list[str]:
    """What evaluations store has a slash in its name; the rest of the names behind."""
    return sorted(names, key=lambda name: ("/" not in name, name))
