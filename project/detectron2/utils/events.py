"""Numbers and pictures of a run, and who writes them; follows ``detectron2.utils.events``.

Better: a scalar may be a tensor on a device. It stays there, without a wait for the device, until
somebody reads; then all waiting ones come over in one transfer. `EventStorage.name_scope` is undone
when its body raises.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterator

import torch
from fvcore.common.history_buffer import HistoryBuffer

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

_storages: list[EventStorage] = []


def get_event_storage() -> EventStorage:
    """The innermost open `EventStorage`.

    Raises:
        AssertionError: outside a ``with EventStorage(...)``.
    """
    assert _storages, "no EventStorage is open: wrap the code in `with EventStorage(...):`"
    return _storages[-1]


def has_event_storage() -> bool:
    """Whether an `EventStorage` is open."""
    return bool(_storages)


class EventStorage:
    """Histories of named scalars, and the images and histograms that wait for a writer.

    A context manager; the innermost open one is found by `get_event_storage`.

    Args:
        start_iter: the first iteration.
    """

    _MAX_WAITING = 4096  # device scalars held at once, should nobody read them

    def __init__(self, start_iter: int = 0) -> None:
        self.iter = start_iter
        self._prefix = ""
        self._histories: dict[str, HistoryBuffer] = defaultdict(HistoryBuffer)
        self._latest: dict[str, tuple[float, int]] = {}
        self._hints: dict[str, bool] = {}
        self._waiting: list[tuple[str, float | torch.Tensor, int]] = []
        self._images: list[tuple[str, object, int]] = []
        self._histograms: list[dict] = []

    def __enter__(self) -> EventStorage:
        _storages.append(self)
        return self

    def __exit__(self, *exc_info) -> None:
        closed = _storages.pop()
        assert closed is self, "EventStorages must close in reverse order of opening"

    @property
    def iteration(self) -> int:
        """The same as ``iter``."""
        return self.iter

    def step(self) -> None:
        """Go to the next iteration."""
        self.iter += 1

    @contextlib.contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Put ``name/`` before the names of everything stored inside."""
        outer = self._prefix
        self._prefix = name.rstrip("/") + "/"
        try:
            yield
        finally:
            self._prefix = outer

    def put_scalar(
        self,
        name: str,
        value: float | torch.Tensor,
        smoothing_hint: bool = True,
        cur_iter: int | None = None,
    ) -> None:
        """Append to the history of ``name``.

        Args:
            name: the scalar; the current `name_scope` is put before it.
            value: a number or a tensor of one element; one on a device isn't waited for.
            smoothing_hint: whether writers show a median (noisy values) or the last value.
            cur_iter: the iteration it belongs to; default the current one.

        Raises:
            AssertionError: if ``name`` is known with another ``smoothing_hint``.
        """
        name = self._prefix + name
        known = self._hints.setdefault(name, smoothing_hint)
        assert known == smoothing_hint, f"{name!r} was stored with smoothing_hint={known} before"
        when = self.iter if cur_iter is None else cur_iter
        if isinstance(value, torch.Tensor):
            value = value.detach()
        if isinstance(value, torch.Tensor) and value.device.type != "cpu":
            # A copy: the caller may go on to change the tensor in place.
            value = value.reshape(()).clone()
        else:
            value = float(value)
            if not self._waiting:
                self._append(name, value, when)
                return
        # Numbers queue up behind waiting tensors too, so that histories keep their order.
        self._waiting.append((name, value, when))
        if len(self._waiting) >= self._MAX_WAITING:
            self._settle()

    def put_scalars(
        self, *, smoothing_hint: bool = True, cur_iter: int | None = None, **kwargs
    ) -> None:
        """`put_scalar` for each keyword argument."""
        for name, value in kwargs.items():
            self.put_scalar(name, value, smoothing_hint=smoothing_hint, cur_iter=cur_iter)

    def _append(self, name: str, value: float, when: int) -> None:
        self._histories[name].update(value, when)
        self._latest[name] = (value, when)

    def _settle(self) -> None:
        """Fetch the scalars that wait on devices, one transfer per device."""
        waiting, self._waiting = self._waiting, []
        places = defaultdict(list)
        for i, (_, value, _) in enumerate(waiting):
            if isinstance(value, torch.Tensor):
                places[value.device].append(i)
        fetched = {}
        for indices in places.values():
            values = torch.stack([waiting[i][1].float() for i in indices]).tolist()
            fetched.update(zip(indices, values, strict=True))
        for i, (name, value, when) in enumerate(waiting):
            self._append(name, fetched.get(i, value), when)

    def history(self, name: str) -> HistoryBuffer:
        """The scalar's (value, iteration) history.

        Raises:
            KeyError: if nothing was stored under ``name``.
        """
        histories = self.histories()
        if name not in histories:
            raise KeyError(f"no scalar {name!r} was stored (stored: {', '.join(histories)})")
        return histories[name]

    def histories(self) -> dict[str, HistoryBuffer]:
        """All histories by name."""
        self._settle()
        return dict(self._histories)

    def latest(self) -> dict[str, tuple[float, int]]:
        """The newest (value, iteration) of each scalar."""
        self._settle()
        return dict(self._latest)

    def latest_with_smoothing_hint(self, window_size: int = 20) -> dict[str, tuple[float, int]]:
        """Like `latest`, but the median over the last iterations where smoothing is wanted.

        Args:
            window_size: length of the window in iterations, not in samples.
        """
        return {
            name: (self._smoothed(name, window_size) if self._hints[name] else value, when)
            for name, (value, when) in self.latest().items()
        }

    def _smoothed(self, name: str, window_size: int) -> float:
        return float(self._histories[name].median(self.count_samples(name, window_size)))

    def count_samples(self, name: str, window_size: int = 20) -> int:
        """Samples of ``name`` in the last ``window_size`` iterations before its newest one."""
        samples = self.history(name).values()
        oldest = samples[-1][1] - window_size
        count = 0
        for _, when in reversed(samples):
            if when <= oldest:
                break
            count += 1
        return count

    def put_image(self, img_name: str, img_tensor) -> None:
        """Keep an image for the writers.

        Args:
            img_name: its name.
            img_tensor: [C, H, W], float in 0..1 or uint8; RGB.
        """
        self._images.append((self._prefix + img_name, img_tensor, self.iter))

    def put_histogram(self, hist_name: str, hist_tensor: torch.Tensor, bins: int = 1000) -> None:
        """Keep the distribution of a tensor's values for the writers."""
        values = hist_tensor.detach().float().reshape(-1)
        low, high = values.min().item(), values.max().item()
        counts = torch.histc(values, bins=bins, min=low, max=high)
        edges = torch.linspace(low, high, steps=bins + 1, dtype=torch.float32)
        self._histograms.append(
            {
                "tag": self._prefix + hist_name,
                "min": low,
                "max": high,
                "num": values.numel(),
                "sum": float(values.sum()),
                "sum_squares": float(values.square().sum()),
                "bucket_limits": edges[1:].tolist(),
                "bucket_counts": counts.tolist(),
                "global_step": self.iter,
            }
        )

    def clear_images(self) -> None:
        """Forget the kept images: a writer calls it after writing them."""
        self._images = []

    def clear_histograms(self) -> None:
        """Forget the kept histograms: a writer calls it after writing them."""
        self._histograms = []


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
