"""What is read of a run's folder."""

import json

from project.errors import UserError
from project.visualization.report import run_files
from project.visualization.report.run_files import flatten, is_number, read_metrics, read_run
from project.visualization.report.training import leak, timings

import pytest
import yaml


def a_run(folder, *, subset="mine", log="", metrics=(), init="", manifest=None, images=()):
    """A run's folder beside its subset."""
    home = folder / subset
    (home / "annotations").mkdir(parents=True, exist_ok=True)
    content = {"images": list(images), "categories": [], "annotations": []}
    (home / "annotations/val.json").write_text(json.dumps(content))
    if manifest is not None:
        (home / "manifest.json").write_text(json.dumps({"splits": {"val": manifest}}))
    run = folder / "run"
    (run / f"inference/{subset}_val").mkdir(parents=True, exist_ok=True)
    (run / f"inference/{subset}_val/coco_instances_results.json").write_text("[]")
    config = {"dataset": {"name": subset, "test": "val"}, "train": {"init_checkpoint": init}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "log.txt").write_text(log)
    (run / "metrics.json").write_text("\n".join(map(json.dumps, metrics)))
    return read_run(run, folder)


def test_leaves_of_a_config():
    node = {"a": {"b": 1, "c": []}, "d": [{"e": 2}, 3], "f": [1, 2], "g": {}}
    leaves = {"a.b": 1, "a.c": [], "d.0.e": 2, "d.1": 3, "f": [1, 2], "g": {}}
    assert flatten(node) == leaves


def test_a_config_runs_nothing(tmp_path):
    a_run(tmp_path)
    file = tmp_path / "run/config.yaml"
    evil = f"evil: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']\n"
    file.write_text(file.read_text() + evil)
    found = read_run(tmp_path / "run", tmp_path)
    assert not (tmp_path / "made").exists()
    assert found.config["evil"] == "tag:yaml.org,2002:python/object/apply:os.mkdir"


@pytest.mark.parametrize(
    "content, message",
    [
        ("begun: 2024-13-45", "config.yaml can't be read"),
        ("a: !!bool maybe", "config.yaml can't be read"),
        ("dataset: {name: mine, test: val, root: 5}", "config.yaml: dataset.root is 5; expected"),
    ],
)
def test_a_damaged_config_is_named(tmp_path, content, message):
    a_run(tmp_path)
    (tmp_path / "run/config.yaml").write_text(content)
    with pytest.raises(UserError, match=message):
        read_run(tmp_path / "run")


@pytest.mark.parametrize("is_there", [False, True])
def test_a_config_says_not_where_scenes_are_drawn(tmp_path, monkeypatch, is_there):
    a_run(tmp_path)
    roots = []
    monkeypatch.setattr(run_files, "subset_dir", lambda _, root: roots.append(root) or tmp_path)
    root = tmp_path / "elsewhere"
    (root / "scenes" if is_there else root).mkdir(parents=True)
    config = {"dataset": {"name": "scenes", "test": "val", "root": str(root)}}
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump(config))
    for given in (None, tmp_path):
        with pytest.raises(UserError, match="val.json doesn't exist"):
            read_run(tmp_path / "run", given)
    assert roots == [str(root) if is_there else None, tmp_path]


def test_rows_of_one_iteration_are_one(tmp_path):
    file = tmp_path / "metrics.json"
    rows = ['{"iteration": 3, "a": 1}', '{"iteration": 1, "a": NaN}', '{"iteration": 3, "b": 2}']
    file.write_text("\n".join([*rows, "[]", '{"a": 5}', '{"iter']))
    found = read_metrics(file)
    assert [row["iteration"] for row in found] == [1, 3]
    assert found[1] == {"iteration": 3, "a": 1, "b": 2}
    assert read_metrics(tmp_path / "none.json") == []


@pytest.mark.parametrize("value", [True, None, "1", float("nan"), float("inf")])
def test_what_is_no_number(value):
    assert not is_number(value)
    assert is_number(0)


def test_curves_leave_out_what_is_no_number(tmp_path):
    metrics = [{"iteration": i, "a": v} for i, v in enumerate([1.0, float("nan"), 3.0])]
    x, y = a_run(tmp_path, metrics=metrics).curve("a")
    assert x.tolist() == [1, 3]
    assert y.tolist() == [1, 3]
    assert a_run(tmp_path).curve("b")[0].shape == (0,)


def test_the_last_table_of_the_log_is_the_machine(tmp_path):
    rule = "-" * 9 + "  " + "-" * 9
    tables = [
        f"{rule}\nPlatform  {name}\nCPU cores  2\n{rule}\nnoise\n{rule}\nAP  3\n{rule}"
        for name in ("old", "new, with  two spaces")
    ]
    found = a_run(tmp_path, log="\n".join(tables)).environment
    assert found == {"Platform": "new, with  two spaces", "CPU cores": "2"}


def test_times_of_the_log_and_the_metrics(tmp_path):
    metrics = [{"iteration": i, "time": t, "max_mem_MB": 100 * t} for i, t in enumerate([1, 2, 9])]
    log = "Total inference time: 0:00:18 (0.080751 s/batch, data 0.0024, on 1 processes)"
    found = timings(a_run(tmp_path, log=log, metrics=metrics))
    assert found == {
        "seconds of an iteration, median": 2,
        "peak GPU memory, MiB": 900,
        "seconds of inference for each batch": 0.080751,
    }
    assert timings(a_run(tmp_path)) == {}


COCO = "https://host/detectron2/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x/1/model_final.pkl"
IMAGENET = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
TRAIN = {"id": 1, "file_name": "1.jpg", "coco_url": "http://images.cocodataset.org/train2017/1.jpg"}
VAL = {"id": 2, "file_name": "2.jpg", "coco_url": "http://images.cocodataset.org/val2017/2.jpg"}


@pytest.mark.parametrize(
    "init, manifest, images, words",
    [
        (COCO, {"coco": "train2017"}, [VAL], "all images"),
        (COCO, {"coco": "val2014"}, [VAL], "most of the images"),
        (COCO, {"annotations": "x/instances_train2017.json"}, [], "all images"),
        (COCO, {"coco": "val2017"}, [VAL], ""),
        (COCO, None, [TRAIN, VAL, VAL], "1 of the 3 images"),
        (COCO, None, [{"id": 1, "file_name": "COCO_train2014_000000000009.jpg"}], "1 of the 1"),
        (COCO, None, [VAL, {"id": 1, "file_name": "mytrain2017.jpg"}], ""),
        (IMAGENET, {"coco": "train2017"}, [TRAIN], ""),
        ("", {"coco": "train2017"}, [TRAIN], ""),
        (None, None, [TRAIN], ""),
    ],
)
def test_images_that_the_weights_have_seen(tmp_path, init, manifest, images, words):
    found = leak(a_run(tmp_path, init=init, manifest=manifest, images=images))
    assert words in found
    assert bool(found) == bool(words)
    if words:
        assert "model_final.pkl" in found
        assert "judge on images of val2017" in found


def test_weights_that_were_downloaded_by_hand_are_known(tmp_path):
    run = a_run(tmp_path, init="weights/model_final_f10217.pkl", manifest={"coco": "train2017"})
    assert "model_final_f10217.pkl" in leak(run)
    other = a_run(tmp_path, init="weights/model_final_123456.pkl", manifest={"coco": "train2017"})
    assert leak(other) == ""
