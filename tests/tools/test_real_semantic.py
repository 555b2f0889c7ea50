"""Each semantic recipe on real COCO images: subset, 20 steps, evaluation, pictures."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

RECIPES = {
    "person_unet_R34": "person",
    "person_u2net": "person",
    "semantic_deeplabv3plus_R50": "cake_car_dog_person",
    "semantic_deeplabv3plus_R101": "cake_car_dog_person",
}


def run(*command: str, env: dict) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=REPO, env=env, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def env(coco_subset_root, tmp_path_factory):
    """The environment of a user who has made both subsets: one file split, and two files."""
    root = tmp_path_factory.mktemp("datasets")
    env = {**os.environ, "DETECTRON2_DATASETS": str(root)}
    files = {
        split: [str(coco_subset_root / folder / part) for part in ("labels.json", "data")]
        for split, folder in (("train", "train-300"), ("val", "validation-300"))
    }
    labels, images = files["train"]
    run("datasets/prepare_coco_subset.py", "--coco", labels, "--images", images, "--person",
        "--ratio", "75", "12.5", "12.5", "--total", "80", "--name", "person",
        "--root", str(root), env=env)  # fmt: skip
    run("datasets/prepare_coco_subset.py", "--split", "train", *files["train"],
        "--split", "val", *files["val"], "--classes", "cake", "car", "dog", "person",
        "--train", "40", "--val", "10", "--name", "cake_car_dog_person",
        "--root", str(root), env=env)  # fmt: skip
    return env


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_trains_evaluates_and_draws(recipe, env, tmp_path):
    output, subset = tmp_path / "run", RECIPES[recipe]
    smp = recipe != "person_u2net"
    run(
        "tools/train_net.py",
        "--config-file",
        f"configs/{recipe}.py",
        f"train.output_dir={output}",
        *(["model.network.encoder_weights=null"] if smp else []),
        "dataloader.train.mapper.augmentations.0.shape=[64,64]",
        "dataloader.test.mapper.augmentations.0.shape=[64,64]",
        "dataloader.train.total_batch_size=2",
        "dataloader.train.num_workers=1",
        "dataloader.test.num_workers=0",
        "train.max_iter=20",
        "train.eval_period=0",
        "train.checkpointer.period=20",
        "train.num_pictures=4",
        env=env,
    )
    classes = ["person"] if subset == "person" else subset.split("_")
    metrics = json.loads((output / "results.json").read_text())["results"]["sem_seg"]
    assert {f"IoU-{name}" for name in classes} <= set(metrics)
    assert 0 < metrics["pACC"] <= 100
    images = json.loads(
        Path(env["DETECTRON2_DATASETS"], subset, "annotations/val.json").read_text()
    )["images"]
    found = json.loads((output / f"inference/{subset}_val/sem_seg_predictions.json").read_text())
    assert {r["image_id"] for r in found} <= {image["id"] for image in images}
    pictures = sorted(p.name for p in (output / "pictures").iterdir())
    assert len(pictures) == 5
    assert (output / "pictures/contact_sheet.png").stat().st_size > 10_000
    assert (output / "model_best.pth").is_file()
    shutil.rmtree(output)  # a gigabyte of checkpoints
