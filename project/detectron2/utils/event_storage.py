"""Numbers and pictures of a run, until a writer takes them; part of ``detectron2.utils.events``.

Better: a scalar may be a tensor on a device. It stays there, without a wait for the device, until
somebody reads; then all waiting ones come over in one transfer. `EventStorage.name_scope` is undone
when its body raises.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator

import torch
from fvcore.common.history_buffer import HistoryBuffer

__all__ = ["EventStorage", "get_event_storage", "has_event_storage"]

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
