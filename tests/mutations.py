"""Makes one-line changes to the bundled Detectron2; each must turn a test red.

A change that no test notices is a hole in the tests. The changes stand in `mutations.txt`:
``python tests/mutations.py`` tries all of them, ``python tests/mutations.py matcher NMS`` those
with one of the words in their file or description. `test_mutations.py` does the same under pytest.

Each change is tried in a process of its own, on a copy of the repository, and only with the tests
that it names. The processes are forked from one that has imported the libraries, which would take
longer than the tests.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import gc
import importlib
import json
import os
import py_compile
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

REPO = Path(__file__).resolve().parents[1]
BUNDLE = "project/detectron2"
TESTS = "tests/detectron2"
CHANGES = Path(__file__).with_suffix(".txt")

_TIME_LIMIT = 120  # seconds for a change, should it never end
# Imported before the processes are forked; none of them may import the project.
_LIBRARIES = (
    "pytest",
    "torch",
    "torchvision.ops",
    "cv2",
    "PIL.Image",
    "pycocotools.cocoeval",
    "omegaconf",
    "hydra.core.override_parser.overrides_parser",
    "fvcore.common.checkpoint",
    "fvcore.transforms.transform",
    "iopath.common.file_io",
    "tabulate",
    "termcolor",
)
_PYTEST_OPTIONS = ("-q", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:unraisableexception")


class Change(NamedTuple):
    """One line of the bundle, made wrong."""

    file: str  # in BUNDLE
    what: str  # is wrong then
    old: str  # exactly once in the file
    new: str
    tests: tuple[str, ...]  # in TESTS, at least one of which must fail

    @property
    def name(self) -> str:
        """File and description."""
        return f"{self.file}: {self.what}"


class Verdict(NamedTuple):
    """What became of a change, or (None) of the unchanged bundle under the tests of all changes."""

    change: Change | None
    outcome: str  # "noticed", "survived" or, unchanged, "passed"; else why the run doesn't count
    tests: list[str]  # that failed; of the unchanged bundle: that passed
    seconds: float

    @property
    def good(self) -> bool:
        """Noticed, or, unchanged, passed."""
        return self.outcome == ("passed" if self.change is None else "noticed")


def read_changes(path: Path = CHANGES) -> list[Change]:
    """The changes in a file like `mutations.txt`.

    Raises:
        ValueError: for a block of lines that isn't like the head of that file says.
    """
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    changes = []
    for block in "\n".join(lines).strip().split("\n\n"):
        head, *rest = block.strip().splitlines()
        file, colon, what = head.partition(": ")
        if not colon or len(rest) < 3 or (rest[0][:2], rest[1][:2].strip()) != ("- ", "+"):
            raise ValueError(f"{path} has a block that is no change:\n{block}")
        changes.append(Change(file, what, rest[0][2:], rest[1][2:], tuple(rest[2:])))
    return changes


def changed_text(change: Change, repository: Path = REPO) -> str:
    """The file of a change, changed.

    Raises:
        ValueError: unless the file is there and has the old text exactly once.
    """
    file = repository / BUNDLE / change.file
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    if (count := text.count(change.old)) != 1:
        raise ValueError(f"{change.file} has {count} times {change.old!r}, expected once")
    return text.replace(change.old, change.new)


def try_changes(changes: Sequence[Change], folder: Path, jobs: int) -> Iterator[Verdict]:
    """Verdicts as they come in, the one on the unchanged bundle among them.

    Args:
        changes: to be tried.
        folder: an empty one, which takes a copy of the repository per job.
        jobs: processes at a time.
    """
    _import_libraries()
    tests = tuple(sorted({test for change in changes for test in change.tests}))
    idle = [_copy_repository(folder / f"copy{k}") for k in range(jobs)]
    waiting: list[Change | None] = [*reversed(changes), None]
    running: dict[int, tuple[Change | None, Path, float]] = {}
    while waiting or running:
        while waiting and idle:
            change, copy = waiting.pop(), idle.pop()
            process = _start(change, copy, change.tests if change else tests)
            running[process] = change, copy, time.perf_counter()
        process, status = os.wait()
        change, copy, started = running.pop(process)
        if change is not None and (file := REPO / BUNDLE / change.file).is_file():
            shutil.copyfile(file, copy / BUNDLE / change.file)
        idle.append(copy)
        yield Verdict(change, *_judge(change, copy, status), time.perf_counter() - started)


def _import_libraries() -> None:
    for name in _LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    assert not {"project", "detectron2"} & set(sys.modules), "each process imports its own copy"
    gc.freeze()  # collections in the processes then needn't look at the libraries


def _copy_repository(folder: Path) -> Path:
    for name in ("project", "tests"):
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPO / name, folder / name, ignore=unwanted)
    shutil.copy(REPO / "pyproject.toml", folder)
    # Compiled once for all. By hash, since a changed file may have the size and time of the old.
    by_hash = py_compile.PycInvalidationMode.CHECKED_HASH
    compileall.compile_dir(folder / "project", quiet=2, invalidation_mode=by_hash)
    return folder


def _start(change: Change | None, copy: Path, tests: Sequence[str]) -> int:
    """Fork a process that changes the copy and writes what the tests did; the process' id."""
    (copy / "report.json").unlink(missing_ok=True)
    if process := os.fork():
        return process
    try:
        signal.alarm(_TIME_LIMIT if change else 0)
        with open(copy / "output.txt", "wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        if change is not None:
            (copy / BUNDLE / change.file).write_text(changed_text(change, copy), encoding="utf-8")
        report = _run_tests(change, copy, tests)
        (copy / "report.json").write_text(json.dumps(report), encoding="utf-8")
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)  # what is open and registered belongs to the parent


def _run_tests(change: Change | None, copy: Path, tests: Sequence[str]) -> dict[str, Any]:
    import pytest

    os.chdir(copy)
    os.environ["PYTHONPATH"] = str(copy)  # for processes that tests start
    sys.path[0] = str(copy)  # in place of this script's folder
    sys.dont_write_bytecode = True
    seen = _Outcomes()
    options = [*_PYTEST_OPTIONS, f"--rootdir={copy}", f"-c={copy / 'pyproject.toml'}"]
    stop = ["-x"] if change else []
    code = pytest.main([*options, *stop, *(f"{TESTS}/{test}" for test in tests)], plugins=[seen])
    dotted = change.file.removesuffix(".py").replace("/", ".") if change else "engine"
    try:
        source = importlib.import_module(f"detectron2.{dotted}").__file__
    except Exception as error:
        source = f"nowhere: {type(error).__name__}: {error}"
    return {"code": int(code), "failed": seen.failed, "passed": seen.passed, "source": source}


class _Outcomes:
    """A pytest plugin that notes which tests passed and which failed."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report) -> None:
        test = report.nodeid.removeprefix(f"{TESTS}/")
        if report.failed:
            self.failed.append(test)
        elif report.passed and report.when == "call":
            self.passed.append(test)


def _judge(change: Change | None, copy: Path, status: int) -> tuple[str, list[str]]:
    """Outcome and tests of a `Verdict`."""
    output = (copy / "output.txt").read_text(encoding="utf-8", errors="replace")[-3000:]
    if not (copy / "report.json").exists():
        return f"broke off (status {status}):\n{output}", []
    report = json.loads((copy / "report.json").read_text(encoding="utf-8"))
    file = f"{BUNDLE}/{change.file if change else 'engine/__init__.py'}"
    if report["source"] != str(copy / file):
        return f"the tested file came from {report['source']}", []
    if report["code"] > 1:  # collection failed, or there was nothing to run
        return f"pytest gave up:\n{output}", []
    if change is None:
        return (f"failed:\n{output}" if report["code"] else "passed"), report["passed"]
    return ("noticed" if report["failed"] else "survived"), report["failed"]


def _settle_environment() -> None:
    """One thread a process, the bundle, pytest without plugins, no data from elsewhere."""
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "PROJECT_DETECTRON2": "bundled",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    for variable in ("DETECTRON2_GOLDEN", "COCO_SUBSET_ROOT", "PYTEST_ADDOPTS"):
        os.environ.pop(variable, None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try changes and print the verdicts; 0 if every change was noticed, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("words", nargs="*", help="only changes with one of them in their name")
    parser.add_argument("--changes", type=Path, default=CHANGES, help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="default: %(default)s")
    parser.add_argument("--report", type=Path, help="a JSON file for the verdicts")
    args = parser.parse_args(arguments)
    changes = [
        change
        for change in read_changes(args.changes)
        if not args.words or any(word in change.name for word in args.words)
    ]
    _settle_environment()
    verdicts = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for verdict in try_changes(changes, Path(folder).resolve(), args.jobs):
            verdicts.append(verdict)
            name = verdict.change.name if verdict.change else "(unchanged)"
            print(f"{verdict.seconds:5.1f} s  {name}: {verdict.outcome}", flush=True)
    gc.unfreeze()  # else extension modules complain at exit
    if args.report:
        report = {v.change.name if v.change else "": (v.outcome, v.tests) for v in verdicts}
        args.report.write_text(json.dumps(report), encoding="utf-8")
    bad = sum(not verdict.good for verdict in verdicts)
    print(f"{len(verdicts) - 1} changes tried; {bad} verdicts are not as they should be")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
