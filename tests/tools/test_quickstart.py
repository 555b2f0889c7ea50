"""A shortened quickstart with the real tool: it learns, and evaluates the same however it runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

# 4 of the 20 epochs, 375 iterations; a model that has not learnt gives 0.
EXPECTED_AP50 = 20.0


def train_net(*args: str, env: dict) -> None:
    command = [sys.executable, "tools/train_net.py", *args]
    done = subprocess.run(command, cwd=REPO, env=env, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]


def results(file: Path) -> dict[str, dict[str, float]]:
    """The metrics; those of which there is nothing to measure (null: no large object) left out."""
    found = json.loads(file.read_text())["results"]
    return {t: {k: v for k, v in row.items() if v is not None} for t, row in found.items()}


@pytest.fixture(scope="module")
def env(tmp_path_factory) -> dict:
    env = {**os.environ, "DETECTRON2_DATASETS": str(tmp_path_factory.mktemp("datasets"))}
    env.pop("OMP_NUM_THREADS", None)  # as a user runs it
    return env


@pytest.fixture(scope="module")
def quickstart(env, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "quickstart"
    train_net(f"train.output_dir={run}", "train.epochs=4", "train.eval_period=0", env=env)
    return run


def test_a_short_quickstart_learns(quickstart):
    assert results(quickstart / "results.json")["segm"]["AP50"] > EXPECTED_AP50


def test_evaluation_alone_gives_the_same_numbers(quickstart, env):
    trained = results(quickstart / "results.json")
    train_net("--eval-only", f"train.output_dir={quickstart}", env=env)
    assert_same(results(quickstart / "evaluation.json"), trained)
    assert trained["segm"]["AP"] > 0


def test_two_processes_evaluate_as_one(quickstart, env):
    alone = results(quickstart / "results.json")
    train_net("--num-gpus", "2", "--eval-only", f"train.output_dir={quickstart}",
              "train.device=cpu", env=env)  # fmt: skip
    assert_same(results(quickstart / "evaluation.json"), alone)


def assert_same(these: dict, those: dict) -> None:
    assert these.keys() == those.keys()
    for task in those:
        assert len(those[task]) > 5
        assert these[task] == pytest.approx(those[task], abs=1e-9, rel=0)
