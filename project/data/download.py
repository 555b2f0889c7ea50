"""Files over HTTP that survive cut connections: part files, ranges, retries, a polite pace.

Standard library only. A file appears under its name once it is complete and checked; until then its
beginning stands beside it as ``<name>.part`` and the next try, or the next run, goes on from there.
"""

from __future__ import annotations

import http.client
import random
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from project.errors import UserError

USER_AGENT = "project-coco-subset (https://cocodataset.org users; one subset)"
_CHUNK = 1 << 16
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # worth another try
_MAX_FAILED = 10  # files that may fail before the server is taken for broken
_GROWTH = 1 << 18  # bytes; a try that brings less than this counts as failed in full
_LONGEST_REQUESTED_WAIT = 120.0  # seconds of a Retry-After header


@dataclass(frozen=True)
class Policy:
    """How hard to try, and how much to ask of a server.

    Attributes:
        connections: files at a time.
        rate: requests a second, over all connections.
        timeout: seconds of silence after which a connection counts as dead.
        attempts: tries in a row that bring (next to) nothing before a file is given up.
        wait, longest_wait: seconds before the second try, which double up to the longest; half of
            each wait is random, so that many clients don't come back at once.
    """

    connections: int = 8
    rate: float = 20.0
    timeout: float = 30.0
    attempts: int = 6
    wait: float = 0.5
    longest_wait: float = 30.0

    def __post_init__(self) -> None:
        if not 1 <= self.connections <= 64:
            raise UserError(f"{self.connections} connections at a time: expected 1 to 64")
        if not self.rate > 0:
            raise UserError(f"{self.rate:g} requests a second: expected more than 0")

    def delay(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row (1 or more)."""
        full = min(self.longest_wait, self.wait * 2 ** (failures - 1))
        return full * random.uniform(0.5, 1.0)


@dataclass(frozen=True)
class Download:
    """One file to fetch. ``check`` raises a `ValueError` where the content of a file is bad."""

    url: str
    target: Path
    check: Callable[[Path], None] | None = None


class _Failed(Exception):
    """This try failed; another one may not."""

    def __init__(self, what: str, wait: float = 0.0) -> None:
        super().__init__(what)
        self.wait = wait


class _GivenUp(Exception):
    """This file can't be had."""


class _Unreachable(Exception):
    """The server can't be reached at all, so other files needn't be tried."""


def download_all(
    downloads: Sequence[Download],
    policy: Policy = Policy(),  # noqa: B008 (frozen)
    *,
    progress: bool = True,
) -> int:
    """Fetch every file that isn't there yet; returns how many were fetched.

    Raises:
        UserError: if the server can't be reached or files couldn't be fetched; what was fetched,
            whole or in part, stays for the next run.
    """
    missing = [item for item in downloads if not item.target.is_file()]
    if missing:
        _Run(policy, progress, single=len(missing) == 1).fetch(missing)
    return len(missing)


class _Run:
    """Threads, pace and progress of one `download_all`."""

    def __init__(self, policy: Policy, progress: bool, single: bool) -> None:
        self.policy, self.progress, self.single = policy, progress, single
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.next_request = time.monotonic()

    def fetch(self, items: Sequence[Download]) -> None:
        failed: list[str] = []
        with self._bar(items) as self.bar, ThreadPoolExecutor(self.policy.connections) as threads:
            futures = {threads.submit(self._fetch_one, item): item for item in items}
            try:
                for future in as_completed(futures):
                    item = futures[future]
                    try:
                        future.result()
                    except _GivenUp as reason:
                        failed.append(f"{item.url} ({reason})")
                        if len(failed) >= _MAX_FAILED:
                            break
            except _Unreachable as reason:
                raise UserError(_offline(items[0].url, reason)) from None
            except OSError as error:
                raise UserError(f"can't write {item.target}: {error.strerror}") from None
            finally:  # also on Ctrl-C: let no thread go on, or wait
                self.stop.set()
                threads.shutdown(wait=False, cancel_futures=True)
        if failed:
            more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
            raise UserError(
                f"{len(failed)} of {len(items)} files could not be fetched: "
                f"{', '.join(failed[:3])}{more}; run it again to go on from what is there"
            )

    def _bar(self, items: Sequence[Download]):
        from tqdm import tqdm

        unit = (
            dict(unit="B", unit_scale=True) if self.single else dict(total=len(items), unit="img")
        )
        hidden = None if self.progress else True  # None: shown on a terminal only
        return tqdm(
            desc=items[0].target.name if self.single else "download", disable=hidden, **unit
        )

    def _fetch_one(self, item: Download) -> None:
        item.target.parent.mkdir(parents=True, exist_ok=True)
        part = item.target.with_name(item.target.name + ".part")
        failures = 0
        while not self.stop.is_set():
            before = _size(part)
            try:
                self._receive(item.url, part)
                _check(item, part)
                part.replace(item.target)
                _tag(part).unlink(missing_ok=True)
                if not self.single:
                    self.bar.update()
                return
            except _Failed as reason:
                failures = 1 if _size(part) - before >= _GROWTH else failures + 1
                if failures >= self.policy.attempts:
                    raise _GivenUp(f"{reason}, {failures} times") from None
                self.stop.wait(max(self.policy.delay(failures), reason.wait))
            except _Unreachable:
                failures += 1
                if failures >= min(3, self.policy.attempts):
                    raise
                self.stop.wait(self.policy.delay(failures))

    def _receive(self, url: str, part: Path) -> None:
        """Append to ``part`` what is missing of it, or write it anew if the server wants that."""
        offset = _size(part)
        request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT})
        if offset:
            request.add_header("Range", f"bytes={offset}-")
            if _tag(part).is_file():  # the rest of the same file, or else all of the new one
                request.add_header("If-Range", _tag(part).read_text())
        self._pace()
        try:
            with urllib.request.urlopen(request, timeout=self.policy.timeout) as response:
                self._save(response, part, offset)
        except urllib.error.HTTPError as error:
            with error:
                _raise_status(error, part)
        except urllib.error.URLError as error:
            if _is_unreachable(error.reason):
                raise _Unreachable(_reason(error.reason)) from None
            raise _Failed(_reason(error.reason)) from None
        except (ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException) as error:
            raise _Failed(_reason(error)) from None
        except ValueError as error:  # no URL: letters beyond ASCII, a redirection to nonsense
            raise _GivenUp(_reason(error)) from None

    def _save(self, response: http.client.HTTPResponse, part: Path, offset: int) -> None:
        start, total = _extent(response)
        if start != offset:  # no ranges there, or the file has changed: from the beginning
            if start:
                part.unlink()
                raise _Failed(f"sent from byte {start}, asked for from {offset}")
            part.unlink(missing_ok=True)
            offset = 0
        if not offset:
            _remember_version(response, part)
        if self.single:
            self.bar.total = total
            self.bar.update(offset - self.bar.n)
        with open(part, "ab") as file:
            while chunk := response.read(_CHUNK):
                if self.stop.is_set():
                    raise _GivenUp("interrupted")
                file.write(chunk)
                if self.single:
                    self.bar.update(len(chunk))
        size = _size(part)
        if total is not None and size != total:
            if size > total:
                part.unlink()
            raise _Failed(f"{size} bytes of {total} came")

    def _pace(self) -> None:
        """Wait for this request's turn."""
        with self.lock:
            now = time.monotonic()
            turn = max(now, self.next_request)
            self.next_request = turn + 1 / self.policy.rate
        self.stop.wait(turn - now)


def _check(item: Download, part: Path) -> None:
    if item.check is not None:
        try:
            item.check(part)
        except ValueError as error:
            part.unlink()
            raise _Failed(str(error)) from None


def _extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """First byte of what is sent, and the size of the whole file if the server tells."""
    if response.status == 206:
        header = response.headers.get("Content-Range", "")
        if found := re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", header.strip()):
            return int(found[1]), None if found[2] == "*" else int(found[2])
        raise _Failed(f"unusable header Content-Range: {header!r}")
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _raise_status(error: urllib.error.HTTPError, part: Path) -> None:
    what = f"HTTP {error.code} {error.reason}"
    if error.code == 416:  # the part file is longer than the file, or of another one
        part.unlink(missing_ok=True)
        raise _Failed(what)
    if error.code not in _PASSING:
        raise _GivenUp(what)
    wait = error.headers.get("Retry-After", "")
    seconds = float(wait) if wait.isdigit() else 0.0
    raise _Failed(what, min(seconds, _LONGEST_REQUESTED_WAIT))


def _remember_version(response: http.client.HTTPResponse, part: Path) -> None:
    """Keep the validator that makes sure that a later try continues the same file."""
    tag = response.headers.get("ETag", "")
    tag = response.headers.get("Last-Modified", "") if tag.startswith("W/") or not tag else tag
    if tag:
        _tag(part).write_text(tag)
    else:
        _tag(part).unlink(missing_ok=True)


def _tag(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _is_unreachable(reason: object) -> bool:
    import errno

    unreachable = {errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN}
    if isinstance(reason, (socket.gaierror, TimeoutError)):  # no such host; nobody answers
        return True
    return getattr(reason, "errno", None) in unreachable


def _reason(error: object) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _offline(url: str, reason: Exception) -> str:
    host = urllib.request.Request(url).host
    return (
        f"can't reach {host} ({reason}): are you offline, or behind a proxy (set HTTP_PROXY)? "
        f"What was fetched so far stays; run it again, name a mirror with --base-url, or give "
        f"files that you have with --coco and --images"
    )
