"""A run folder with an untrained model: it finds something everywhere, always the same."""

from pathlib import Path

from project.applications import Predictor
from project.data.catalog import class_names
from project.engine.checkpoints import RunCheckpointer
from project.engine.config import load_config
from project.engine.evaluate import build_model

import pytest
from detectron2.config import LazyCall, LazyConfig
from detectron2.data import transforms as T
from detectron2.utils.env import seed_all_rng

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def run_dir(tiny_root, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("untrained")
    options = ["dataset.name=tiny", f"dataset.root={tiny_root}", "train.device=cpu"]
    cfg = load_config(REPO / "configs/quickstart.py", options)
    cfg.dataloader.test.mapper.augmentations = [
        LazyCall(T.ResizeShortestEdge)(short_edge_length=96, max_size=128)
    ]
    cfg.model.roi_heads.box_predictor.test_topk_per_image = 12
    seed_all_rng(0)
    model = build_model(cfg)
    RunCheckpointer(model, str(run), classes=class_names("tiny", tiny_root)).save("model_final")
    cfg.dataset.root = "nowhere"  # predicting needs no dataset
    LazyConfig.save(cfg, str(run / "config.yaml"))
    return run


@pytest.fixture(scope="session")
def predictor(run_dir) -> Predictor:
    """Its scores lie near a fifth: four classes and the background."""
    return Predictor(run_dir, thresholds=0.2)


@pytest.fixture(scope="session")
def photos(tiny_root) -> list[Path]:
    return sorted((tiny_root / "tiny/images/val").iterdir())
