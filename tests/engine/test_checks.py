"""Mistakes in a config's values that are told before a run starts."""

from project.engine.checks import check_kinds
from project.engine.config import load_config
from project.engine.guard import Guard
from project.engine.loop import averaged
from project.errors import UserError

import pytest
from torch import nn


@pytest.mark.parametrize(
    "override, words",
    [
        ("train.output_dir=7", "train.output_dir=7: expected text"),
        ("train.compile=maybe", "train.compile='maybe': expected True or False"),
        ("train.amp.enabled=1", "train.amp.enabled=1: expected True or False"),
        ("train.guard=null", "train.guard=null: expected keys with values"),
        ("train.hooks=null", "train.hooks=null: expected keys with values"),
        ("dataset.root=5", "dataset.root=5: expected a folder as text, or null"),
        ("train.init_classes=cake", "train.init_classes='cake': expected a list"),
    ],
)
def test_values_of_the_wrong_kind(override, words):
    with pytest.raises(UserError, match=words):
        check_kinds(load_config("configs/quickstart.py", [override]))


def test_values_of_the_right_kind():
    options = ["train.compile=True", "train.init_classes=[cake]", "train.writers=null"]
    check_kinds(load_config("configs/quickstart.py", options))


def test_numbers_that_are_none(tmp_path):
    with pytest.raises(UserError, match="max_rollbacks='x': expected a whole number"):
        Guard(tmp_path, 0, max_rollbacks="x")
    for factor in ("half", 0, 1.5):
        with pytest.raises(UserError, match=f"lr_factor={factor}: expected a number above 0"):
            Guard(tmp_path, 0, lr_factor=factor)
    with pytest.raises(UserError, match="train.ema.decay=often: expected a number"):
        averaged(nn.Linear(1, 1), "often")
