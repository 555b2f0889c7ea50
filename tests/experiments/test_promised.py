"""The sweeps of ``configs/experiments``, and the README's: their points and their configs."""

import re
from collections import Counter
from pathlib import Path

from project.engine.config import load_config
from project.experiments.plan import load_sweep, points

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "configs/experiments"


def test_the_backbones_are_compared_one_number_at_a_time():
    found = points(load_sweep(FOLDER / "backbones.py"), FOLDER)
    assert len({point.name for point in found}) == len(found) == 60
    assert Counter(point.columns["backbone"] for point in found) == {"R50": 30, "R101": 30}
    center = {"dataset.num_images": 300, "train.epochs": 24, "optimizer.lr": 0.005}
    assert all(sum(point.columns[k] != v for k, v in center.items()) <= 1 for point in found)


def test_the_imbalance_study_pairs_five_seeds():
    found = points(load_sweep(FOLDER / "imbalance.py"), FOLDER)
    assert Counter(point.seed for point in found) == dict.fromkeys(range(5), 7)
    assert found[0].columns == {"setting": "plain"}


def test_the_semantic_study_pairs_three_seeds():
    found = points(load_sweep(FOLDER / "semantic.py"), FOLDER)
    assert Counter(point.seed for point in found) == dict.fromkeys(range(3), 3)
    networks = ["U-Net R34", "U²-Net small", "DeepLabv3+ R50"]
    assert [point.columns["network"] for point in found[:3]] == networks


def test_the_study_in_the_readme_can_be_loaded(tmp_path):
    readme = (FOLDER.parent / "README.md").read_text("utf-8")
    [block] = re.findall(r"```python\n([^`]*Study\([^`]*)```", readme)
    (tmp_path / "search.py").write_text(block)
    sweep = load_sweep(tmp_path / "search.py")
    assert (FOLDER.parent / sweep.base).is_file()
    assert sweep.study.trials == 12
    assert set(sweep.study.search) == {"optimizer.lr", "train.epochs"}


@pytest.mark.parametrize("name", ["backbones", "imbalance", "semantic"])
def test_their_configs_take_their_overrides(name, datasets_root):
    # One point of each config file and override key says all.
    for point in points(load_sweep(FOLDER / f"{name}.py"), FOLDER)[:10]:
        load_config(point.config, ["dataset.name=tiny", *point.overrides])
