"""Every config loads, survives a round trip, builds its parts and follows single overrides."""

from pathlib import Path

from project.engine.config import load_config, load_run, select
from project.engine.evaluate import without_hub
from project.engine.trainer import build_optimizer

import pytest
import torch
from detectron2.config import LazyConfig, instantiate

REPO = Path(__file__).resolve().parents[2]
LEAVES = sorted(
    str(p.relative_to(REPO / "configs"))
    for p in (REPO / "configs").rglob("*.py")
    if "common" not in p.parts and p.parent.name != "experiments"  # those are sweeps
)
TINY = ["dataset.name=tiny", "train.init_checkpoint=''"]


def load(name: str, *overrides: str):
    return load_config(REPO / "configs" / name, [*TINY, *overrides])


def test_the_promised_configs_are_there():
    promised = {"quickstart.py", "mask_rcnn_R_50_FPN.py", "mask_rcnn_R_101_FPN.py"}
    assert promised <= set(LEAVES)
    assert len(LEAVES) >= 7


@pytest.mark.parametrize("name", LEAVES)
def test_a_saved_config_is_plain_data_and_the_same(name, tmp_path, datasets_root):
    cfg = load(name)
    LazyConfig.save(cfg, str(tmp_path / "config.yaml"))
    assert not (tmp_path / "config.yaml.pkl").exists()
    again = load_run(tmp_path)
    again.train.output_dir = cfg.train.output_dir
    LazyConfig.save(again, str(tmp_path / "again.yaml"))
    assert (tmp_path / "again.yaml").read_text() == (tmp_path / "config.yaml").read_text()


@pytest.mark.parametrize("name", LEAVES)
def test_every_part_is_built(name, datasets_root):
    cfg = load(name, "dataloader.train.num_workers=0", "dataloader.train.total_batch_size=2")
    with torch.device("meta"):  # shapes without numbers: R101 costs nothing
        model = instantiate(without_hub(cfg).model)
    check_classes(model, 4)
    optimizer = build_optimizer(cfg, model)
    assert max(group["lr"] for group in optimizer.param_groups) == cfg.optimizer.lr
    schedule = instantiate(cfg.lr_multiplier)
    assert schedule(0.0) < 0.01 < schedule(0.5) <= 1.0
    batch = next(iter(instantiate(cfg.dataloader.train)))
    assert len(batch) == 2
    if hasattr(model, "roi_heads"):
        assert all(len(record["instances"]) for record in batch)
    else:
        assert all(record.keys() & {"instances", "sem_seg"} for record in batch)


@pytest.mark.parametrize("name", LEAVES)
def test_all_that_looks_at_colours_knows_their_order(name, datasets_root):
    cfg = load(name)
    mappers = cfg.dataloader.train.mapper, cfg.dataloader.test.mapper
    nodes = [node for mapper in mappers for node in [mapper, *mapper.augmentations]]
    told = {select(node, "image_format") for node in nodes if "image_format" in node}
    assert told == {cfg.model.input_format}
    assert not [n for n in nodes if "ColorJitter" in str(n._target_) and "image_format" not in n]


def check_classes(model, number: int) -> None:
    if hasattr(model, "roi_heads"):
        model = model.roi_heads
        assert model.box_predictor.cls_score.out_features == number + 1
        assert model.mask_head.predictor.out_channels == number
    assert model.num_classes == number


@pytest.mark.parametrize("name", LEAVES)
def test_one_override_moves_all_that_depends_on_it(name, datasets_root):
    cfg = load(name, "train.epochs=10", "dataloader.train.total_batch_size=3")
    images = len(instantiate(cfg.dataloader.train.dataset))
    assert select(cfg, "train.max_iter") == -(-10 * images // 3)
    cfg = load(name, "train.max_iter=1000", "train.output_dir=elsewhere", "dataset.test=test")
    assert cfg.train.eval_period in (0, 250)
    assert cfg.train.checkpointer.period == 250
    assert cfg.lr_multiplier.max_iter == 1000
    assert cfg.lr_multiplier.warmup_iters == 50
    assert cfg.dataloader.evaluator.output_dir == "elsewhere/inference/tiny_test"
    assert cfg.dataloader.test.dataset.split == "test"
    assert load(name, "train.seed=7").dataloader.train.seed == 7


def test_the_quickstart_model_is_small():
    cfg = load_config(REPO / "configs/quickstart.py", ["model.roi_heads.num_classes=4"])
    size = sum(p.numel() for p in instantiate(cfg.model).parameters())
    assert 1.0e6 < size < 1.4e6


@pytest.mark.parametrize("depth, millions", [("50", 44.1), ("101", 63.1)])
def test_the_large_models_have_their_size(depth, millions):
    # 80 classes: the published parameter counts, 44.4 M and 63.4 M with 53 and 104 frozen norms
    # counted as parameters (they are buffers here).
    cfg = load_config(
        REPO / f"configs/mask_rcnn_R_{depth}_FPN.py", ["model.roi_heads.num_classes=80"]
    )
    with torch.device("meta"):
        model = instantiate(cfg.model)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.3)
