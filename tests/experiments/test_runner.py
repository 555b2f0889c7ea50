"""Sweeps over a training tool that takes no time: what is run, kept, resumed, retried, stopped."""

import csv
import fcntl
import json
import os
import signal
import threading
import time
from pathlib import Path

from project.engine.config import load_config
from project.errors import UserError
from project.experiments import study
from project.experiments.plan import Range, Study, Sweep
from project.experiments.runner import Slot, error_line, find_slots, quoted
from project.experiments.store import SweepStore
from project.experiments.sweep import dry_run, run_sweep, summary

import pytest

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path, tool):
    """``run(sweep)`` → its store, on two processes of the CPU."""
    (tmp_path / "base.py").touch()

    def call(sweep: Sweep, **options) -> SweepStore:
        options = {"jobs": 2, **options}
        return run_sweep(sweep, tmp_path, tmp_path / "out", tool, **options)

    return call


def table(store: SweepStore) -> list[dict]:
    with open(store.folder / "runs.csv", newline="") as file:
        return list(csv.DictReader(file))


def interrupt_when_there(files: list[Path]) -> None:
    """What `kill` does to the sweep, once its runs are at work."""
    until = time.monotonic() + 30
    while not all(file.exists() for file in files) and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGTERM)


def states(store: SweepStore) -> list[str]:
    return [record.state for record in store.records.values()]


def test_every_point_has_its_folder_and_its_row(run):
    store = run(Sweep("base.py", grid={"optimizer.lr": [0.1, 0.2]}, seeds=(0, 1)))
    assert summary(store) == "4 runs: 4 done"
    rows = table(store)
    assert [row["run"] for row in rows[:2]] == ["lr-0.1_seed-0", "lr-0.2_seed-0"]
    assert [row["segm/AP"] for row in rows] == ["10.0", "20.0"] * 2
    assert [row["seed"] for row in rows] == ["0", "0", "1", "1"]
    assert {row["exit"] for row in rows} == {"0"}
    cores = len(os.sched_getaffinity(0))
    assert (store.run_dir("lr-0.1_seed-0") / "threads").read_text() == str(max(cores // 2, 1))


def test_a_second_call_adds_only_what_is_new(run):
    first = run(Sweep("base.py", grid={"optimizer.lr": [0.1]}))
    file = first.run_dir("lr-0.1_seed-0") / "results.json"
    written = file.stat().st_mtime_ns
    store = run(Sweep("base.py", grid={"optimizer.lr": [0.1, 0.3]}))
    assert states(store) == ["done", "done"]
    assert file.stat().st_mtime_ns == written


def test_a_crash_ends_itself_alone_and_is_tried_once_more(run, tool):
    sweep = Sweep("base.py", grid={"fail": ["no such class"], "optimizer.lr": [0.1]})
    store = run(sweep)
    other = run(Sweep("base.py", grid={"optimizer.lr": [0.1]}))
    assert states(store) == ["failed"]
    assert states(other) == ["failed", "done"]
    assert table(store)[0]["error"] == "no such class"
    assert table(store)[0]["exit"] == "1"
    assert run(sweep).records["fail-no-such-class_lr-0.1_seed-0"].attempts == 1  # nothing is left
    tool.with_name("mended").touch()
    assert states(run(sweep)) == ["done", "done"]
    assert table(store)[0]["error"] == ""


def test_a_run_that_fails_in_its_folder_twice_rests(run, tmp_path):
    sweep = Sweep("base.py", overrides=["fail=x"])
    (tmp_path / "out/seed-0").mkdir(parents=True)
    (tmp_path / "out/sweep.json").write_text('{"runs": {}}')
    attempts = [run(sweep).records["seed-0"].attempts for _ in range(3)]
    assert attempts == [1, 2, 2]


def test_ctrl_c_lets_the_runs_save_and_the_next_call_resumes_them(run, tmp_path):
    sweep = Sweep("base.py", overrides=["wait=100"], grid={"optimizer.lr": [0.1, 0.2, 0.3]})
    ready = [tmp_path / f"out/lr-{lr}_seed-0/ready" for lr in (0.1, 0.2)]
    thread = threading.Thread(target=interrupt_when_there, args=(ready,))
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run(sweep)
    thread.join()
    content = json.loads((tmp_path / "out/sweep.json").read_text())["runs"].values()
    assert [entry["state"] for entry in content] == ["waiting"] * 3
    assert [entry["exit"] for entry in content] == [75, 75, None]
    again = Sweep("base.py", overrides=["wait=100"], grid={"optimizer.lr": [0.1, 0.2]})
    assert states(run(again))[:2] == ["done", "done"]


def test_one_sweep_at_a_time(run, tmp_path):
    run(Sweep("base.py"))
    with open(tmp_path / "out/.lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another sweep, or a run that it left behind"):
            run(Sweep("base.py"))


def test_a_name_keeps_its_settings(run):
    run(Sweep("base.py", overrides=["optimizer.lr=0.1"]))
    with pytest.raises(UserError, match=r"begun otherwise \(optimizer.lr=0.1, optimizer.lr=0.2"):
        run(Sweep("base.py", overrides=["optimizer.lr=0.2"]))


def test_a_strange_folder_is_left_alone(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").touch()
    with pytest.raises(UserError, match="no sweep's folder and not empty"):
        run(Sweep("base.py"))


def test_a_missing_config(run, tmp_path):
    with pytest.raises(UserError, match="config file .*gone.py does not exist"):
        run(Sweep("gone.py"))
    assert not (tmp_path / "out").exists()


def test_what_another_sweep_does_until_the_folder_is_claimed_counts(run, monkeypatch):
    sweep, made = Sweep("base.py"), []

    def slots(jobs):
        monkeypatch.undo()
        file = run(sweep).run_dir("seed-0") / "threads"
        made.append((file, file.stat().st_mtime_ns))
        return find_slots(jobs)

    monkeypatch.setattr("project.experiments.sweep.find_slots", slots)
    assert states(run(sweep)) == ["done"]
    ((file, written),) = made
    assert file.stat().st_mtime_ns == written


def test_results_that_are_none_are_named(run):
    store = run(Sweep("base.py"))
    for content in ("[]", '{"iterations": 1}', '{"results": [1]}'):
        (store.run_dir("seed-0") / "results.json").write_text(content)
        with pytest.raises(UserError, match="seed-0/results.json holds no run's results"):
            store.save()


def test_a_dry_run_prints_commands_and_writes_nothing(run, tmp_path, tool):
    sweep = Sweep("base.py", grid={"optimizer.lr": [0.1, 0.2]})
    lines = list(dry_run(sweep, tmp_path, tmp_path / "out", tool))
    assert not (tmp_path / "out").exists()
    assert lines[0].endswith(
        f"{tool} --config-file {tmp_path}/base.py optimizer.lr=0.1 train.seed=0 "
        f"train.output_dir={tmp_path}/out/lr-0.1_seed-0"
    )
    run(Sweep("base.py", grid={"optimizer.lr": [0.1]}))
    (tmp_path / "out/lr-0.2_seed-0").mkdir()
    (tmp_path / "out/lr-0.2_seed-0/config.yaml").touch()
    done, begun = dry_run(sweep, tmp_path, tmp_path / "out", tool)
    assert done.startswith("# done: ")
    assert " --resume " in begun


def test_slots(monkeypatch):
    import torch

    assert len(find_slots(3)) == 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert find_slots(None)[1] == Slot("GPU 1", {"CUDA_VISIBLE_DEVICES": "1"})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-ab")
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in find_slots(None)] == [
        "3",
        "GPU-ab",
    ]
    assert find_slots(1)[0].environment["CUDA_VISIBLE_DEVICES"] == ""
    with pytest.raises(UserError, match="--jobs 0"):
        find_slots(0)


@pytest.mark.parametrize(
    "folder", ["out/a_b-1+c", "out/U²-Net small", "o'clock", "a b/$x=(1), [2]{3}", "a\\b", "a\\'b"]
)
def test_any_folder_reaches_the_config(folder):
    override = f"train.output_dir={quoted(Path(folder))}"
    assert load_config(REPO / "configs/quickstart.py", [override]).train.output_dir == folder


def test_the_line_that_tells_why(tmp_path: Path):
    log = tmp_path / "log.txt"
    log.write_text("a\nerror: no such file\nclosing\n")
    assert error_line(log, 2) == "no such file"
    log.write_text("Traceback\n  x\nKeyError: 'y'\n\n")
    assert error_line(log, 1) == "KeyError: 'y'"
    killed = error_line(log, -9)
    assert killed.startswith("was ended by SIGKILL (often out of memory")
    assert killed.endswith("; its last line: KeyError: 'y'")
    real_time = f"was ended by signal {signal.SIGRTMIN + 2}; its last line: KeyError: 'y'"
    assert error_line(log, -signal.SIGRTMIN - 2) == real_time
    log.write_text("")
    assert error_line(log, 1) == "no output"


def test_a_study_searches_and_goes_on(run):
    pytest.importorskip("optuna")
    search = {"optimizer.lr": Range(0.01, 0.1), "batch": Range(1, 4), "norm": ["BN", "GN"]}
    store = run(Sweep("base.py", study=Study(search, trials=3)), jobs=1)
    assert states(store) == ["done"] * 3
    rows = table(store)
    assert [row["run"] for row in rows] == ["trial-000", "trial-001", "trial-002"]
    for row in rows:
        assert float(row["segm/AP"]) == pytest.approx(100 * float(row["optimizer.lr"]))
        assert row["batch"] in "1234"
    # Runs that are far below the median never end by themselves: they are pruned, and the store
    # tells so; what they were to try is new.
    sweep = Sweep(
        "base.py",
        overrides=["wait=1000", "handicap=50"],
        study=Study(search, trials=4, warmup_trials=1),
    )
    store = run(sweep, jobs=1)
    assert states(store) == ["done"] * 3 + ["pruned"]
    assert table(store)[-1]["exit"] == "75"
    assert len({row["optimizer.lr"] for row in table(store)}) == 4
    assert states(run(sweep)) == states(store)


def test_a_study_goes_on_as_it_was_begun(run, tmp_path):
    pytest.importorskip("optuna")
    search = {"optimizer.lr": Range(0.01, 0.1), "norm": ["BN", "GN"]}
    run(Sweep("base.py", study=Study(search, trials=1)), jobs=1)
    for other, message in (
        (Study(search, direction="minimize"), "was begun to maximize, not to minimize"),
        (Study({**search, "norm": ["BN"]}), "was begun with norm from Categorical.*'GN'"),
        (Study({**search, "norm": Range(0, 1)}), "was begun with norm from Categorical"),
        (Study({"optimizer.lr": Range(0.01, 0.1, log=True)}), "begun with optimizer.lr from"),
    ):
        with pytest.raises(UserError, match=message):
            run(Sweep("base.py", study=other), jobs=1)
    wider = Study({**search, "optimizer.lr": Range(0.001, 1.0)}, trials=2)
    assert states(run(Sweep("base.py", study=wider), jobs=1)) == ["done", "done"]
    (tmp_path / "out/study.log").unlink()
    with pytest.raises(UserError, match=r"study\.log has lost trial-000; put it back, or choose"):
        run(Sweep("base.py", study=wider), jobs=1)


def test_a_study_over_a_metric_that_no_run_has_ends_with_its_first_run(run, tmp_path):
    pytest.importorskip("optuna")
    sweep = Sweep("base.py", study=Study({"optimizer.lr": [0.1]}, metric="segm/ap", trials=3))
    with pytest.raises(UserError, match="unknown metric 'segm/ap'; did you mean 'segm/AP'"):
        run(sweep, jobs=1)
    assert not (tmp_path / "out/trial-001").exists()


def test_a_study_reads_metrics_again_only_when_they_grew(tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    sweep = Sweep("base.py", study=Study({"optimizer.lr": [0.1]}))
    store = SweepStore.open(tmp_path / "out", sweep.column, sweep.keys)
    source = study.StudySource(sweep, tmp_path, store)
    record = source.take()
    folder, reads = store.run_dir(record.point.name), []
    folder.mkdir()
    original = study.read_metrics
    monkeypatch.setattr(study, "read_metrics", lambda f: reads.append(f) or original(f))
    for iteration in (0, 1):
        with open(folder / "metrics.json", "a") as file:
            file.write(json.dumps({"iteration": iteration, "segm/AP": 5.0}) + "\n")
        for _ in range(3):
            assert not source.is_hopeless(record)
    assert len(reads) == 2
    assert source.study.trials[0].intermediate_values == {0: 5.0, 1: 5.0}


def test_a_file_is_no_place_for_a_sweep(run, tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match="out is a file; choose another --output"):
        run(Sweep("base.py"))


def test_a_trial_that_was_stopped_goes_on(run, tmp_path):
    pytest.importorskip("optuna")
    search = {"optimizer.lr": Range(0.01, 0.1, log=True)}
    sweep = Sweep("base.py", overrides=["wait=1000"], study=Study(search, trials=1))
    ready = tmp_path / "out/trial-000/ready"
    thread = threading.Thread(target=interrupt_when_there, args=([ready],))
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run(sweep, jobs=1)
    thread.join()
    store = run(sweep, jobs=1)
    assert states(store) == ["done"]
    assert store.records["trial-000"].attempts == 0
    assert ready.exists()  # the same folder
