"""Which `detectron2` answers: the finder of `project`, each case in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]


def python(code: str, cwd: Path, *, choice: str = "", path: Path | None = None):
    """Run ``code`` in a fresh interpreter; ``path`` goes in front of its import path."""
    folders = [str(p) for p in (path, REPO) if p]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "PROJECT_DETECTRON2": choice}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)


def output(code: str, cwd: Path, **kwargs) -> str:
    result = python(code, cwd, **kwargs)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def error(code: str, cwd: Path, **kwargs) -> str:
    result = python(code, cwd, **kwargs)
    assert result.returncode != 0, result.stdout
    return result.stderr.strip().splitlines()[-1]


@pytest.fixture
def installed(tmp_path) -> Path:
    """A folder that looks like site-packages with a Detectron2 in it."""
    site = tmp_path / "site"
    (site / "detectron2").mkdir(parents=True)
    (site / "detectron2/__init__.py").write_text("__version__ = 'real'\n")
    info = site / "detectron2-0.6.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: detectron2\nVersion: 0.6\n")
    return site


def test_bundle_answers_where_none_is_installed(tmp_path):
    code = "import project, detectron2; print(project.detectron2_source(), detectron2.__path__[0])"
    assert output(code, tmp_path, choice="bundled") == f"bundled {REPO / 'project/detectron2'}"


@pytest.mark.parametrize("first", ["detectron2", "project.detectron2"])
def test_one_module_object_under_both_names(tmp_path, first):
    code = (
        f"import project, importlib; importlib.import_module('{first}.utils.env')\n"
        "import detectron2.utils.env as a, project.detectron2.utils.env as b\n"
        "import detectron2, project.detectron2\n"
        "print(a is b, project.detectron2 is detectron2, a.__name__, a.__spec__.name)"
    )
    expected = "True True detectron2.utils.env detectron2.utils.env"
    assert output(code, tmp_path, choice="bundled") == expected


def test_installed_one_wins(tmp_path, installed):
    code = "import project, detectron2; print(detectron2.__version__, project.detectron2_source())"
    assert output(code, tmp_path, path=installed) == "real installed"


def test_bundle_stays_closed_beside_the_installed_one(tmp_path, installed):
    message = error("import project.detectron2", tmp_path, path=installed)
    assert "the installed Detectron2 answers here" in message


def test_bare_folder_in_the_working_directory_is_no_installation(tmp_path):
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2/__init__.py").write_text("raise RuntimeError('the wrong one')")
    code = "import project, detectron2; print(project.detectron2_source())"
    if _really_installed():
        pytest.skip("a real Detectron2 is installed here")
    assert output(code, tmp_path) == "bundled"


def test_bundle_can_be_forced(tmp_path, installed):
    code = "import project, detectron2; print(project.detectron2_source())"
    assert output(code, tmp_path, path=installed, choice="bundled") == "bundled"


def test_forcing_the_installed_one_where_there_is_none(tmp_path):
    if _really_installed():
        pytest.skip("a real Detectron2 is installed here")
    message = error("import project, detectron2", tmp_path, choice="installed")
    assert "no Detectron2 is installed" in message


def test_forcing_the_bundle_after_the_real_one_was_imported(tmp_path, installed):
    code = "import detectron2, project"
    message = error(code, tmp_path, path=installed, choice="bundled")
    assert "the installed Detectron2 is already imported" in message


def test_unknown_choice(tmp_path):
    assert "expected 'bundled', 'installed'" in error(
        "import project, detectron2", tmp_path, choice="both"
    )


def test_importing_project_is_light(tmp_path):
    code = "import sys, project; print(sorted({'torch', 'numpy', 'detectron2'} & set(sys.modules)))"
    assert output(code, tmp_path) == "[]"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_new_processes_find_detectron2_before_they_unpickle(tmp_path, method):
    # With `python -c` the child can't learn of `project` by running the main module again.
    code = (
        "import multiprocessing, project\n"
        "from detectron2.structures import BoxMode\n"
        f"context = multiprocessing.get_context('{method}')\n"
        "queue = context.SimpleQueue()\n"
        "child = context.Process(target=BoxMode.convert, args=([0, 0, 1, 1], BoxMode.XYXY_ABS,\n"
        "                        BoxMode.XYWH_ABS))\n"
        "child.start(); child.join(); print(child.exitcode)"
    )
    assert output(code, tmp_path) == "0"


def test_pickles_and_targets_say_detectron2(tmp_path):
    code = (
        "import pickletools, pickle, project\n"
        "from project.detectron2.structures import BoxMode\n"
        "print(BoxMode.__module__.split('.')[0], b'project' in pickle.dumps(BoxMode.XYXY_ABS))"
    )
    assert output(code, tmp_path, choice="bundled") == "detectron2 False"


def _really_installed() -> bool:
    import importlib.metadata

    return bool(list(importlib.metadata.distributions(name="detectron2")))
