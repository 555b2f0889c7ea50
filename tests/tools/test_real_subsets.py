"""The main job on real COCO images: subset, train, resume, evaluate, draw; no Python is edited.

Batch 2, 256 pixels, 20 iterations, the real R50-FPN from random weights.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

SUBSETS = {
    "cake_car_dog_person": ["cake", "car", "dog", "person"],
    "phone_kite": ["cell phone", "kite"],
    "dogs": ["dog"],
}


def run(*command: str, env: dict) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=REPO, env=env, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("name", SUBSETS)
def test_a_real_subset_from_its_file_to_its_pictures(name, coco_subset_root, tmp_path):
    classes = SUBSETS[name]
    env = {**os.environ, "DETECTRON2_DATASETS": str(tmp_path)}
    env.pop("OMP_NUM_THREADS", None)  # as a user runs it
    run("datasets/prepare_coco_subset.py", *source(name, coco_subset_root), "--name", name,
        "--root", str(tmp_path), "--classes", *classes, env=env)  # fmt: skip
    output = tmp_path / "run"
    options = [
        f"dataset.name={name}",
        f"train.output_dir={output}",
        "train.init_checkpoint=",
        "model.backbone.bottom_up.stem.norm=BN",
        "model.backbone.bottom_up.freeze_at=0",
        "dataloader.train.total_batch_size=2",
        "dataloader.train.num_workers=1",
        "dataloader.test.num_workers=0",
        "train.log_period=5",
        "train.num_pictures=4",
        # A model after 20 steps knows nothing: any score counts, so that something is evaluated.
        "model.roi_heads.box_predictor.test_score_thresh=0.0",
        "model.roi_heads.box_predictor.test_topk_per_image=5",
    ]
    config = ["--config-file", "configs/recipes/resize256_adam.py"]
    run("tools/train_net.py", *config, *options, "train.max_iter=12", "train.eval_period=0",
        "optimizer.lr=1e-4", env=env)  # fmt: skip
    run("tools/train_net.py", *config, "--resume", *options, "train.max_iter=20",
        "train.eval_period=0", "optimizer.lr=1e-4", env=env)  # fmt: skip
    rows = map(json.loads, (output / "metrics.json").read_text().splitlines())
    assert [row["iteration"] for row in rows if "total_loss" in row] == [4, 9, 11, 14, 19]
    trained = json.loads((output / "results.json").read_text())["results"]
    assert {"bbox", "segm"} == set(trained)
    if len(classes) > 1:  # COCOEvaluator tells classes apart only where there are several
        assert {f"AP-{c}" for c in classes} <= set(trained["segm"])

    run("tools/train_net.py", *config, "--eval-only", *options, env=env)
    again = json.loads((output / "evaluation.json").read_text())["results"]
    assert again == trained
    drawn = tmp_path / "drawn"
    closing = run("tools/visualize.py", "--run", str(output), "--limit", "3", "--threshold", "0",
                  "--output", str(drawn), env=env)  # fmt: skip
    assert closing.strip().splitlines()[-1] == f"Wrote 3 images to {drawn}"
    assert (drawn / "contact_sheet.png").stat().st_size > 10_000
    if name == "cake_car_dog_person":  # 30 unlabelled images: the model itself is needed
        run("tools/visualize.py", "--run", str(output), "--dataset", f"{name}_test", "--limit", "2",
            "--threshold", "0", "--output", str(drawn / "test"), env=env)  # fmt: skip
        found = output / f"inference/{name}_test/coco_instances_results.json"
        assert len({row["image_id"] for row in json.loads(found.read_text())}) == 30
        assert len(list((drawn / "test").glob("*.png"))) == 3
    shutil.rmtree(tmp_path / "run")  # half a gigabyte of checkpoints


def source(name: str, root: Path) -> list[str]:
    train = [str(root / "train-300/labels.json"), str(root / "train-300/data")]
    val = [str(root / "validation-300/labels.json"), str(root / "validation-300/data")]
    if name == "phone_kite":  # one file, to be split
        return ["--coco", val[0], "--images", val[1], "--train", "8", "--val", "4"]
    files = ["--split", "train", *train, "--split", "val", *val]
    if name == "dogs":
        return files
    # Evaluation takes 0.4 s an image, and there are three.
    return [*files, "--val", "60", "--test-images", str(root / "test-30")]
