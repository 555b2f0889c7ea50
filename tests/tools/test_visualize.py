"""`tools/visualize.py`: what it draws from which flags, and how it tells mistakes."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

from project.applications.inputs import find_sources
from project.applications.pictures import render_sources
from project.errors import UserError
from project.visualization.palette import class_color

import cv2
import numpy as np
import pytest
import torch
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances

REPO = Path(__file__).resolve().parents[2]
TOOL = "tools/visualize.py"


def write_subset(root: Path) -> None:
    """The subset `tiny`: a labelled split `val` and an unlabelled split `test`, 3 images each."""
    folder = root / "tiny"
    (folder / "annotations").mkdir(parents=True)
    for split in ("val", "test"):
        (folder / "images" / split).mkdir(parents=True)
        images, labels = [], []
        for number in (1, 2, 3):
            name = f"{number:03}.jpg"
            pixels = np.full((60, 80, 3), 60 * number, np.uint8)
            cv2.imwrite(str(folder / "images" / split / name), pixels)
            images.append({"id": number, "file_name": name, "height": 60, "width": 80})
            labels.append(
                {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "area": 600}
                | {"bbox": [10, 10, 30, 20], "segmentation": [[10, 10, 40, 10, 40, 30, 10, 30]]}
            )
        content = {"images": images, "categories": [{"id": 1, "name": "cake"}]}
        if split == "val":
            content["annotations"] = labels
        (folder / "annotations" / f"{split}.json").write_text(json.dumps(content))


def write_results(run: Path, name: str) -> Path:
    file = run / "inference" / name / "coco_instances_results.json"
    file.parent.mkdir(parents=True)
    box = {"image_id": 2, "category_id": 1, "bbox": [12, 12, 30, 20], "score": 0.8}
    file.write_text(json.dumps([box]))
    return file


@pytest.fixture
def root(tmp_path, monkeypatch):
    write_subset(tmp_path / "data")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    forget_tiny()  # other tests have a subset of this name elsewhere
    yield tmp_path / "data"
    forget_tiny()


def forget_tiny() -> None:
    for name in ("tiny_val", "tiny_test"):
        if name in DatasetCatalog.list():
            DatasetCatalog.remove(name)
            MetadataCatalog.pop(name)


@pytest.fixture
def run(tmp_path, root):
    folder = tmp_path / "run"
    folder.mkdir()
    dataset = {"name": "tiny", "train": "val", "test": "val", "root": str(root)}
    config = {"dataset": dataset, "train": {"device": "cpu", "output_dir": "elsewhere"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture
def main(load_tool):
    return load_tool(TOOL).main


def width(file: Path) -> int:
    return cv2.imread(str(file)).shape[1]


def test_labels_of_a_dataset(main, root, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["--dataset", "tiny_val", "--output", str(out), "--limit", "2"]) == 0
    assert capsys.readouterr().out == f"Wrote 2 images to {out}\n"
    assert len(list(out.glob("*.png"))) == 3
    assert width(next(out.glob("0*.png"))) == 640


def test_a_run_is_drawn_beside_the_labels_without_its_model(main, run, tmp_path, capsys):
    write_results(run, "tiny_val")
    out = tmp_path / "out"
    assert main(["--run", str(run), "--output", str(out), "--images", "002"]) == 0
    assert capsys.readouterr().out == f"Wrote 1 images to {out}\n"
    assert sorted(f.name for f in out.iterdir()) == ["002.png", "contact_sheet.png"]
    assert width(out / "002.png") > 1280


@pytest.mark.parametrize("show", ["labels", "predictions"])
def test_one_side_can_be_chosen(main, run, tmp_path, show):
    write_results(run, "tiny_val")
    assert main(["--run", str(run), "--output", str(tmp_path / "out"), "--show", show]) == 0
    assert width(tmp_path / "out/002.png") == 640


def test_a_split_without_results_is_predicted_by_the_run(load_tool, run, tmp_path, monkeypatch):
    calls = []
    tool = load_tool(TOOL)

    def predict(cfg, weights, name, folder):
        calls.append((cfg.train.output_dir, cfg.train.device, weights, name))
        return write_results(folder, name)

    monkeypatch.setattr(tool, "predict_dataset", partial(predict, folder=tmp_path / "made"))
    arguments = ["--run", str(run), "--dataset", "tiny_test", "--output", str(tmp_path / "out")]
    assert tool.main(arguments) == 0
    assert calls == [(str(run), "cpu", "", "tiny_test")]
    assert width(tmp_path / "out/002.png") == 640


def test_labels_of_a_run_need_no_prediction(load_tool, run, tmp_path, monkeypatch):
    tool = load_tool(TOOL)
    monkeypatch.setattr(tool, "predict_dataset", lambda *_: pytest.fail("the model was run"))
    assert tool.main(["--run", str(run), "--show", "labels", "--output", str(tmp_path / "o")]) == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "give --dataset NAME or --run FOLDER"),
        (["--dataset", "tiny_val", "--show", "predictions"], "give --run FOLDER or --results FILE"),
        (["--dataset", "tiny"], "should read <subset>_<split>"),
        (["--dataset", "tiny_vall"], "did you mean 'val'"),
        (["--dataset", "tiny_test"], "no labels to draw"),
        (["--dataset", "tiny_val", "--images", "004"], "unknown image '004'"),
        (["--dataset", "tiny_val", "--show", "pixels"], "give --run FOLDER or --results FILE"),
        (["--inputs", "a.jpg"], "--inputs needs --run FOLDER"),
        (["--inputs", "a.jpg", "--run", "r", "--show", "labels"], "--inputs have none"),
        (["--inputs", "a.jpg", "--run", "r"], "a.jpg does not exist"),
        (["--labels", "a.json"], "--labels FILE needs --image-dir FOLDER"),
        (["--run", "nowhere"], "nowhere is no run folder"),
        (["--augmented"], "--augmented needs --config-file FILE or --run FOLDER"),
        (["--augmented", "--config-file", "gone.py"], "config file gone.py does not exist"),
        (["--augmented", "--run", "r", "--dataset", "tiny_val", "--pdf"], "without --dataset and"),
        (["--augmented", "--run", "r", "--show", "both"], "without --show"),
        (["--augmented", "--run", "r", "--color", "class"], "without --color"),
        (["--augmented", "--run", "r", "--threshold", "0"], "without --threshold"),
        (["--dataset", "tiny_val", "seed=1"], "key=value arguments go with --augmented"),
        (["--dataset", "tiny_val", "--draws", "4"], "--draws, --start and key=value arguments go"),
        (["--dataset", "tiny_val", "--start", "0"], "--draws, --start and key=value arguments go"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(main, root, tmp_path, capsys, arguments, message):
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_results_files_of_anybody(main, root, tmp_path):
    results = write_results(tmp_path / "elsewhere", "tiny_val")
    out = tmp_path / "out"
    options = ["--results", str(results), "--images", "002", "--output", str(out)]
    assert main(["--dataset", "tiny_val", *options, "--show", "all", "--pdf"]) == 0
    assert width(out / "002.png") == 3 * 640 + 16
    assert (out / "pictures.pdf").is_file()
    files = [str(root / "tiny" / name) for name in ("annotations/val.json", "images/val")]
    assert main(["--labels", files[0], "--image-dir", files[1], *options]) == 0
    assert width(out / "002.png") == 2 * 640 + 8


def test_unlabelled_images_are_drawn_by_the_model_of_a_run(load_tool, root, tmp_path, monkeypatch):
    tool, calls = load_tool(TOOL), []

    class Model:
        class_names, thresholds = ["cake"], np.array([0.3])

        def __init__(self, run_dir, **options):
            calls.append((run_dir, options))

        def __call__(self, image, channels):
            found = {"scores": torch.tensor([0.9]), "pred_classes": torch.tensor([0])}
            boxes = Boxes(torch.tensor([[10.0, 10.0, 40.0, 30.0]]))
            return Instances(image.shape[:2], pred_boxes=boxes, **found)

    monkeypatch.setattr(tool, "Predictor", Model)
    out, folder = tmp_path / "out", str(root / "tiny/images/test")
    arguments = ["--run", "r", "--inputs", folder, "--threshold", "0.3", "--output", str(out)]
    assert tool.main([*arguments, "--limit", "2"]) == 0
    assert calls == [(Path("r"), {"thresholds": 0.3, "trust": False})]
    assert len(list(out.glob("0*.png"))) == 2
    picture = cv2.imread(str(next(out.glob("0*.png"))))[..., ::-1]
    assert (picture == np.array(class_color(0))).all(-1).any()


def test_inputs_are_not_replaced(tmp_path):
    file = tmp_path / "photo.png"
    cv2.imwrite(str(file), np.zeros((6, 8, 3), np.uint8))
    before = file.read_bytes()
    with pytest.raises(UserError, match="photo.png would be replaced"):
        render_sources(None, find_sources([file]), tmp_path)
    assert file.read_bytes() == before


def test_yaml_files_are_trusted_if_told(load_tool, monkeypatch, capsys):
    def load(file, overrides, *, trust):
        raise UserError(f"{file}: trust is {trust}")

    tool = load_tool(TOOL)
    monkeypatch.setattr(tool, "load_config", load)
    assert tool.main(["--augmented", "--config-file", "c.yaml", "--trust"]) == 2
    assert tool.main(["--augmented", "--config-file", "c.yaml"]) == 2
    assert capsys.readouterr().err.split("\n")[:2] == [
        "error: c.yaml: trust is True", "error: c.yaml: trust is False"
    ]  # fmt: skip


TRAINING = {
    "dataset": {
        "_target_": "project.data.catalog.subset_dicts",
        "subset": "tiny",
        "split": "${dataset.train}",
        "root": "${dataset.root}",
    },
    "mapper": {
        "_target_": "project.data.mapper.InstanceMapper",
        "is_train": True,
        "augmentations": [{"_target_": "detectron2.data.transforms.RandomFlip", "prob": 1.0}],
    },
    "seed": 0,
}


@pytest.mark.parametrize("option", ["--run", "--config-file"])
def test_what_training_sees(main, run, tmp_path, capsys, option):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["dataloader"] = {"train": dict(TRAINING)}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    source = run if option == "--run" else run / "config.yaml"
    out = tmp_path / "out"
    arguments = ["--augmented", option, str(source), "--output", str(out), "--draws", "2"]
    assert main([*arguments, "--images", "2", "--start=4", "dataloader.train.seed=1"]) == 0
    assert capsys.readouterr().out == f"Wrote 1 images to {out}\n"
    assert width(out / "002.png") > 1280
    del config["dataloader"]["train"]["mapper"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(arguments) == 2
    assert "the config has no 'dataloader.train.mapper'" in capsys.readouterr().err


def test_other_peoples_runs_are_read_as_data(main, run, tmp_path, capsys):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["model"] = {"_target_": "os.system", "command": "true"}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["--run", str(run), "--output", str(tmp_path / "out")]) == 2
    assert "os.system" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, message",
    [
        ({"dataset": None}, "no 'dataset.name'"),
        ({"dataset": {"name": "gone", "test": "val", "root": None}}, "unknown subset 'gone'"),
        ({"dataset": {"name": "${dataset.name}", "test": "val", "root": None}}, "dataset.name"),
        ({"train": {"output_dir": "x"}}, "no 'train.device'"),
        ({}, "no 'model'"),  # nothing predicted yet, and nothing to do it with
    ],
)
def test_a_run_that_can_not_be_drawn(main, run, tmp_path, capsys, change, message):
    config = yaml.safe_load((run / "config.yaml").read_text()) | change
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["--run", str(run), "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_user_error_inside_becomes_exit_2(load_tool, root, monkeypatch, capsys):
    tool = load_tool(TOOL)

    def fail(*args, **kwargs):
        raise UserError("the disk is full")

    monkeypatch.setattr(tool, "render_results", fail)
    assert tool.main(["--dataset", "tiny_val"]) == 2
    assert capsys.readouterr().err == "error: the disk is full\n"


def test_as_a_command(root, tmp_path):
    command = [sys.executable, str(REPO / TOOL), "--dataset", "tiny_val", "--columns", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("Wrote 3 images to vis\n")
    sheet = cv2.imread(str(tmp_path / "vis/contact_sheet.png"))
    assert sheet.shape[0] > sheet.shape[1]
