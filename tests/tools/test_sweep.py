"""`tools/sweep.py`: its arguments, and a sweep of real runs to its comparison page."""

import csv
import json

import pytest

TINY = [
    "dataset.name=tiny",
    "dataloader.train.total_batch_size=2",
    "dataloader.train.mapper.augmentations=[]",
    "train.log_period=1",
    "train.num_pictures=0",
    "train.eval_period=2",
    "model.roi_heads.box_predictor.test_score_thresh=0.0",
]


@pytest.fixture
def main(load_tool):
    return load_tool("tools/sweep.py").main


@pytest.mark.slow
def test_two_by_two_real_runs_to_their_page(main, load_tool, datasets_root, tmp_path, capsys):
    output = tmp_path / "sweep"
    arguments = [
        "--config-file", "configs/quickstart.py", "--vary", "train.max_iter=2,4",
        "--vary", "optimizer.lr=0.001,0.002", "--jobs", "2", "--output", str(output), *TINY,
    ]  # fmt: skip
    assert main(arguments) == 0
    assert "4 runs: 4 done" in capsys.readouterr().out
    with open(output / "runs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["train.max_iter"], r["optimizer.lr"]) for r in rows] == [
        ("2", "0.001"), ("2", "0.002"), ("4", "0.001"), ("4", "0.002")
    ]  # fmt: skip
    assert [r["iterations"] for r in rows] == ["2", "2", "4", "4"]
    for row in rows:
        results = json.loads((output / row["run"] / "results.json").read_text())["results"]
        assert float(row["segm/AP"]) == results["segm"]["AP"]
    before = {p: p.stat().st_mtime_ns for p in output.glob("*/results.json")}
    assert main(arguments) == 0
    assert {p: p.stat().st_mtime_ns for p in output.glob("*/results.json")} == before
    assert load_tool("tools/compare.py").main([str(output)]) == 0
    text = (output / "comparison/index.html").read_text("utf-8")
    assert "4 runs of 4 settings, 1 seed each, evaluated on tiny_val" in text
    charts = {p.name for p in (output / "comparison/charts").iterdir()}
    assert {"trend-0.png", "trend-1.png", "curve-0.png", "cost-run.png"} <= charts


def test_a_dry_run_of_a_sweep_file(main, capsys, tmp_path):
    file = tmp_path / "study.py"
    file.write_text(
        "from project.experiments import Setting, Sweep\n"
        "sweep = Sweep('base.py', settings={'a': Setting(), 'b': Setting('b.py')}, seeds=(0, 1))\n"
    )
    for name in ("base.py", "b.py"):
        (tmp_path / name).write_text("train = dict(epochs=2, seed=0)\n")
    assert main([str(file), "train.epochs=1", "--dry-run", "--output", str(tmp_path / "o")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[1].endswith(
        f"--config-file {tmp_path}/b.py train.epochs=1 train.seed=0 "
        f"train.output_dir={tmp_path}/o/b_seed-0"
    )
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "give one sweep file, or --config-file with --vary"),
        (["a.py", "b.py"], "give one sweep file"),
        (["a.py"], "sweep file a.py does not exist"),
        (["--config-file", "a.py"], "config file a.py does not exist"),
        (["configs/experiments/imbalance.py", "--vary", "a=1"], "a sweep file has its own grid"),
        (["--config-file", "a.py", "--vary", "lr"], "expected key=value,value,..."),
        (["--config-file", "a.py", "--vary", "a=1", "--vary", "a=2"], "each key once"),
        (["--config-file", "a.py", "--seeds", "0-4"], "expected whole numbers like 0,1,2"),
        (["--config-file", "configs/quickstart.py", "--vary", "optimizer.lrr=1"], "optimizer.lrr"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(main, capsys, arguments, message, tmp_path):
    assert main([*arguments, "--output", str(tmp_path / "o")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_a_yaml_base_is_read_as_data(main, capsys, tmp_path):
    (tmp_path / "base.yaml").write_text("model: {_target_: os.getpid}\ntrain: {seed: 0}\n")
    arguments = ["--config-file", str(tmp_path / "base.yaml"), "--output", str(tmp_path / "o")]
    assert main([*arguments, "--dry-run"]) == 2
    assert "would build 'os.getpid'" in capsys.readouterr().err


def test_a_study_is_checked_for_its_keys_too(main, capsys, tmp_path):
    (tmp_path / "base.py").write_text("train = dict(epochs=2, seed=0)\n")
    file = tmp_path / "study.py"
    file.write_text(
        "from project.experiments import Range, Study, Sweep\n"
        "sweep = Sweep('base.py', study=Study({'train.epoch': Range(1, 4)}))\n"
    )
    assert main([str(file), "--dry-run", "--output", str(tmp_path / "o")]) == 2
    assert "train.epoch" in capsys.readouterr().err
