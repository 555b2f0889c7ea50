"""Configs from files and from run folders: what loads, what is refused, and in which words."""

import textwrap
from pathlib import Path

from project.engine.config import (
    apply_overrides,
    build,
    load_config,
    load_run,
    require,
    save_config,
    select,
)
from project.errors import UserError

import pytest
import yaml
from detectron2.config import LazyCall, LazyConfig, instantiate

SOURCE = """
    import torch
    from detectron2.config import LazyCall as L
    layer = L(torch.nn.Linear)(in_features=3, out_features="${train.width}")
    train = dict(width=4, output_dir="out", extra=None, steps=[1, 2])
"""


@pytest.fixture
def config_file(tmp_path):
    file = tmp_path / "small.py"
    file.write_text(textwrap.dedent(SOURCE))
    return file


def test_overrides_reach_interpolations(config_file):
    cfg = load_config(config_file, ["train.width=7"])
    assert instantiate(cfg.layer).weight.shape == (7, 3)


def test_an_argument_of_the_target_may_be_added(config_file):
    cfg = load_config(config_file, ["layer.bias=False", "train.steps.1=5", "train.extra=x"])
    assert instantiate(cfg.layer).bias is None
    assert list(cfg.train.steps) == [1, 5]


def test_plus_adds_a_key(config_file):
    assert load_config(config_file, ["+train.note=hello"]).train.note == "hello"


@pytest.mark.parametrize(
    "override, text",
    [
        ("train.widht=7", "unknown key 'widht'; did you mean 'width'?"),
        ("layer.out_feature=7", "did you mean 'out_features'?"),
        ("trian.width=7", "did you mean 'train'?"),
        ("train.steps.9=1", "unknown key '9'"),
        ("train.width.deep=1", "train.width is 4 and has no keys below it"),
        ("train.width", "has no '='"),
        ("--resume", "put flags first"),
        ("train.width=[1", "override 'train.width=[1'"),
    ],
)
def test_a_wrong_override_is_told(config_file, override, text):
    with pytest.raises(UserError, match="(?s)" + _escaped(text)) as caught:
        load_config(config_file, [override])
    assert "\n" not in str(caught.value)


def test_a_broken_config_file_is_told(tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("train = dict(\n")
    with pytest.raises(UserError, match="broken.py fails to load: SyntaxError"):
        load_config(broken)
    broken.write_text("raise RuntimeError('not today')")
    with pytest.raises(UserError, match="RuntimeError: not today"):
        load_config(broken)
    broken.write_text("import sys; sys.exit(3)")
    with pytest.raises(UserError, match="SystemExit: 3"):
        load_config(broken)
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(UserError, match="holds no config, but a ListConfig"):
        load_config(tmp_path / "list.yaml")
    with pytest.raises(UserError, match="does not exist"):
        load_config(tmp_path / "none.py")


def test_a_users_mistake_behind_an_interpolation_keeps_its_words(tmp_path):
    cfg = apply_overrides(_node(tmp_path), [])
    with pytest.raises(UserError, match="train.epochs must be a number above 0, got 0"):
        select(cfg, "train.max_iter")


def _node(tmp_path):
    file = tmp_path / "epochs.py"
    file.write_text("train = dict(max_iter='${iterations:0,2,scenes,train}')")
    return load_config(file)


def test_a_saved_run_is_read_as_plain_data(config_file, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    LazyConfig.save(load_config(config_file, ["train.width=5"]), str(run / "config.yaml"))
    cfg = load_run(run)
    assert cfg.train.output_dir == str(run)
    assert instantiate(cfg.layer).weight.shape == (5, 3)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.load",
        "torch.hub.load",
        "torch.nn.functional.importlib.import_module",  # a safe name that leads elsewhere
        "detectron2.config.LazyConfig.load",
        "project.engine.run.start",
        "torch.nn.NoSuchThing",
        "builtins.eval",
    ],
)
def test_a_run_folder_builds_no_foreign_code(tmp_path, target):
    (tmp_path / "config.yaml").write_text(
        f"train: {{output_dir: x}}\nmodel: {{deep: [{{_target_: {target}, a: 1}}]}}\n"
    )
    with pytest.raises(UserError, match=r"cfg.model.deep.0 would build .*--trust"):
        load_run(tmp_path)
    assert load_run(tmp_path, trust=True).model.deep[0]._target_ == target


@pytest.mark.parametrize("suffix", ["yaml", "yml"])
def test_a_yaml_file_is_data_unless_it_is_trusted(tmp_path, suffix):
    file = tmp_path / f"config.{suffix}"
    file.write_text("model: {_target_: os.system, command: id}\n")
    with pytest.raises(UserError, match="cfg.model would build 'os.system'.*--trust builds it"):
        load_config(file)
    assert load_config(file, ["model.command=ls"], trust=True).model.command == "ls"
    file.write_text(f"train: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']\n")
    with pytest.raises(UserError, match="not plain data.*--trust builds it"):
        load_config(file)
    assert not (tmp_path / "made").exists()
    file.write_text("layer: {_target_: torch.nn.Linear, in_features: 3, out_features: 2}\n")
    assert instantiate(load_config(file, ["layer.bias=False"]).layer).bias is None


def test_a_config_is_written_in_one_step(config_file, tmp_path, monkeypatch):
    save_config(load_config(config_file), tmp_path)
    before = (tmp_path / "config.yaml").read_text()

    def save(cfg, file):
        Path(file).write_text("half a file")
        raise OSError("disk full")

    cfg = load_config(config_file, ["train.width=9"])
    with monkeypatch.context() as patch:
        patch.setattr(LazyConfig, "save", save)
        with pytest.raises(OSError, match="disk full"):
            save_config(cfg, tmp_path)
    assert (tmp_path / "config.yaml").read_text() == before
    assert {file.name for file in tmp_path.iterdir()} == {"config.yaml", "small.py"}
    save_config(LazyCall(lambda: 1)(), tmp_path)  # which YAML can't bring back
    assert (tmp_path / "config.yaml.pkl").is_file()


@pytest.mark.parametrize(
    "name, is_there, kept", [("scenes", False, False), ("scenes", True, True), ("my", False, True)]
)
def test_a_run_folder_says_not_where_scenes_are_drawn(tmp_path, name, is_there, kept):
    root = tmp_path / "elsewhere"
    (root / "scenes" if is_there else root).mkdir(parents=True)
    content = {"train": {}, "dataset": {"name": name, "root": "${place}"}, "place": str(root)}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    assert load_run(tmp_path).dataset.root == (str(root) if kept else None)


@pytest.mark.parametrize(
    "text",
    [
        "${oc.create:'{_target_: os.system, command: id}'}",
        "${oc.decode:'{_target_: os.system, command: id}'}",
        "${${name}:'{_target_: os.system}'}",  # the resolver's name is looked up
        "a ${oc.env:HOME}",
        "${part:${oc.decode:3},0.5}",
    ],
)
def test_interpolations_of_a_run_folder_make_nothing_new(tmp_path, text):
    content = {"train": {"output_dir": "x"}, "name": "oc.create", "model": {"deep": text}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=r"cfg.model.deep is .*--trust"):
        load_run(tmp_path)


@pytest.mark.parametrize("target", ["${name}", {"_target_": "os.system"}, ["os.system"], None, 3])
def test_targets_of_a_run_folder_are_written_out(tmp_path, target):
    content = {"train": {}, "name": "torch.nn.Linear", "model": {"_target_": target}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=r"cfg.model would build"):
        load_run(tmp_path)


def test_a_run_folder_holds_no_python_objects(tmp_path):
    (tmp_path / "config.yaml").write_text("train: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(UserError, match="not plain data.*--trust"):
        load_run(tmp_path)


def test_a_folder_without_config_is_no_run(tmp_path):
    with pytest.raises(UserError, match="no config.yaml"):
        load_run(tmp_path)
    (tmp_path / "config.yaml").write_text("- 1\n")
    with pytest.raises(UserError, match="holds no config"):
        load_run(tmp_path)
    for text in ("", "train: 3", "train: ${x}\nx: {output_dir: a}", "model: {}"):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(UserError, match="no section 'train'"):
            load_run(tmp_path)
    damaged = ("a: !!int ''", "a: !!bool maybe", "a: !!timestamp soon")
    for text in ("a: &a [*a]", "when: 2020-99-99", "train: {", "\0", *damaged):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(UserError, match="not plain data"):
            load_run(tmp_path)
    (tmp_path / "config.yaml").write_text("{train: {}, dataset: {name: a, root: 5}}")
    with pytest.raises(UserError, match="config.yaml: dataset.root is 5; expected a folder"):
        load_run(tmp_path)


def test_keys_that_a_tool_needs(config_file):
    cfg = load_config(config_file)
    require(cfg, "train.width", "train.extra")
    with pytest.raises(UserError, match="no 'train.widht'.*did you mean 'width'"):
        require(cfg, "train.widht")
    with pytest.raises(UserError, match="no 'train.width.deep'"):
        require(cfg, "train.width.deep")


def test_what_can_not_be_built_is_told_with_key_and_place(config_file):
    cfg = load_config(config_file, ["layer.in_features=wide"])
    with pytest.raises(UserError, match=r"config key 'layer' can't be built: \w+: .* \(.*py:\d+\)"):
        build(cfg.layer, "layer")


@pytest.mark.parametrize("node", [None, 5, "torch.nn.Linear"])
def test_what_is_nothing_to_build(node):
    with pytest.raises(UserError, match=f"config key 'model' is {node!r}; expected a _target_"):
        build(node, "model")


def test_a_lazy_node_keeps_its_callable():
    cfg = LazyCall(dict)(a=1)
    assert apply_overrides(cfg, ["a=2"]).a == 2


def _escaped(text: str) -> str:
    import re

    return re.escape(text)
