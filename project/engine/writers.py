"""Who writes a run's numbers: the console, ``metrics.json``, TensorBoard, and trackers.

Better than Detectron2's own writers: a resumed run leaves no iteration twice, and a full disk
doesn't end a run.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from project.errors import UserError, one_line

from detectron2.utils.events import (
    CommonMetricPrinter,
    EventStorage,
    EventWriter,
    TensorboardXWriter,
    get_event_storage,
)

logger = logging.getLogger(__name__)

Records = dict[int, dict[str, float]]  # iteration → the scalars stored at it


def build_writers(
    output_dir: str | Path, max_iter: int, start_iter: int = 0, extra: Sequence[EventWriter] = ()
) -> list[EventWriter]:
    """The writers of the main process, in order: console, ``metrics.json``, TensorBoard, others.

    Args:
        output_dir: the run folder.
        max_iter: of the run, for the remaining time.
        start_iter: what earlier attempts wrote at this iteration or later is removed.
        extra: e.g. of `project.engine.trackers`.

    Raises:
        UserError: if an old ``metrics.json`` can't be read or shortened, or ``extra`` holds
            anything that doesn't write.
    """
    strangers = [type(writer).__name__ for writer in extra if not isinstance(writer, EventWriter)]
    if strangers:
        raise UserError(f"train.writers holds {', '.join(strangers)}: expected EventWriters")
    metrics = MetricsFile(Path(output_dir, "metrics.json"), start_iter)
    board = TensorBoard(output_dir, start_iter, metrics.progress.copy())
    return [CommonMetricPrinter(max_iter), metrics, board, *extra]


class Progress:
    """How far a writer has come: all before ``iteration``, and ``names`` at it.

    An iteration isn't over when it was first written: a run that is interrupted before an
    evaluation makes up for it when it resumes.
    """

    def __init__(self, iteration: int = -1, names: Iterable[str] = ()) -> None:
        self.iteration, self.names = iteration, set(names)

    def copy(self) -> Progress:
        return Progress(self.iteration, self.names)

    def news(self, scalars: Mapping[str, tuple[float, int]]) -> Records:
        """What of ``{name: (value, iteration)}`` was not yet written, by rising iteration."""
        news: Records = defaultdict(dict)
        for name, (value, when) in scalars.items():
            if when > self.iteration or (when == self.iteration and name not in self.names):
                news[when][name] = value
        return dict(sorted(news.items()))

    def note(self, news: Records) -> None:
        """Count ``news`` as written."""
        for when, record in news.items():
            if when > self.iteration:
                self.iteration, self.names = when, set()
            self.names |= set(record)


class Outage:
    """Tells once that something can't be written, and once that it can be again."""

    def __init__(self, what: str) -> None:
        self._what, self._lasts = what, False

    def begin(self, error: BaseException) -> None:
        if not self._lasts:
            reason = one_line(error)
            logger.warning("%s can't be written: %s; the run goes on", self._what, reason)
        self._lasts = True

    def end(self) -> None:
        if self._lasts:
            logger.info("%s is written again", self._what)
        self._lasts = False


class MetricsFile(EventWriter):
    """Appends a line of JSON for each iteration with new scalars, as Detectron2's JSONWriter does.

    While the file can't be written, lines wait in memory and the file keeps whole lines only.

    Args:
        file: made or continued. Half-written lines, and those of ``start_iter`` or later, are
            removed in one step.
        window_size: window of the medians, in iterations.

    Attributes:
        progress: what the file holds, waiting lines included.

    Raises:
        UserError: if an old file can't be read or shortened.
    """

    def __init__(self, file: str | Path, start_iter: int = 0, window_size: int = 20) -> None:
        self._file, self._window_size = Path(file), window_size
        records = _shorten(self._file, start_iter)
        newest = max(records, default=-1)
        self.progress = Progress(newest, records.get(newest, ()))
        self._newest = {newest: records[newest]} if records else {}  # the file's last line
        self._waiting: Records = {}
        self._outage = Outage(str(self._file))

    def write(self) -> None:
        scalars = get_event_storage().latest_with_smoothing_hint(self._window_size)
        news = self.progress.news(scalars)
        self.progress.note(news)
        for when, record in news.items():
            self._waiting[when] = self._waiting.get(when, {}) | record
        self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        # What was stored late, at the iteration of the last line, goes into that line.
        late = self._newest.keys() & self._waiting.keys()
        lines = {when: self._newest.get(when, {}) | r for when, r in self._waiting.items()}
        old = "".join(_line(when, self._newest[when]) for when in late).encode()
        new = "".join(_line(when, record) for when, record in lines.items()).encode()
        try:
            _replace_tail(self._file, old, new)
        except OSError as error:
            self._outage.begin(error)
            return
        self._outage.end()
        last = max(lines)
        self._newest, self._waiting = {last: lines[last]}, {}

    def close(self) -> None:
        self._flush()
        if self._waiting:
            logger.error("%s lacks its last %d lines", self._file, len(self._waiting))


def _line(iteration: int, record: Mapping[str, float]) -> str:
    return json.dumps({**record, "iteration": iteration}, sort_keys=True) + "\n"


def _replace_tail(file: Path, old: bytes, new: bytes) -> None:
    """Put ``new`` in the place of ``old``, the end of the file; on an error ``old`` is back."""
    with open(file, "r+b" if file.exists() else "xb", buffering=0) as stream:
        start = max(stream.seek(0, os.SEEK_END) - len(old), 0)
        stream.seek(start)
        try:
            rest = memoryview(new)
            while rest:
                rest = rest[stream.write(rest) :]
        except OSError:
            # Within what was there before, so no room is needed.
            stream.seek(start)
            stream.write(old)
            stream.truncate(start + len(old))
            raise


def _shorten(file: Path, start_iter: int) -> Records:
    """The lines before ``start_iter``; the file holds only these afterwards."""
    try:
        before = file.read_bytes() if file.exists() else b""
        records = _parse(before, start_iter)
        after = "".join(_line(when, record) for when, record in records.items()).encode()
        if after != before:
            temporary = file.with_suffix(".tmp")
            temporary.write_bytes(after)
            os.replace(temporary, file)
    except OSError as error:
        raise UserError(f"{file} can't be shortened to be continued: {one_line(error)}") from error
    return records


def _parse(content: bytes, start_iter: int) -> Records:
    records: Records = defaultdict(dict)
    for line in content.splitlines():
        try:
            record = json.loads(line)
            when = record.pop("iteration")
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # half a line: the process was killed while it wrote
        if isinstance(when, int) and when < start_iter:
            records[when] |= record
    return dict(sorted(records.items()))


class TensorBoard(EventWriter):
    """Writes for TensorBoard; what stands there of ``start_iter`` or later is hidden.

    While the folder can't be written, values are lost here; ``metrics.json`` gets them later.

    Args:
        progress: what was written before ``start_iter``.
        window_size: window of the medians, in iterations.
    """

    _FLUSH_SECONDS = 10  # TensorBoard's default of 120 is what a killed run would lose

    def __init__(
        self,
        log_dir: str | Path,
        start_iter: int = 0,
        progress: Progress | None = None,
        window_size: int = 20,
    ) -> None:
        self._log_dir, self._window_size = str(log_dir), window_size
        self._purge_step: int | None = start_iter
        self._progress = progress or Progress()
        self._inner: TensorboardXWriter | None = None  # has written something, if there is one
        self._outage = Outage(f"TensorBoard's file in {log_dir}")

    def write(self) -> None:
        scalars = get_event_storage().latest_with_smoothing_hint(self._window_size)
        news = self._progress.news(scalars)
        try:
            if self._inner is not None:
                self._inner.write()
            elif news:
                self._begin(news)
        except OSError as error:
            self._outage.begin(error)
            self.close()
            return
        if news:
            self._outage.end()
        self._progress.note(news)

    def _begin(self, news: Records) -> None:
        """Open a file with ``news``: Detectron2's writer would begin with all it finds."""
        inner = TensorboardXWriter(
            self._log_dir,
            self._window_size,
            purge_step=self._purge_step,
            flush_secs=self._FLUSH_SECONDS,
        )
        with EventStorage() as storage:
            for when, record in news.items():
                for name, value in record.items():
                    storage.put_scalar(name, value, smoothing_hint=False, cur_iter=when)
            inner.write()
        self._inner, self._purge_step = inner, None

    def close(self) -> None:
        inner, self._inner = self._inner, None
        if inner is not None:
            with contextlib.suppress(OSError):
                inner.close()
