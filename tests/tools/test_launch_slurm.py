"""SLURM jobs: what is asked for, what runs, and that a stopped run comes back."""

import json
import os
import signal
import stat
import sys
import textwrap
import time
from pathlib import Path

from project.engine.slurm import Request, Training, describe, minutes, submit, wait
from project.errors import UserError

import pytest

pytest.importorskip("submitit")


@pytest.fixture(scope="module")
def main(load_tool):
    return load_tool("tools/launch_slurm.py").main


@pytest.mark.parametrize(
    "text, expected",
    [("90", 90), ("90:30", 91), ("1:30:00", 90), ("2-0", 2880), ("1-12:30", 2190), ("0:0:1", 1)],
)
def test_time(text, expected):
    assert minutes(text) == expected


@pytest.mark.parametrize("text", ["", "a", "1:2:3:4", "-3", "0", "1h"])
def test_no_time(text):
    with pytest.raises(UserError, match="--time"):
        minutes(text)


def test_two_nodes_meet_at_the_first(tmp_path):
    training = Training(tmp_path / "train.py", ["a=1"], Request(nodes=2, gpus_per_node=4))
    first, second = (training.command(node, "n7", "123") for node in (0, 1))
    assert first[:2] == [sys.executable, str(tmp_path / "train.py")]
    assert first[2:8] == ["--num-gpus", "4", "--num-machines", "2", "--machine-rank", "0"]
    assert second[6:8] == ["--machine-rank", "1"]
    assert first[8] == "--dist-url"
    assert first[9].startswith("tcp://n7:")
    assert first[9:] == second[9:]
    assert first[10:] == ["--resume", "a=1"]
    assert first[9] != training.command(0, "n7", "124")[9]


def test_an_evaluation_has_nothing_to_resume(tmp_path):
    training = Training(tmp_path / "train.py", ["--eval-only"], Request())
    assert training.command()[2:] == ["--eval-only"]


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A machine that has SLURM's commands: the job files that were handed in land in ``taken``."""
    commands, taken = tmp_path / "bin", tmp_path / "taken"
    commands.mkdir()
    taken.mkdir()
    for name, text in {
        "sbatch": f'cp "$1" {taken}/job.sh; echo Submitted batch job 12',
        "srun": "exit 1",
    }.items():
        file = commands / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    return taken


FLAGS = ["--partition", "gpu", "--nodes", "2", "--gpus-per-node", "4", "--time", "1-0"]
FLAGS += ["--account", "me", "--memory", "64GB", "--sbatch", "reservation=night"]
FLAGS += ["--setup", "module load cuda"]


def test_a_dry_run_shows_what_would_be_submitted(main, slurm, tmp_path, capsys):
    run = tmp_path / "run"
    arguments = [*FLAGS, "--trust", f"train.output_dir={run}", "train.max_iter=5"]
    assert main(["--dry-run", *arguments]) == 0
    shown = capsys.readouterr().out
    for text in (
        "#SBATCH --partition=gpu",
        "#SBATCH --nodes=2",
        "#SBATCH --gpus-per-node=4",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --cpus-per-task=32",
        "#SBATCH --time=1440",
        "#SBATCH --mem=64GB",
        "#SBATCH --account=me",
        "#SBATCH --reservation=night",
        "#SBATCH --requeue",
        "#SBATCH --signal=USR2@180",
        "module load cuda",
        "--machine-rank 1 --dist-url tcp://HOST:PORT",
        f"--resume --trust train.output_dir={run} train.max_iter=5",
    ):
        assert text in shown, text
    assert not run.exists()
    assert not list(slurm.iterdir())
    # The same, for real.
    assert main(arguments) == 0
    assert "Submitted job 12" in capsys.readouterr().out
    assert shown.startswith((slurm / "job.sh").read_text().rstrip())
    # A second job must not write into the same run folder.
    assert main(arguments) == 2
    assert "--resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv, text",
    [
        (["--nodes", "0"], "--nodes 0: expected at least 1"),
        (["--nodes", "2", "--gpus-per-node", "0"], "a run on CPUs has one node"),
        (["--time", "soon"], "--time soon: expected minutes"),
        (["--time", "2"], "not longer than --signal-delay"),
        (["--num-gpus", "4"], "--num-gpus is not for the training tool here"),
        (["--sbatch", "night"], "expected KEY=VALUE"),
        (["train.max_itr=3", "--dry-run"], "did you mean 'max_iter'"),
        (["train.output_dir=null", "--dry-run"], "train.output_dir=null: expected text"),
    ],
)
def test_mistakes(main, capsys, argv, text):
    assert main(argv) == 2
    assert text in capsys.readouterr().err


def test_no_slurm_here(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="can't be submitted: Could not detect"):
        submit(Training(tmp_path / "train.py", [], Request()), tmp_path / "jobs", "slurm")


def test_without_submitit(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)  # import raises ImportError
    training = Training(tmp_path / "train.py", [], Request(nodes=2))
    for call in (
        lambda: describe(training, tmp_path),
        lambda: submit(training, tmp_path, "slurm"),
        training,
    ):
        with pytest.raises(UserError, match=r"need submitit: pip install -e '\.\[sweep\]'"):
            call()


TOOL = """
    import json, os, signal, sys, time
    from pathlib import Path

    log = Path(sys.argv[-1])
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    ignores = signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN
    rows = json.loads(log.read_text()) if log.is_file() else []
    rows.append([sys.argv[1:-1], os.getppid(), ignores])
    log.with_suffix(".new").write_text(json.dumps(rows))
    os.replace(log.with_suffix(".new"), log)
    if len(rows) == 2:
        sys.exit(0)
    deadline = time.time() + 20
    while not asked and time.time() < deadline:
        time.sleep(0.01)
    sys.exit(75 if asked else 1)
"""


def started(log: Path) -> list:
    deadline = time.time() + 60
    while not log.is_file() and time.time() < deadline:
        time.sleep(0.02)
    return json.loads(log.read_text())


@pytest.fixture
def stopping(tmp_path):
    """A local job whose run waits for a signal; it and the run's diary."""
    tool, log = tmp_path / "train.py", tmp_path / "log.json"
    tool.write_text(textwrap.dedent(TOOL))
    training = Training(tool, [str(log)], Request(gpus_per_node=0, signal_delay=30, time="5"))
    return submit(training, tmp_path / "jobs", "local"), log


def test_a_job_at_its_time_limit_saves_and_comes_back(stopping):
    job, log = stopping
    [[_, task, ignores]] = started(log)
    assert ignores  # SLURM sends SIGUSR2 to every process
    os.kill(task, signal.SIGUSR2)
    wait(job)
    assert job.result() == "done"
    assert [row[0] for row in started(log)] == [["--resume"], ["--resume"]]


def test_a_cancelled_job_saves_and_stays_away(stopping):
    job, log = stopping
    [[_, task, _]] = started(log)
    os.kill(task, signal.SIGTERM)
    with pytest.raises(UserError, match=r"the run stopped and saved \(exit code 75\)"):
        wait(job)
    assert len(started(log)) == 1


@pytest.mark.slow
def test_a_run_as_a_local_job(main, datasets_root, tmp_path, capsys):
    run = tmp_path / "run"
    arguments = ["--cluster", "local", "--gpus-per-node", "0", "dataset.name=tiny"]
    arguments += ["dataloader.train.total_batch_size=2", "train.max_iter=2", "train.num_pictures=0"]
    assert main([*arguments, f"train.output_dir={run}"]) == 0
    assert f"is done: {run}" in capsys.readouterr().out
    assert json.loads((run / "results.json").read_text())["iterations"] == 2
    assert list((run / "slurm").glob("*_log.out"))
