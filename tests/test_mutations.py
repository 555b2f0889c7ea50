"""The changes of `mutations.txt` fit the code, and (slow) each of them turns its test red."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("mutations.py")


def load_script():
    spec = importlib.util.spec_from_file_location("mutations", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mutations = load_script()
CHANGES = mutations.read_changes()
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")


def run_script(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=1800)


# ---------------------------------------------------------------------------------- the list itself
def test_every_change_fits_the_code():
    """After a refactoring, adapt file, old and new text in `mutations.txt`."""
    misfits = [reason for change in CHANGES if (reason := why_unfit(change))]
    assert not misfits, "\n".join(misfits)


def why_unfit(change) -> str:
    try:
        compile(mutations.changed_text(change), change.file, "exec")
    except (ValueError, SyntaxError) as error:
        return f"{change.what}: {error}"
    return ""


def test_every_change_changes_something_and_has_a_name_of_its_own():
    assert [change.name for change in CHANGES if change.old == change.new] == []
    assert [name for name, n in Counter(c.name for c in CHANGES).items() if n > 1] == []


def test_named_tests_exist():
    missing = []
    for test in {test for change in CHANGES for test in change.tests}:
        file, *_, function = test.split("::")
        path = mutations.REPO / mutations.TESTS / file
        if not path.is_file() or not re.search(rf"def {function}\(", path.read_text()):
            missing.append(test)
    assert missing == []


def test_every_package_is_changed_at_least_twice():
    bundle = mutations.REPO / mutations.BUNDLE
    packages = {path.parent.name for path in bundle.glob("*/__init__.py")}
    changes = Counter(change.file.split("/")[0] for change in CHANGES)
    assert {package: changes[package] for package in packages if changes[package] < 2} == {}
    assert changes.total() >= 40


@pytest.mark.parametrize(
    "text",
    [
        "solver/build.py no colon\n- a\n+ b\ntest.py::test",
        "solver/build.py: no new text\n- a\ntest.py::test\ntest.py::other",
        "solver/build.py: no test\n- a\n+ b",
    ],
)
def test_what_is_no_change_is_told(tmp_path, text):
    (tmp_path / "changes.txt").write_text(f"# head\n\n{text}\n")
    with pytest.raises(ValueError, match="no change"):
        mutations.read_changes(tmp_path / "changes.txt")


def test_text_that_is_gone_or_ambiguous_is_told():
    change = mutations.Change("solver/build.py", "what", "no such text", "", ("test.py::test",))
    with pytest.raises(ValueError, match="solver/build.py has 0 times 'no such text'"):
        mutations.changed_text(change)
    with pytest.raises(ValueError, match="has [0-9]+ times 'import', expected once"):
        mutations.changed_text(change._replace(old="import"))
    with pytest.raises(ValueError, match="solver/gone.py has 0 times"):
        mutations.changed_text(change._replace(file="solver/gone.py"))


# ------------------------------------------------------------------------------- trying the changes
@pytest.fixture(scope="module")
def verdicts(tmp_path_factory) -> dict[str, tuple[str, list[str]]]:
    """Outcome and tests by the changes' names; "" is the unchanged bundle."""
    report = tmp_path_factory.mktemp("mutations") / "report.json"
    done = run_script("--report", report)
    assert report.exists(), done.stdout + done.stderr
    return json.loads(report.read_text())


@needs_fork
@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_change_is_noticed(verdicts, change):
    assert verdicts[change.name][0] == "noticed"


@needs_fork
@pytest.mark.slow
def test_unchanged_bundle_passes_every_named_test(verdicts):
    outcome, passed = verdicts[""]
    assert outcome == "passed"
    ran = {re.sub(r"\[.*", "", test) for test in passed}
    assert {test for change in CHANGES for test in change.tests} - ran == set()


HARMLESS_AND_BROKEN = """
solver/build.py: another name for a variable
- by_name.get(name, {})
+ dict(by_name).get(name, {})
test_solver.py::TestParameterGroups::test_groups

solver/build.py: can't be imported
- from torch import nn
+ from torch import nn, nothing_of_that_name
test_solver.py::TestParameterGroups::test_groups
"""


@needs_fork
@pytest.mark.slow
def test_harmless_and_broken_changes_do_not_count(tmp_path):
    (tmp_path / "changes.txt").write_text(HARMLESS_AND_BROKEN)
    report = tmp_path / "report.json"
    done = run_script("--changes", tmp_path / "changes.txt", "--report", report)
    assert done.returncode == 1, done.stdout + done.stderr
    outcomes = {name: outcome for name, (outcome, _) in json.loads(report.read_text()).items()}
    assert outcomes.pop("") == "passed"
    harmless, broken = outcomes.values() if len(outcomes) == 2 else pytest.fail(str(outcomes))
    assert {harmless, broken} > {"survived"}
    assert "noticed" not in {harmless, broken}
