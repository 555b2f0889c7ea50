"""What can end a run, done to the real tool: nothing is lost, and the words say how to go on."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import project  # noqa: F401 - makes `detectron2` importable

import pytest
import torch

REPO = Path(__file__).resolve().parents[2]
TINY = [
    "dataset.name=tiny",
    "dataloader.train.total_batch_size=2",
    "train.log_period=1",
    "train.num_pictures=0",
    "model.roi_heads.box_predictor.test_score_thresh=0.0",
]


@pytest.fixture(scope="module")
def main(load_tool):
    return load_tool("tools/train_net.py").main


@pytest.fixture(autouse=True)
def datasets(tiny_root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tiny_root))


def read(file: Path):
    return json.loads(file.read_text())


def iterations(run: Path) -> list[int]:
    """Those of the steps; the evaluation at the end has one of its own."""
    rows = map(json.loads, (run / "metrics.json").read_text().splitlines())
    return [row["iteration"] for row in rows if "total_loss" in row]


def weights(file: Path) -> dict:
    return torch.load(file, weights_only=True)


def same(a, b) -> bool:
    """Whether two states hold the same numbers, bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


# Infinite losses.


def test_a_run_that_diverges_goes_back_with_smaller_steps(main, tmp_path):
    options = ["optimizer.lr=1e12", "optimizer.max_norm=null", "lr_multiplier.warmup_iters=0"]
    guard = ["train.guard.lr_factor=1e-14", "train.guard.max_rollbacks=1"]
    length = ["train.max_iter=6", "train.eval_period=0"]
    run = tmp_path / "run"
    options.append("train.ema.decay=0.9")  # the averages get rid of the NaN too
    assert main([*TINY, *options, *guard, *length, f"train.output_dir={run}"]) == 0
    log = (run / "log.txt").read_text()
    assert "Rollback 1 of at most 1, learning rate times 1e-14" in log
    report = read(run / "divergence_1.json")
    (steps,) = report["steps_of_each_rank"]
    assert len(steps[-1]["samples"]) == 2
    assert {"position", "file_name", "image_id"} <= steps[-1]["samples"][0].keys()
    assert weights(run / "model_final.pth")["guard"] == {"rollbacks": 1}
    assert all(
        value.isfinite().all() for value in weights(run / "model_final.pth")["model"].values()
    )


def test_a_run_that_keeps_diverging_ends_with_an_explanation(main, tmp_path, capsys):
    options = ["optimizer.lr=1e12", "optimizer.max_norm=null", "lr_multiplier.warmup_iters=0"]
    guard = ["train.guard.lr_factor=1", "train.guard.max_rollbacks=2"]
    run = tmp_path / "run"
    length = ["train.max_iter=6", "train.eval_period=0"]
    assert main([*TINY, *options, *guard, *length, f"train.output_dir={run}"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "after 2 rollbacks; the batches are in" in error
    assert "Lower optimizer.lr" in error
    assert sorted(file.name for file in run.glob("divergence_*")) == [
        f"divergence_{number}.json" for number in (1, 2, 3)
    ]


# Memory.


def test_exhausted_memory_says_what_to_lower(main, tmp_path, capsys, monkeypatch):
    from project.engine.loop import Loop

    def run_step(loop):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(Loop, "run_step", run_step)
    assert main([*TINY, f"train.output_dir={tmp_path}/run", "train.max_iter=1"]) == 2
    error = capsys.readouterr().err
    assert "out of memory (CUDA out of memory. Tried to allocate 20.00 GiB)" in error
    assert "dataloader.train.total_batch_size (now 2), more train.accumulate (now 1)" in error


# What goes wrong while evaluating.


def test_a_signal_in_the_last_evaluation_says_how_to_go_on(main, tmp_path, capsys, monkeypatch):
    def evaluate(cfg, model):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("project.engine.trainer.evaluate", evaluate)
    run = tmp_path / "run"
    assert main([*TINY, f"train.output_dir={run}", "train.max_iter=1"]) == 75
    error = capsys.readouterr().err
    assert f"stopped by SIGTERM after iteration 1 of 1; the run is saved in {run}" in error
    assert (run / "model_final.pth").is_file()


def test_a_full_disk_leaves_out_an_evaluation(main, tmp_path, monkeypatch):
    def evaluate(cfg, model):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("project.engine.trainer.evaluate", evaluate)
    run = tmp_path / "run"
    options = ["train.max_iter=2", "train.eval_period=1"]
    assert main([*TINY, *options, f"train.output_dir={run}"]) == 0
    assert iterations(run) == [0, 1]
    assert (run / "log.txt").read_text().count("this evaluation is left out") == 2


# Resuming something else.


@pytest.fixture(scope="module")
def begun(main, tiny_root, tmp_path_factory):
    """A run of two iterations."""
    run = tmp_path_factory.mktemp("begun") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(tiny_root))
        assert main([*TINY, f"train.output_dir={run}", "train.max_iter=2"]) == 0
    return run


def test_another_batch_names_the_difference(main, begun, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(begun, run)
    options = ["dataloader.train.total_batch_size=4", "train.max_iter=4"]
    config = (run / "config.yaml").read_bytes()
    assert main(["--resume", *TINY, *options, f"train.output_dir={run}"]) == 2
    assert (run / "config.yaml").read_bytes() == config  # still tells of the run that is there
    error = capsys.readouterr().err
    assert "dataloader.train.total_batch_size changed from 2 to 4" in error


def test_a_run_is_evaluated_without_its_training_images(main, begun, tmp_path, monkeypatch):
    shutil.copytree(Path(os.environ["DETECTRON2_DATASETS"], "tiny"), tmp_path / "bare")
    (tmp_path / "bare/annotations/train.json").unlink()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    options = [*TINY, "dataset.name=bare", f"train.output_dir={begun}"]
    assert main(["--eval-only", *options]) == 0
    assert read(begun / "evaluation.json")["results"] == read(begun / "results.json")["results"]


def test_other_labels_name_the_difference(main, begun, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(begun, run)
    file = run / "model_final.pth"
    content = weights(file)
    content["identity"]["objects"][3] += 1  # a person more than the split has now
    torch.save(content, file)
    Path(f"{file}.sha256").unlink()
    assert main(["--resume", *TINY, "train.max_iter=4", f"train.output_dir={run}"]) == 2
    assert "the training objects of each class changed from" in capsys.readouterr().err


def test_a_new_learning_rate_is_taken_by_a_resumed_run(main, begun, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(begun, run)
    options = ["train.max_iter=4", "optimizer.lr=0.5", "lr_multiplier.warmup_iters=0"]
    assert main(["--resume", *TINY, *options, f"train.output_dir={run}"]) == 0
    groups = weights(run / "model_final.pth")["trainer"]["optimizer"]["param_groups"]
    assert {group["initial_lr"] for group in groups} == {0.5}


# Signals, as another process sends them.


def start(run: Path, *options: str) -> subprocess.Popen:
    flags = [option for option in options if "=" not in option or option.startswith("-")]
    overrides = [option for option in options if option not in flags]
    command = [sys.executable, "tools/train_net.py", *flags, *TINY, *overrides]
    return subprocess.Popen(
        [*command, f"train.output_dir={run}"],
        cwd=REPO,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, process, seconds: float = 120.0, pause: float = 0.01) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(pause)


def has_done(run: Path, number: int):
    file = run / "metrics.json"
    return lambda: file.is_file() and file.read_text().count('"total_loss"') >= number


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, number):
    run = tmp_path / "run"
    process = start(run, "train.seed=0", "train.max_iter=500", "train.checkpointer.period=500")
    wait_for(has_done(run, 3), process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert f"stopped by {number.name} after iteration" in err
    assert "--resume continues it" in err
    assert "Traceback" not in out + err
    done = iterations(run)
    assert done == list(range(len(done)))
    assert weights(run / f"model_{done[-1]:07d}.pth")["trainer"]["iteration"] == done[-1]
    length = f"train.max_iter={len(done) + 2}"
    process = start(run, "--resume", length, "train.eval_period=0")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert iterations(run) == list(range(len(done) + 2))


LEAF = """
from project.engine.hooks import EarlyStopping

from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig

cfg = LazyConfig.load({quickstart!r})
dataloader, dataset, model = cfg.dataloader, cfg.dataset, cfg.model
lr_multiplier, optimizer, train = cfg.lr_multiplier, cfg.optimizer, cfg.train
train.ema.decay = 0.9
train.max_iter, train.eval_period, train.checkpointer.period = 24, 4, 2
train.hooks.early_stopping = L(EarlyStopping)(
    metric="validation/total_loss", mode="max", period="${{train.eval_period}}", patience=3
)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_ends_with_the_weights_of_the_unbroken_one(tmp_path):
    leaf = tmp_path / "leaf.py"
    leaf.write_text(LEAF.format(quickstart=str(REPO / "configs/quickstart.py")))
    config = ["--config-file", str(leaf)]
    whole, broken = tmp_path / "whole", tmp_path / "broken"

    process = start(whole, *config)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Stopped early" in (whole / "log.txt").read_text()

    def kill_when(condition, *options: str, pause: float = 0.01) -> None:
        process = start(broken, *config, *options)
        wait_for(condition, process, pause=pause)
        process.kill()
        process.communicate()

    def is_saving() -> bool:
        return any(broken.glob("model_0*.pth.tmp"))

    seed = int(time.time())
    points = random.Random(seed)
    print("points of seed", seed)  # shown where the test fails
    kill_when(has_done(broken, points.randint(1, 4)))
    kill_when(is_saving, "--resume", pause=0.0)
    kill_when(has_done(broken, points.randint(8, 11)), "--resume")
    process = start(broken, *config, "--resume")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err

    ends = [weights(run / "model_final.pth") for run in (whole, broken)]
    assert ends[0]["trainer"]["stop_reason"] == ends[1]["trainer"]["stop_reason"] != ""
    assert ends[0]["trainer"].keys() >= {"trained_weights", "num_averaged", "optimizer", "hooks"}
    assert same(*ends)
    assert iterations(broken) == iterations(whole)
    assert read(broken / "results.json") == read(whole / "results.json")


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_costs_the_steps_since_the_one_before(main, tmp_path):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    options = [*TINY, "train.max_iter=4", "train.checkpointer.period=2", "train.eval_period=0"]
    assert main([*options, f"train.output_dir={whole}"]) == 0
    shutil.copytree(whole, torn)
    newest = torn / "model_final.pth"
    newest.write_bytes(newest.read_bytes()[:-1000])
    assert main(["--resume", *options, f"train.output_dir={torn}"]) == 0
    assert "Going back to" in (torn / "log.txt").read_text()
    assert same(weights(whole / "model_final.pth"), weights(newest))


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system that holds one checkpoint of 14 MiB, and not two."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_loses_nothing(main, small_disk, tmp_path, capsys):
    run = small_disk / "run"
    options = [*TINY, "train.max_iter=6", "train.checkpointer.period=2", "train.eval_period=0"]
    options += ["train.hooks.best_checkpoint=null", f"train.output_dir={run}"]
    assert main([*options, "train.disk_wait=1"]) == 2
    error = capsys.readouterr().err
    assert "no room for checkpoint model_final.pth" in error
    assert "Make room, then go on with --resume" in error
    kept = sorted(file.name for file in run.glob("model_*.pth"))
    assert kept == ["model_0000001.pth"]
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    assert main(["--resume", *options]) == 0
    whole = tmp_path / "whole"
    assert main([*options, f"train.output_dir={whole}"]) == 0
    assert same(weights(whole / "model_final.pth"), weights(run / "model_final.pth"))


@pytest.mark.slow
def test_a_corrupt_image_is_named_and_skipped(main, tiny_root, tmp_path, monkeypatch):
    shutil.copytree(tiny_root / "tiny", tmp_path / "torn")
    victim = min((tmp_path / "torn/images/train").iterdir())
    victim.write_bytes(victim.read_bytes()[:500])
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    run = tmp_path / "run"
    options = [*TINY, "dataset.name=torn", "train.max_iter=7", "train.eval_period=0"]
    assert main([*options, f"train.output_dir={run}"]) == 0
    assert victim.name in (run / "log.txt").read_text()


# Several processes.


def ranks_of(process: subprocess.Popen) -> list[int]:
    """Process ids of the ranks, in the order in which they were started."""
    found = subprocess.run(["pgrep", "-P", str(process.pid), "-f", "spawn_main"],
                           capture_output=True, text=True)  # fmt: skip
    return sorted(map(int, found.stdout.split()))


def start_two(run: Path, *options: str) -> subprocess.Popen:
    long = ["train.max_iter=5000", "train.eval_period=0", "train.checkpointer.period=2"]
    process = start(run, "--num-gpus=2", "train.device=cpu", *long, *options)
    wait_for(has_done(run, 4), process, seconds=240)
    return process


@pytest.mark.slow
def test_a_dying_rank_is_named_and_the_run_goes_on_with_resume(tmp_path):
    run = tmp_path / "run"
    process = start_two(run)
    os.kill(ranks_of(process)[1], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "process 1 was ended by SIGKILL" in line
    assert "--resume" in line
    saved = max(run.glob("model_0*.pth"))
    last = weights(saved)["trainer"]["iteration"]
    process = start(run, "--resume", f"train.max_iter={last + 3}", "train.eval_period=0")
    out, err = process.communicate(timeout=240)  # on one process: another world size
    assert process.returncode == 0, err
    assert iterations(run)[-1] == last + 2
    assert len(set(iterations(run))) == len(iterations(run))


@pytest.mark.slow
def test_a_stuck_rank_is_named_and_its_stacks_are_kept(tmp_path):
    run = tmp_path / "run"
    process = start_two(run, "train.watchdog.timeout=6")
    stuck = ranks_of(process)[1]
    os.kill(stuck, signal.SIGSTOP)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 70
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "process 1" in line
    assert "run_step" in (run / "stacks/rank0.txt").read_text()


@pytest.mark.slow
def test_two_ranks_finish_their_step_when_asked_to_stop(tmp_path):
    run = tmp_path / "run"
    process = start_two(run)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    done = iterations(run)
    assert weights(run / f"model_{done[-1]:07d}.pth")["trainer"]["iteration"] == done[-1]
