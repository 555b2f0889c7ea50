"""Loggers of a run; follows the API of ``detectron2.utils.logger``.

Better: setting the same logger up twice never prints a line twice, whatever the arguments; the
handler writes to the standard output of the moment (so redirection and pytest's capture work).
"""

from __future__ import annotations

import collections
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence

from tabulate import tabulate

from .file_io import PathManager

__all__ = [
    "create_small_table",
    "log_every_n",
    "log_every_n_seconds",
    "log_first_n",
    "setup_logger",
]

_ABBREVIATIONS = {"detectron2": "d2"}
_COLORS = {logging.WARNING: "red", logging.ERROR: "red", logging.CRITICAL: "red"}


class _StdoutHandler(logging.StreamHandler):
    """Writes to whatever ``sys.stdout`` is when a record comes."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self):
        return sys.stdout


class _Formatter(logging.Formatter):
    """``[11/21 07:43:00 d2.utils.events]: text``; a level above INFO is named, in colour if asked.

    Args:
        root: the logger's name, which ``abbreviation`` replaces at the front of a record's name.
    """

    def __init__(self, root: str, abbreviation: str, color: bool) -> None:
        super().__init__(datefmt="%m/%d %H:%M:%S")
        self._root, self._abbreviation, self._color = root, abbreviation, color

    def _paint(self, text: str, color: str, **kwargs) -> str:
        if not self._color:
            return text
        from termcolor import colored

        return colored(text, color, **kwargs)

    def format(self, record: logging.LogRecord) -> str:
        name = record.name
        if name == self._root or name.startswith(self._root + "."):
            name = (self._abbreviation + name[len(self._root) :]).lstrip(".")
        head = f"[{self.formatTime(record, self.datefmt)}{' ' if name else ''}{name}]:"
        text = self._paint(head, "green")
        if record.levelno != logging.INFO:
            color = _COLORS.get(record.levelno)
            text += " " + (
                self._paint(record.levelname, color, attrs=["bold"]) if color else record.levelname
            )
        text += " " + record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        if record.stack_info:
            text += "\n" + self.formatStack(record.stack_info)
        return text


def setup_logger(
    output: str | None = None,
    distributed_rank: int = 0,
    *,
    color: bool = True,
    name: str = "detectron2",
    abbrev_name: str | None = None,
    enable_propagation: bool = False,
    configure_stdout: bool = True,
) -> logging.Logger:
    """The logger ``name`` at level DEBUG, writing to standard output (rank 0) and to a file.

    Repeating a call adds nothing; another ``output`` adds that file.

    Args:
        output: a file ending with .txt or .log, or a folder, which gets a ``log.txt``; ranks above
            0 append ``.rank<r>``. None writes no file.
        distributed_rank: rank of this process.
        color: colour the standard output (files stay plain).
        name: the logger to set up; its descendants inherit.
        abbrev_name: stands for ``name`` in the lines; default "d2" for "detectron2".
        enable_propagation: hand records to the root logger too.
        configure_stdout: False leaves standard output alone.
    """
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    logger.propagate = enable_propagation
    short = _ABBREVIATIONS.get(name, name) if abbrev_name is None else abbrev_name
    ours = {getattr(handler, "_setup_key", None) for handler in logger.handlers}

    def attach(key: str, make_handler, colored: bool) -> None:
        if key in ours:
            return
        handler = make_handler()
        handler._setup_key = key
        handler.setLevel(logging.DEBUG)
        handler.setFormatter(_Formatter(name, short, colored))
        logger.addHandler(handler)

    if configure_stdout and distributed_rank == 0:
        attach("stdout", _StdoutHandler, color)
    if output is not None:
        file = _log_file(os.fspath(output), distributed_rank)
        attach(os.path.abspath(file), lambda: _file_handler(file), False)
    return logger


def _log_file(output: str, rank: int) -> str:
    file = output if output.endswith((".txt", ".log")) else os.path.join(output, "log.txt")
    return file if rank == 0 else f"{file}.rank{rank}"


def _file_handler(file: str) -> logging.Handler:
    PathManager.mkdirs(os.path.dirname(file) or ".")
    return logging.StreamHandler(PathManager.open(file, "a", encoding="utf-8"))


# ---------------------------------------------------------------------------------------------
# Messages that would come too often

_seen: collections.Counter = collections.Counter()
_last_time: dict[tuple, float] = {}


def _call_site() -> tuple[str, int, str]:
    """(file, line, logger name) of the code that called the log function calling this."""
    frame = sys._getframe(2)
    name = frame.f_globals.get("__name__", "detectron2")
    return frame.f_code.co_filename, frame.f_lineno, "detectron2" if name == "__main__" else name


def log_first_n(
    lvl: int,
    msg: str,
    n: int = 1,
    *,
    name: str | None = None,
    key: str | Sequence[str] = "caller",
) -> None:
    """Log the first ``n`` times only.

    Args:
        lvl: level, as in `logging.log`.
        msg: the text.
        n: how often.
        name: the logger; default that of the caller's module.
        key: what counts as the same: "caller" (the line of code), "message", or both.
    """
    keys = {key} if isinstance(key, str) else set(key)
    known = keys <= {"caller", "message"}
    assert known, f"key: expected 'caller', 'message' or both, got {key!r}"
    site = _call_site()
    identity = (site if "caller" in keys else None, msg if "message" in keys else None)
    _seen[identity] += 1
    if _seen[identity] <= n:
        logging.getLogger(name or site[2]).log(lvl, msg, stacklevel=2)


def log_every_n(lvl: int, msg: str, n: int = 1, *, name: str | None = None) -> None:
    """Log the first call of a line of code and each ``n``-th after it."""
    site = _call_site()
    identity = ("every", site)
    _seen[identity] += 1
    if n == 1 or _seen[identity] % n == 1:
        logging.getLogger(name or site[2]).log(lvl, msg, stacklevel=2)


def log_every_n_seconds(lvl: int, msg: str, n: float = 1, *, name: str | None = None) -> None:
    """Log unless the same line of code did so less than ``n`` seconds ago."""
    site = _call_site()
    now = time.monotonic()
    if now - _last_time.get(site, float("-inf")) >= n:
        _last_time[site] = now
        logging.getLogger(name or site[2]).log(lvl, msg, stacklevel=2)


def create_small_table(small_dict: Mapping) -> str:
    """A text table of one row under the dict's keys; numbers get three decimals."""
    return tabulate(
        [list(small_dict.values())],
        headers=list(small_dict.keys()),
        tablefmt="pipe",
        floatfmt=".3f",
        stralign="center",
        numalign="center",
    )
