"""Fixtures that every folder of tests uses."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import project

import numpy as np
import pytest

# Small tensors: more threads only wait for each other, the more so in tests of several processes.
# No torch is imported yet.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPO = Path(__file__).resolve().parents[1]
# Golden files that hold COCO pixels or labels are not part of this repository.
WITH_COCO_CONTENT = ("mapper", "coco40_gt", "coco40_predictions", "coco_load")


def folder_from(variable: str, what: str) -> Path:
    """The folder an environment variable names; skips when unset, fails when it names nothing."""
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set: it names {what}")
    folder = Path(value).resolve()
    if not folder.is_dir():
        pytest.fail(f"{variable}={value} is no folder; it should name {what}")
    return folder


def pytest_collection_modifyitems(items):
    if project.detectron2_source() == "installed":
        _skip(_marked(items, "bundled"), "only the bundled implementation has this")
    if (on_gpu := _marked(items, "gpu")) and not _has_cuda():
        _skip(on_gpu, "needs a CUDA device")


def _marked(items, marker: str) -> list[pytest.Item]:
    return [item for item in items if item.get_closest_marker(marker)]


def _skip(items: list[pytest.Item], reason: str) -> None:
    for item in items:
        item.add_marker(pytest.mark.skip(reason=reason))


def _has_cuda() -> bool:
    import torch  # seconds, which a run without GPU tests needn't spend

    return torch.cuda.is_available()


@pytest.fixture(autouse=True)
def plain_loggers():
    """No test, nor a fixture that trains, leaves its log handlers to another test's output."""
    _forget_handlers()
    yield
    _forget_handlers()


def _forget_handlers() -> None:
    for name in ("fvcore", "iopath", "detectron2", "project"):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)


class Golden:
    """Reads golden figures: ``golden.npz("boxes")``, ``golden.json("boxes_misc")``, ...

    JSON holds NaN as null and infinities as "inf" / "-inf".
    """

    def path(self, name: str) -> Path:
        if name.startswith(WITH_COCO_CONTENT):
            return folder_from("DETECTRON2_GOLDEN", "the golden files with COCO content") / name
        return REPO / "tests/golden" / name

    def npz(self, name: str) -> dict[str, np.ndarray]:
        with np.load(self.path(name + ".npz")) as file:
            return dict(file)

    def json(self, name: str):
        return json.loads(self.path(name + ".json").read_text())

    def pt(self, name: str):
        import torch

        return torch.load(self.path(name + ".pt"), weights_only=True)


@pytest.fixture(scope="session")
def golden() -> Golden:
    return Golden()


@pytest.fixture(scope="session")
def coco_subset_root() -> Path:
    """The real 630-image COCO subset: train-300/, validation-300/, test-30/."""
    return folder_from("COCO_SUBSET_ROOT", "the real 630-image COCO subset")


@pytest.fixture(scope="session")
def load_tool():
    """``load_tool("tools/train_net.py")`` → its module, loaded by path (nobody imports `tools`)."""
    import importlib.util

    def load(path: str):
        spec = importlib.util.spec_from_file_location(Path(path).stem, REPO / path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory) -> Path:
    """A datasets folder with the subset ``tiny``: scenes, 12 / 6 / 3 images."""
    from project.data.scenes import make_scenes

    root = tmp_path_factory.mktemp("datasets")
    make_scenes(root, sizes={"train": 12, "val": 6, "test": 3}).rename(root / "tiny")
    return root


@pytest.fixture
def datasets_root(tiny_root, monkeypatch) -> Path:
    """``tiny_root`` as the place where configs look for their subsets."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tiny_root))
    return tiny_root
