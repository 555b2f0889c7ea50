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
import yaml

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
    for text in ("eta:", "segm", "AP50", "| cake ", "Sampling plan", "person"):
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


def test_a_yaml_config_builds_nothing_foreign_unless_it_is_trusted(
    main, trained, datasets_root, tmp_path, capsys
):
    config = yaml.safe_load((trained / "config.yaml").read_text())
    place = {"_target_": "os.path.abspath", "path": str(tmp_path / "found")}
    config["dataloader"]["evaluator"]["output_dir"] = place
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    arguments = ["--eval-only", "--config-file", str(file), f"train.output_dir={trained}"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "cfg.dataloader.evaluator.output_dir would build 'os.path.abspath'" in error
    assert "--trust" in error
    assert main(["--trust", *arguments]) == 0
    assert list((tmp_path / "found").iterdir())


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
        (["dataset.name=../tiny"], "'../tiny_val' leads out of the run folder"),
        (["model.roi_heads.num_classes=3"], "the model has 3 classes and the dataset has 4"),
        (["train.epoch=3"], "did you mean 'epochs'"),
        (["dataloader.train.total_batch_size=0"], "total_batch_size=0: expected a whole number"),
        (["train.max_iter=0"], "train.max_iter=0: expected a whole number of at least 1"),
        (["train.log_period=0"], "train.log_period=0: expected a whole number of at least 1"),
        (["train.seed=-1"], "train.seed=-1: expected a whole number of at least 0"),
        (["train.output_dir=null"], "train.output_dir=null: expected text"),
        (["train.epochs=2", "train.max_iter=3"], "both say how long the run lasts"),
        (["dataset.test=vali"], "did you mean 'val'"),
        (["optimizer.lr=fast"], "config key 'optimizer' can't be built: TypeError"),
        (["dataloader.train.sampling={_target_: project.data.sampler.RepeatFactors, treshold: 1}"],
         "config key 'dataloader.train' can't be built: TypeError"),
        (["lr_multiplier.warmup_iters=99", "train.max_iter=3"], "must fit into the run (3"),
        (["optimizer.lr=1e30", "train.max_iter=6"], "bound the gradients with optimizer.max_norm"),
        (["train.device=gpu"], "expected 'cuda' or 'cpu'"),
        (["train.amp.enabled=true", "train.device=cpu"], "take bfloat16"),
        (["train.init_checkpoint=no/such/file.pth"], "no/such/file.pth can't be loaded"),
        (["dataloader.train.sampling={_target_: project.data.sampler.ClassWeights, "
          "weights: {cat: 2}}"], "unknown class 'cat'"),
        (["--config-file", "none.py"], "none.py does not exist"),
        (["--eval-only"], "holds no checkpoint"),
        (["--num-gpus", "3", "train.device=cpu"], "does not split over 3 processes"),
        (["--num-gpus", "0"], "--num-gpus 0: expected at least 1"),
        (["--num-machines", "2"], "--dist-url tcp://"),
        (["--machine-rank", "1"], "--machine-rank 1: expected 0 to 0"),
    ],
)  # fmt: skip
def test_a_users_mistake_is_one_line(main, datasets_root, tmp_path, capfd, argv, text):
    flags = [a for i, a in enumerate(argv) if a.startswith("--") or argv[i - 1].startswith("--")]
    overrides = [a for a in argv if a not in flags]
    code = main([*flags, *TINY, f"train.output_dir={tmp_path}/run", *overrides])
    printed = capfd.readouterr()
    assert code == 2
    last = printed.err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert text in last
    assert "Traceback" not in printed.out + printed.err


def test_a_file_that_is_no_checkpoint(main, datasets_root, tmp_path, capsys):
    fake = tmp_path / "fake.pth"
    fake.write_text("not a checkpoint")
    argv = [*TINY, f"train.output_dir={tmp_path}/run", f"train.init_checkpoint={fake}"]
    assert main(argv) == 2
    assert f"weights {fake} can't be loaded" in capsys.readouterr().err


def test_a_mistake_before_the_first_step_leaves_the_folder_free(main, datasets_root, tmp_path):
    run = [*TINY, f"train.output_dir={tmp_path}/run", "train.max_iter=1", "train.eval_period=0"]
    assert main([*run, "model.roi_heads.num_classes=3"]) == 2
    assert not any((tmp_path / "run").iterdir())
    assert main(run) == 0


def test_a_run_that_has_done_more_than_it_is_asked_for(main, trained, datasets_root, capsys):
    argv = ["--resume", *TINY, f"train.output_dir={trained}", "train.max_iter=2"]
    assert main(argv) == 2
    assert "has done 4 iterations, and train.max_iter=2" in capsys.readouterr().err
    assert iterations(trained) == [0, 1, 2, 3]


def test_a_finished_run_is_evaluated_again(main, trained, datasets_root, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / "results.json").unlink()
    config = ["--config-file", str(run / "config.yaml")]  # its own, which is safe to build
    assert main(["--resume", *config, f"train.output_dir={run}"]) == 0
    assert read(run / "results.json")["results"] == read(trained / "results.json")["results"]


def test_a_pointer_to_a_lost_checkpoint(main, trained, datasets_root, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / "last_checkpoint").write_text("lost.pth")
    assert main(["--eval-only", *TINY, f"train.output_dir={run}", "train.max_iter=6"]) == 2
    assert "lost.pth can't be loaded" in capsys.readouterr().err
    (run / "last_checkpoint").write_text("")
    assert main(["--eval-only", *TINY, f"train.output_dir={run}"]) == 2
    assert "holds no checkpoint to evaluate" in capsys.readouterr().err


def test_a_broken_picture_met_by_a_loader_process_in_evaluation(
    main, tiny_root, tmp_path, monkeypatch, capsys
):
    shutil.copytree(tiny_root / "tiny", tmp_path / "torn")
    victim = sorted((tmp_path / "torn/images/val").iterdir())[2]
    victim.write_bytes(victim.read_bytes()[:1000])
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    options = ["dataset.name=torn", "train.max_iter=1", "dataloader.test.num_workers=1"]
    assert main([*TINY, *options, f"train.output_dir={tmp_path}/run"]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: image {victim} (image id ")
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.out


def test_an_unlabelled_test_split_is_predicted_without_scores(
    main, tiny_root, tmp_path, monkeypatch
):
    shutil.copytree(tiny_root / "tiny", tmp_path / "bare")
    file = tmp_path / "bare/annotations/test.json"
    document = read(file)
    del document["annotations"]
    file.write_text(json.dumps(document))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    options = ["dataset.name=bare", "dataset.test=test", "train.max_iter=1"]
    assert main([*TINY, *options, f"train.output_dir={tmp_path}/run"]) == 0
    assert read(tmp_path / "run/results.json")["results"] == {}
    assert read(tmp_path / "run/inference/bare_test/coco_instances_results.json")


def test_ctrl_c_is_one_word(main, monkeypatch, capsys):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setitem(main.__wrapped__.__globals__, "start", interrupt)
    assert main([]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.slow
def test_torchrun_trains_and_evaluates_the_model_that_it_saves(main, datasets_root, tmp_path):
    run = tmp_path / "run"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    options = [*TINY, f"train.output_dir={run}", "train.max_iter=2", "train.device=cpu"]
    done = subprocess.run([*torchrun, "tools/train_net.py", *options], cwd=REPO,
                          capture_output=True, text=True, timeout=600)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert iterations(run) == [0, 1]
    assert done.stdout.count(f"Trained {run}") == 1
    # Each process saw other images, so its batch norm knows others; the main one's is saved.
    judged = scores(run)
    assert main(["--eval-only", *options]) == 0
    assert scores(run) == pytest.approx(judged, abs=1e-6)


def scores(run: Path) -> list[float]:
    """Scores on the images of the second half: another process's shard where there are two."""
    results = read(run / "inference/tiny_val/coco_instances_results.json")
    return sorted(result["score"] for result in results if result["image_id"] > 3)


def test_two_processes_on_the_cpu(tiny_root, tmp_path):
    run = tmp_path / "run"
    options = [f"train.output_dir={run}", "train.max_iter=2", "train.device=cpu"]
    command = [sys.executable, "tools/train_net.py", "--num-gpus", "2", *TINY, *options]
    environment = {**os.environ, "DETECTRON2_DATASETS": str(tiny_root)}
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert iterations(run) == [0, 1]
    assert done.stdout.strip().splitlines()[-1].startswith(f"Trained {run}")
