"""What a sweep runs: names, overrides, combinations, and what can't be run."""

from project.errors import UserError
from project.experiments.plan import (
    Range,
    Setting,
    Study,
    Sweep,
    load_sweep,
    parse_vary,
    points,
    short_keys,
)

import pytest


def names(sweep: Sweep, folder) -> list[str]:
    return [point.name for point in points(sweep, folder)]


def test_a_grid_is_every_combination_seeds_slowest(tmp_path):
    sweep = Sweep("base.py", grid={"optimizer.lr": [0.1, 1e-5], "train.epochs": [1]}, seeds=(3, 0))
    found = points(sweep, tmp_path)
    assert [p.name for p in found] == [
        "lr-0.1_epochs-1_seed-3",
        "lr-1e-05_epochs-1_seed-3",
        "lr-0.1_epochs-1_seed-0",
        "lr-1e-05_epochs-1_seed-0",
    ]
    assert found[1].overrides == ["optimizer.lr=1e-05", "train.epochs=1", "train.seed=3"]
    assert found[1].columns == {"optimizer.lr": 1e-5, "train.epochs": 1}
    assert found[0].config == str(tmp_path / "base.py")


def test_settings_have_configs_and_overrides_of_their_own(tmp_path):
    settings = {"plain": Setting(), "other one": Setting("x/other.py", ["a.b=[1,2]"])}
    sweep = Sweep("base.py", overrides=["c=1"], settings=settings, column="kind")
    plain, other = points(sweep, tmp_path)
    assert (plain.name, other.name) == ("plain_seed-0", "other-one_seed-0")
    assert plain.overrides == ["c=1", "train.seed=0"]
    assert other.overrides == ["c=1", "a.b=[1,2]", "train.seed=0"]
    assert other.config == str(tmp_path / "x/other.py")
    assert other.columns == {"kind": "other one"}


def test_grids_around_a_center_share_it(tmp_path):
    sweep = Sweep("b.py", center={"a": 1, "b": 5}, grid=[{"a": [1, 2]}, {"b": [5, 6]}])
    assert names(sweep, tmp_path) == ["a-1_b-5_seed-0", "a-2_b-5_seed-0", "a-1_b-6_seed-0"]


def test_keys_are_as_short_as_they_can_be_told_apart():
    keys = ["model.backbone.depth", "model.head.depth", "train.seed", "depth"]
    assert short_keys(keys) == {
        "model.backbone.depth": "backbone.depth",
        "model.head.depth": "head.depth",
        "train.seed": "seed",
        "depth": "depth",
    }


def test_names_hold_no_path_and_no_blank(tmp_path):
    sweep = Sweep("b.py", grid={"train.init_checkpoint": ["../weights/a b.pth"], "sizes": [[1, 2]]})
    assert names(sweep, tmp_path) == ["init_checkpoint-..-weights-a-b.pth_sizes--1-2-_seed-0"]


@pytest.mark.parametrize(
    "text, found",
    [
        ("a.b=1,2.5,1e-4", ("a.b", [1, 2.5, 1e-4])),
        ("sizes=[1,2],[3]", ("sizes", [[1, 2], [3]])),
        ("x=true,null,word", ("x", [True, None, "word"])),
        ("dataset.num_images=${a,b},7", ("dataset.num_images", ["${a,b}", 7])),
    ],
)
def test_values_of_the_command_line(text, found):
    assert parse_vary(text) == found


@pytest.mark.parametrize("text", ["lr", "lr=", "=1", "lr=1,,2"])
def test_values_that_are_none(text):
    with pytest.raises(UserError, match=r"expected key=value,value,\.\.\."):
        parse_vary(text)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"seeds": ()}, "expected at least one, each once"),
        ({"seeds": (1, 1)}, "expected at least one, each once"),
        ({"grid": {"a": []}}, "a has no list of values"),
        ({"grid": {"a": "text"}}, "a has no list of values, but 'text'"),
        ({"grid": {"train.seed": [1]}}, "train.seed is varied by 'seeds'"),
        ({"grid": {"a": ["x y", "x-y"]}}, "two points are called a-x-y_seed-0"),
        ({"grid": {"a": [1]}, "study": Study({"b": [1]})}, "either a study or settings"),
        ({"study": Study({"b": [1]}, direction="up")}, "'maximize' or 'minimize'"),
        ({"study": Study({"b": [1]}), "center": {"a": 1}}, "either a study or settings"),
        ({"study": Study({"b": [1]}, trials=0)}, "trials=0; expected at least 1"),
        ({"study": Study({"b": 0.1})}, "b has no Range or list of choices, but 0.1"),
        ({"study": Study({"b": Range(2, 1)})}, "expected low <= high"),
        ({"study": Study({"b": Range(0, 1, log=True)})}, "above 0 for log"),
        ({"seeds": 5}, "seeds 5: expected at least one"),
        ({"settings": {"a": "b.py"}}, r"'a' is 'b.py'; expected a Setting"),
        ({"settings": {"a": Setting(overrides="c=1")}}, "list of texts, got 'c=1'"),
        ({"overrides": "c=1"}, "list of texts, got 'c=1'"),
        ({"grid": {"a": 0.1}}, "a has no list of values, but 0.1"),
        ({"grid": ["a"]}, "a grid maps config keys to values, got 'a'"),
        ({"grid": 5}, "a grid maps config keys to values, got 5"),
        ({"grid": {1: [2]}}, "a grid maps config keys to values, got {1: "),
        ({"grid": {"a": [1, {2}]}}, r"a has \[1, \{2\}\]; expected numbers, texts"),
        ({"grid": {"a": [1]}, "center": {"b": {2}}}, r"center has \[\{2\}\]; expected numbers"),
        ({"center": ["a"]}, r"center maps config keys to values, got \['a'\]"),
        ({"settings": [Setting()]}, r"settings map names to a Setting\(...\), got \[Setting"),
        ({"overrides": 5}, "list of texts, got 5"),
        ({"study": {"b": [1]}}, r"study is {'b': \[1\]}; expected a Study"),
        ({"study": Study(["b"])}, "search maps config keys to ranges or choices, got"),
        ({"study": Study({"b": [{2}]})}, r"b has \[\{2\}\]; expected numbers"),
    ],
)
def test_what_cannot_be_run(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        points(Sweep("b.py", **arguments), tmp_path)


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "does not exist"),
        ("1 / 0", "fails: ZeroDivisionError: division by zero"),
        ("sweep = 3", "assigns no project.experiments.Sweep"),
        (
            "from project.experiments import Sweep\nsweep = Sweep('b.py', overrides='c=1')",
            "list of texts, got 'c=1'",
        ),
    ],
)
def test_sweep_files_that_are_none(tmp_path, content, message):
    file = tmp_path / "s.py"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=message):
        load_sweep(file)
