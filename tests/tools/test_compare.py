"""`tools/compare.py` as a user calls it."""

import json
from pathlib import Path

import pytest


@pytest.fixture
def main(load_tool):
    return load_tool("tools/compare.py").main


@pytest.fixture
def runs(tmp_path) -> Path:
    for name, lr, ap in (("slow", 0.1, 20.0), ("fast", 0.2, 30.0)):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(
            f"dataset: {{name: scenes, test: val}}\noptimizer: {{lr: {lr}}}\n"
            f"train: {{output_dir: x, seed: 0}}\n"
        )
        results = {"segm": {"AP": ap, "AP-cake": ap, "APl": None}}
        (folder / "results.json").write_text(json.dumps({"iterations": 5, "results": results}))
    return tmp_path / "runs"


def test_a_page_beside_the_runs(main, runs, capsys):
    assert main([str(runs)]) == 0
    page = runs / "comparison/index.html"
    assert capsys.readouterr().out == f"Open {page}\n"
    assert "Highest segm/AP: lr 0.2, 30." in page.read_text("utf-8")
    assert not (runs / "comparison/differences.csv").exists()
    assert main([str(runs)]) == 0  # the comparison itself is no run


def test_a_baseline_among_single_runs(main, runs, tmp_path):
    folders = [str(runs / "slow"), str(runs / "fast")]
    options = ["--baseline", "slow", "--output", str(tmp_path / "out"), "--title", "Two runs"]
    assert main([*folders, *options]) == 0
    text = (tmp_path / "out/index.html").read_text("utf-8")
    assert "<h1>Two runs</h1>" in text
    assert "lr 0.2 against lr 0.1: segm/AP +10.00 (one seed)." in text
    assert (tmp_path / "out/differences.csv").is_file()


def test_the_table_of_a_sweep_is_not_replaced(main, runs, capsys):
    for name in ("sweep.json", "runs.csv"):
        (runs / name).write_text("own")
    for flags in ([], ["--models"]):
        assert main([str(runs), "--output", str(runs), *flags]) == 2
        assert f"output folder {runs} holds sweep.json" in capsys.readouterr().err
    assert (runs / "runs.csv").read_text() == "own"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere"], "nowhere is no folder"),
        (["{runs}", "--metric", "segm/AP-cak"], "did you mean 'segm/AP-cake'"),
        (["{runs}", "--metric", "segm/APl"], "metric segm/APl is defined in no run"),
        (["{runs}", "--baseline", "quick"], "unknown setting 'quick'"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(main, runs, capsys, arguments, message):
    assert main([a.format(runs=runs) for a in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
