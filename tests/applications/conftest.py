"""Run folders: an untrained model that finds something everywhere, and one made by hand."""

from pathlib import Path

from project.applications import Predictor
from project.data.catalog import class_names
from project.engine.checkpoints import RunCheckpointer
from project.engine.config import load_config
from project.engine.evaluate import build_model
from project.modeling.semantic import SemanticSegmenter

import numpy as np
import pytest
import torch
from detectron2.config import LazyCall, LazyConfig
from detectron2.data import transforms as T
from detectron2.utils.env import seed_all_rng
from torch import nn

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


@pytest.fixture(scope="session")
def semantic_run(tmp_path_factory) -> Path:
    """A semantic model made by hand: red is a cake, green a car, blue a person, grey nothing.

    The logit of a class is 10 x its channel - 5 x both others, all 0-1; the background's is 4.
    There are no dogs.
    """
    run = tmp_path_factory.mktemp("semantic")
    cfg = load_config(REPO / "configs/quickstart.py", ["dataset.name=scenes", "train.device=cpu"])
    cfg.model = LazyCall(SemanticSegmenter)(
        network=LazyCall(nn.Conv2d)(in_channels=3, out_channels=5, kernel_size=1),
        num_classes=4,
        loss=LazyCall(nn.Identity)(),
        pixel_mean=[0.0, 0.0, 0.0],
        pixel_std=[255.0, 255.0, 255.0],
        input_format="RGB",
        size_divisibility=8,
    )
    cfg.dataloader.test.mapper.augmentations = []
    cfg.dataloader.test.mapper.image_format = "RGB"
    model = SemanticSegmenter(
        nn.Conv2d(3, 5, 1), 4, nn.Identity(), [0.0] * 3, [255.0] * 3, "RGB", 8
    )
    with torch.no_grad():
        weight = torch.zeros(5, 3)
        for row, channel in {0: 0, 1: 1, 3: 2}.items():
            weight[row] = -5.0
            weight[row, channel] = 10.0
        model.network.weight.copy_(weight[:, :, None, None])
        model.network.bias.copy_(torch.tensor([0.0, 0.0, -9.0, 0.0, 4.0]))
    names = ["cake", "car", "dog", "person"]
    RunCheckpointer(model, str(run), classes=names).save("model_final")
    cfg.dataset.root = "nowhere"
    LazyConfig.save(cfg, str(run / "config.yaml"))
    return run


@pytest.fixture(scope="session")
def people() -> np.ndarray:
    """RGB ``[60, 100, 3]``: a red cake, and two blue persons; the right one is twice as wide."""
    image = np.full((60, 100, 3), 100, np.uint8)
    image[40:50, 40:50] = (250, 60, 60)
    image[10:50, 10:20] = (60, 60, 220)
    image[10:50, 70:90] = (60, 60, 200)
    return image
