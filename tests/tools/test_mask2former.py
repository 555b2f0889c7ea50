"""The small Mask2Former with the real tool: trains, evaluates, draws, is fine-tuned; learns."""

import json
import os
import subprocess
import sys
from pathlib import Path

from project.data.mapper import InstanceMapper
from project.engine.config import load_config
from project.engine.trainer import build_optimizer

import pytest
import torch
from detectron2.config import instantiate

REPO = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

SMALL = [
    "--config-file",
    "configs/mask2former_small.py",
    "train.device=cpu",
    "train.eval_period=0",
    "train.log_period=5",
    "train.num_pictures=2",
    "dataloader.train.total_batch_size=2",
    "model.max_detections=5",  # after a few steps any score counts, and there are many
]
# Judged by the picture that it saw, so that there are masks to see after a few steps.
BY_HEART = ["dataset.num_images=1", "dataset.test=train"]
RESIZE = "[{_target_: detectron2.data.transforms.Resize, shape: [160, 192]}]"


def run(*command, env: dict) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=REPO,
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def results(file: Path) -> dict:
    return json.loads(file.read_text())["results"]


def check_run(folder: Path, iterations: list[int]) -> None:
    """Losses, COCO results and pictures of a finished run."""
    rows = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    rows = [row for row in rows if "total_loss" in row]
    assert [row["iteration"] for row in rows] == iterations
    names = [f"loss_{kind}{end}" for kind in ("class", "mask", "dice") for end in ("", "_aux")]
    assert sum(rows[-1][name] for name in names) == pytest.approx(rows[-1]["total_loss"], rel=0.05)
    assert set(results(folder / "results.json")) == {"bbox", "segm"}
    assert (folder / "pictures/contact_sheet.png").stat().st_size > 10_000


def test_scenes_from_the_config_to_the_pictures(tiny_root, tmp_path):
    env = {**os.environ, "DETECTRON2_DATASETS": str(tiny_root)}
    options = [*SMALL, "dataset.name=tiny"]
    first = tmp_path / "first"
    out = f"train.output_dir={first}"
    run("tools/train_net.py", *options, *BY_HEART, out, "train.max_iter=20", env=env)
    check_run(first, [4, 9, 14, 19])
    found = json.loads((first / "inference/tiny_train/coco_instances_results.json").read_text())
    assert found
    assert all(row["segmentation"]["counts"] for row in found)
    run("tools/train_net.py", "--eval-only", *options, *BY_HEART, out, env=env)
    assert results(first / "evaluation.json") == results(first / "results.json")

    # Its checkpoint for two of its classes, and its network as transformers saves it for all.
    model = instantiate(load_config(REPO / SMALL[1], ["model.num_classes=4"]).model)
    model.load_state_dict(torch.load(first / "model_final.pth", weights_only=True)["model"])
    model.network.save_pretrained(tmp_path / "saved")
    second = tmp_path / "second"
    run("tools/train_net.py", *options, f"train.output_dir={second}", "train.max_iter=1",
        f"train.init_checkpoint=transformers://{tmp_path / 'saved'}",
        "train.init_classes=[cake,car,dog,kite]",
        env={**env, "FVCORE_CACHE": str(tmp_path / "cache")})  # fmt: skip
    weights = json.loads((second / "results.json").read_text())["weights"]
    assert weights["fresh"] == ["person"]
    assert weights["layers"] == {"network.class_predictor": "by name"}


def test_real_images(coco_subset_root, tmp_path):
    env = {**os.environ, "DETECTRON2_DATASETS": str(tmp_path)}
    train, val = (coco_subset_root / split for split in ("train-300", "validation-300"))
    run("datasets/prepare_coco_subset.py", "--split", "train", train / "labels.json",
        train / "data", "--split", "val", val / "labels.json", val / "data", "--train", "20",
        "--val", "6", "--name", "real", "--root", tmp_path, "--classes", "cake", "car", "dog",
        "person", env=env)  # fmt: skip
    run("tools/train_net.py", *SMALL, "dataset.name=real", "train.max_iter=20",
        "dataloader.train.mapper.augmentations=" + RESIZE,
        "dataloader.test.mapper.augmentations=" + RESIZE,
        f"train.output_dir={tmp_path / 'run'}", env=env)  # fmt: skip
    check_run(tmp_path / "run", [4, 9, 14, 19])


def test_it_learns_a_picture_by_heart(datasets_root):
    torch.manual_seed(0)
    cfg = load_config(REPO / SMALL[1], ["dataset.name=tiny", "train.max_iter=60"])
    model = instantiate(cfg.model).train()
    optimizer = build_optimizer(cfg, model)
    records = instantiate(cfg.dataloader.train.dataset)
    record = min(records, key=lambda record: len(record["annotations"]))
    batch = [InstanceMapper(True, augmentations=[], image_format="RGB")(record)]
    for _ in range(60):
        optimizer.zero_grad()
        sum(model(batch).values()).backward()
        optimizer.step()
    with torch.no_grad():
        found = model.eval()(batch)[0]["instances"]
    wanted = batch[0]["instances"]
    best = found[: len(wanted)]
    assert (best.scores > 0.5).all()
    if len(wanted) < len(found):
        assert found.scores[len(wanted)] < 0.5
    mine, its = best.pred_masks.flatten(1).float(), wanted.gt_masks.tensor.flatten(1).float()
    common = mine @ its.T
    overlaps = common / (mine.sum(1)[:, None] + its.sum(1) - common)
    for overlap, kind in zip(overlaps, best.pred_classes, strict=True):
        assert overlap.max() > 0.7
        assert kind == wanted.gt_classes[overlap.argmax()]
    assert overlaps.argmax(1).unique().numel() == len(wanted)  # each of them once
