"""What importing the sub-packages does and doesn't do; in an interpreter of its own."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import project  # noqa: F401

import pytest
import yaml
from omegaconf import OmegaConf

REPO = Path(__file__).resolve().parents[2]
NAMES = json.loads((REPO / "tests/detectron2_names.json").read_text())
HEAVY = ["torchvision", "torch._dynamo", "cv2", "PIL", "matplotlib", "pycocotools", "shapely"]
HEAVY += ["hydra", "tensorboard", "pkg_resources"]
PROCEDURES = {"engine", "utils"}  # what they hold, tools call; configs don't


@pytest.mark.bundled
def test_all_sub_packages_import_lightly_silently_and_with_their_submodules():
    """No warning, nothing heavy; ``import detectron2.utils`` gives ``detectron2.utils.comm``."""
    packages = sorted({f"detectron2.{name.split('.')[0]}" for name in NAMES if name})
    modules = [f"detectron2.{name}" for name in NAMES if "." in name]
    assert len(packages) == 11
    code = (
        f"import sys, project, {', '.join(packages)}\n"
        f"{', '.join(modules)}\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPO)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.bundled
def test_saved_configs_use_the_names_of_the_contract(tmp_path):
    """So they load where the real Detectron2 answers, which has no others."""
    from detectron2.config import LazyCall, LazyConfig

    targets = {}
    for module in (name for name in NAMES if name and name.split(".")[0] not in PROCEDURES):
        loaded = importlib.import_module(f"detectron2.{module}")
        listed = {name: getattr(loaded, name) for name in NAMES[module]}
        targets |= {f"{module} {name}": x for name, x in listed.items() if callable(x)}
    assert len(targets) > 100
    cfg = {key: LazyCall(target)() for key, target in targets.items()}
    LazyConfig.save(OmegaConf.create(cfg, flags={"allow_objects": True}), tmp_path / "saved.yaml")
    saved = yaml.safe_load((tmp_path / "saved.yaml").read_text())
    names = [node["_target_"].rpartition(".") for node in saved.values()]
    ours = [(home, name) for home, _, name in names if home.startswith("detectron2")]
    assert [x for x in ours if x[1] not in NAMES.get(x[0].removeprefix("detectron2."), [])] == []
