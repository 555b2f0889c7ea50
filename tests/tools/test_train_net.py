"""The main job as a user runs it, at a tiny size: train, look, refuse, resume, evaluate."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import project  # noqa: F401 - makes `detectron2` importable

import pytest
import torch

REPO = Path(__file__).resolve().parents[2]
TINY = [
    "dataset.name=tiny",
    "dataloader.train.total_batch_size=2",
    "train.log_period=1",
    "train.num_pictures=2",
    "model.roi_heads.box_predictor.test_score_thresh=0.0",
]


@pytest.fixture(scope="module")
def main(load_tool):
    return load_tool("tools/train_net.py").main


@pytest.fixture(scope="module")
def trained(main, tiny_root, tmp_path_factory):
    """A run of four iterations, evaluated after two and four."""
    run = tmp_path_factory.mktemp("runs") / "run"
    overrides = [f"train.output_dir={run}", "train.max_iter=4", "train.eval_period=2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(tiny_root))
        assert main([*TINY, *overrides]) == 0
    return run


def read(file: Path):
    return json.loads(file.read_text())


def iterations(run: Path) -> list[int]:
    lines = (run / "metrics.json").read_text().splitlines()
    return [row["iteration"] for row in map(json.loads, lines) if "total_loss" in row]


def test_a_run_folder_is_complete(trained):
    names = {p.name for p in trained.iterdir()}
    assert {
        "config.yaml",
        "log.txt",
        "metrics.json",
        "results.json",
        "model_final.pth",
        "last_checkpoint",
        "inference",
        "pictures",
    } <= names
    assert (trained / "inference/tiny_val/coco_instances_results.json").is_file()
    assert (trained / "pictures/contact_sheet.png").is_file()
    assert iterations(trained) == [0, 1, 2, 3]


def test_the_results_hold_metrics_and_samples(trained):
    record = read(trained / "results.json")
    assert record["iterations"] == 4
    names = {"AP", "AP50", "AP75", "APs", "APm", "APl"}
    names |= {f"AP-{name}" for name in ("cake", "car", "dog", "person")}
    assert names <= set(record["results"]["bbox"])
    assert names <= set(record["results"]["segm"])
    assert record["sampling"]["num_drawn"] == 8
    assert record["sampling"]["classes"]["person"]["images"]["drawn"] > 0


def test_the_log_tells_eta_tables_and_the_sampling(trained):
    log = (trained / "log.txt").read_text()
    for text in ("eta:", "segm", "AP-cake", "Sampling plan", "person"):
        assert text in log, text


def test_a_checkpoint_is_plain_data(trained):
    content = torch.load(trained / "model_final.pth", weights_only=True)
    assert content["iteration"] == 3
    assert {"model", "trainer"} <= set(content)


def test_a_used_folder_is_refused_with_both_choices(main, trained, datasets_root, capsys):
    before = sorted(p.name for p in trained.iterdir())
    assert main([*TINY, f"train.output_dir={trained}"]) == 2
    error = capsys.readouterr().err
    assert "--resume" in error
    assert "train.output_dir=" in error
    assert sorted(p.name for p in trained.iterdir()) == before


def test_evaluation_alone_gives_the_same_numbers(main, trained, datasets_root):
    predictions = trained / "inference/tiny_val/coco_instances_results.json"
    before, results = predictions.read_bytes(), read(trained / "results.json")
    assert main(["--eval-only", *TINY, f"train.output_dir={trained}"]) == 0
    assert predictions.read_bytes() == before
    assert read(trained / "evaluation.json")["results"] == results["results"]


def test_a_stopped_run_goes_on(main, trained, datasets_root, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    overrides = [f"train.output_dir={run}", "train.max_iter=6", "train.eval_period=0"]
    assert main(["--resume", *TINY, *overrides, "train.checkpointer.period=2"]) == 0
    assert iterations(run) == [0, 1, 2, 3, 4, 5]
    assert torch.load(run / "model_final.pth", weights_only=True)["iteration"] == 5


def test_one_seed_one_run(main, datasets_root, tmp_path):
    def losses(run: Path, seed: int) -> list[float]:
        options = [f"train.output_dir={run}", "train.max_iter=2", f"train.seed={seed}"]
        assert main([*TINY, *options, "train.num_pictures=0", "train.eval_period=0"]) == 0
        rows = map(json.loads, (run / "metrics.json").read_text().splitlines())
        return [row["total_loss"] for row in rows if "total_loss" in row]

    first = losses(tmp_path / "a", seed=1)
    assert first == losses(tmp_path / "b", seed=1)
    assert first != losses(tmp_path / "c", seed=2)


@pytest.mark.parametrize(
    "argv, text",
    [
        (["dataset.name=scnes"], "did you mean 'scenes'"),
        (["dataset.train=trian"], "did you mean 'train'"),
        (["model.roi_heads.num_classes=3"], "the model has 3 classes and the dataset has 4"),
        (["train.epoch=3"], "did you mean 'epochs'"),
        (["dataloader.train.total_batch_size=0"], "at least 1 image"),
        (["train.device=gpu"], "expected 'cuda' or 'cpu'"),
        (["train.amp.enabled=true", "train.device=cpu"], "take bfloat16"),
        (["train.init_checkpoint=no/such/file.pth"], "no/such/file.pth can't be loaded"),
        (["dataloader.train.sampling={_target_: project.data.sampler.ClassWeights, "
          "weights: {cat: 2}}"], "unknown class 'cat'"),
        (["--config-file", "none.py"], "none.py does not exist"),
        (["--eval-only"], "holds no checkpoint"),
        (["--num-gpus", "3", "train.device=cpu"], "does not split over 3 processes"),
    ],
)  # fmt: skip
def test_a_users_mistake_is_one_line(main, datasets_root, tmp_path, capfd, argv, text):
    flags = [a for i, a in enumerate(argv) if a.startswith("--") or argv[i - 1].startswith("--")]
    overrides = [a for a in argv if a not in flags]
    code = main([*flags, *TINY, f"train.output_dir={tmp_path}/run", *overrides])
    assert code == 2
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert text in last


def test_a_file_that_is_no_checkpoint(main, datasets_root, tmp_path, capsys):
    fake = tmp_path / "fake.pth"
    fake.write_text("not a checkpoint")
    argv = [*TINY, f"train.output_dir={tmp_path}/run", f"train.init_checkpoint={fake}"]
    assert main(argv) == 2
    assert f"weights {fake} can't be loaded" in capsys.readouterr().err


def test_two_processes_on_the_cpu(tiny_root, tmp_path):
    run = tmp_path / "run"
    options = [f"train.output_dir={run}", "train.max_iter=2", "train.device=cpu"]
    command = [sys.executable, "tools/train_net.py", "--num-gpus", "2", *TINY, *options]
    environment = {**os.environ, "DETECTRON2_DATASETS": str(tiny_root)}
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert iterations(run) == [0, 1]
    assert done.stdout.strip().splitlines()[-1].startswith(f"Trained {run}")
