"""Who writes what an `EventStorage` holds; follows ``detectron2.utils.events``.

The storage itself is in `event_storage`.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
from collections import defaultdict

import torch
from fvcore.common.history_buffer import HistoryBuffer

from .event_storage import EventStorage, get_event_storage, has_event_storage
from .file_io import PathManager

__all__ = [
    "CommonMetricPrinter",
    "EventStorage",
    "EventWriter",
    "JSONWriter",
    "TensorboardXWriter",
    "get_event_storage",
    "has_event_storage",
]


class EventWriter:
    """Base of those that write what an `EventStorage` holds."""

    def write(self) -> None:
        """Write what is new in the current storage."""
        raise NotImplementedError

    def close(self) -> None:  # noqa: B027 - most writers have nothing to close
        """Release files."""


class JSONWriter(EventWriter):
    """Appends a line of JSON to a file for each iteration that has new scalars.

    Args:
        json_file: the file; made or continued.
        window_size: window of the medians, in iterations.
    """

    def __init__(self, json_file: str, window_size: int = 20) -> None:
        self._file = PathManager.open(os.fspath(json_file), "a")
        self._window_size = window_size
        self._written = -1  # the newest iteration in the file

    def write(self) -> None:
        lines: dict[int, dict[str, float]] = defaultdict(dict)
        scalars = get_event_storage().latest_with_smoothing_hint(self._window_size)
        for name, (value, when) in scalars.items():
            if when > self._written:
                lines[when][name] = value
        for when in sorted(lines):
            record = {**lines[when], "iteration": when}
            self._file.write(json.dumps(record, sort_keys=True) + "\n")
        self._written = max(lines, default=self._written)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorboardXWriter(EventWriter):
    """Writes scalars, images and histograms for TensorBoard.

    Args:
        log_dir: the folder; its event file is made at the first write.
        window_size: window of the medians, in iterations.
        **kwargs: passed to ``torch.utils.tensorboard.SummaryWriter``.
    """

    def __init__(self, log_dir: str, window_size: int = 20, **kwargs) -> None:
        self._options = {"log_dir": os.fspath(log_dir), **kwargs}
        self._window_size = window_size
        self._summary = None
        self._written = -1

    def _open(self):
        if self._summary is None:
            from torch.utils.tensorboard import SummaryWriter

            self._summary = SummaryWriter(**self._options)
        return self._summary

    def write(self) -> None:
        storage, summary = get_event_storage(), self._open()
        newest = self._written
        for name, (value, when) in storage.latest_with_smoothing_hint(self._window_size).items():
            if when > self._written:
                summary.add_scalar(name, value, when)
                newest = max(newest, when)
        self._written = newest
        for name, image, when in storage._images:
            summary.add_image(name, image, when)
        storage.clear_images()
        for histogram in storage._histograms:
            summary.add_histogram_raw(**histogram)
        storage.clear_histograms()

    def close(self) -> None:
        if self._summary is not None:
            self._summary.close()


class CommonMetricPrinter(EventWriter):
    """Logs one line: remaining time, iteration, losses, ``[metric]…``, timings, lr, GPU memory.

    Args:
        max_iter: the last iteration plus one; without it no remaining time is told.
        window_size: window of the medians, in iterations.
    """

    _ETA_SAMPLES = 1000

    def __init__(self, max_iter: int | None = None, window_size: int = 20) -> None:
        self._max_iter = max_iter
        self._window_size = window_size
        self._logger = logging.getLogger(__name__)

    def write(self) -> None:
        storage = get_event_storage()
        if storage.iter == self._max_iter:
            return  # training is over: nothing in the storage is new
        histories = storage.histories()
        parts = [*self._eta(storage, histories), f"iter: {storage.iter}"]
        parts += [
            f"{name}: {storage._smoothed(name, self._window_size):.4g}"
            for names in self._shown(histories)
            for name in names
        ]
        parts += self._timings(storage, histories)
        lr = f"{histories['lr'].latest():.5g}" if "lr" in histories else "N/A"
        line = " " + "  ".join(parts) + f"   lr: {lr}  "
        if torch.cuda.is_available():
            line += f"max_mem: {torch.cuda.max_memory_allocated() / 2**20:.0f}M"
        self._logger.info(line)

    @staticmethod
    def _shown(histories: dict[str, HistoryBuffer]) -> tuple[list[str], list[str]]:
        losses = [name for name in histories if "loss" in name]
        return losses, [name for name in histories if "[metric]" in name]

    def _eta(self, storage: EventStorage, histories: dict[str, HistoryBuffer]) -> list[str]:
        if self._max_iter is None or "time" not in histories:
            return []
        per_step = float(histories["time"].median(self._ETA_SAMPLES))
        seconds = per_step * (self._max_iter - storage.iter - 1)
        storage.put_scalar("eta_seconds", seconds, smoothing_hint=False)
        return [f"eta: {datetime.timedelta(seconds=int(seconds))}"]

    def _timings(self, storage: EventStorage, histories: dict[str, HistoryBuffer]) -> list[str]:
        parts = []
        if "time" in histories:
            times = histories["time"]
            parts += [f"time: {times.global_avg():.4f}", f"last_time: {times.latest():.4f}"]
        if "data_time" in histories:
            times = histories["data_time"]
            average = times.avg(storage.count_samples("data_time", self._window_size))
            parts += [f"data_time: {average:.4f}", f"last_data_time: {times.latest():.4f}"]
        return parts
