"""The doctor on healthy and on broken environments."""

import importlib.metadata
import subprocess
import sys
from types import SimpleNamespace

from project import doctor

import pytest


def findings(check) -> list[str]:
    return [finding.what for finding in doctor.run_check(check)]


def test_this_environment_can_train():
    done = subprocess.run(
        [sys.executable, "-m", "project.doctor"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "detectron2: " in done.stdout
    assert done.stdout.rstrip().endswith("Training can run.")


def requires(monkeypatch, *requirements: str) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: list(requirements))


def test_a_missing_package(monkeypatch):
    requires(monkeypatch, "no-such-package>=1", "numpy>=2.0")
    assert findings(doctor.check_packages) == ["no-such-package is missing"]


def test_an_old_package(monkeypatch):
    requires(monkeypatch, "numpy>=99")
    (what,) = findings(doctor.check_packages)
    assert what.endswith("does not fit 'numpy>=99'")


def test_extras_are_not_required(monkeypatch):
    requires(monkeypatch, 'no-such-package>=1; extra == "test"')
    assert findings(doctor.check_packages) == []


def test_a_package_that_can_not_be_imported(monkeypatch, tmp_path):
    (tmp_path / "broken_thing.py").write_text("raise OSError('libGL.so.1 is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    (finding,) = doctor.check_import("broken-thing")
    assert finding.what == "`import broken_thing` fails: OSError: libGL.so.1 is missing"
    assert "--force-reinstall broken-thing" in finding.fix


def test_two_opencv_wheels(monkeypatch):
    wheels = [SimpleNamespace(metadata={"Name": n}) for n in
              ("opencv-python", "opencv-python-headless", "numpy")]  # fmt: skip
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: wheels)
    (finding,) = doctor.check_opencv()
    assert finding.what == "opencv-python and opencv-python-headless are installed together"
    assert not finding.fatal


@pytest.mark.parametrize("version, wrong", [("82.0.1", True), ("81.9", False)])
def test_setuptools_beside_the_real_detectron2(monkeypatch, version, wrong):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    assert bool(findings(doctor.check_setuptools)) == wrong


def test_a_check_that_fails_itself_is_a_finding():
    def check_nothing():
        raise RuntimeError("no")
        yield

    assert findings(check_nothing) == ["check_nothing failed: RuntimeError: no"]


def test_what_is_fatal_decides_the_exit_code(monkeypatch, capsys):
    def warn():
        yield doctor.Finding("small", "do this", fatal=False)

    def fail():
        yield doctor.Finding("large", "do that")

    monkeypatch.setattr(doctor, "CHECKS", (warn,))
    assert doctor.main() == 0
    monkeypatch.setattr(doctor, "CHECKS", (warn, fail))
    assert doctor.main() == 1
    printed = capsys.readouterr().out
    assert "warning: small" in printed
    assert "ERROR: large\n    fix: do that" in printed
