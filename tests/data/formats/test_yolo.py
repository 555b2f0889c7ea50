"""YOLO segmentation: a small tree in its layout; polygons come back as they were."""

from __future__ import annotations

from project.data.formats.yolo import read_yolo
from project.errors import UserError

import numpy as np
import pytest

STAR = [20.0, 5.0, 25.0, 30.0, 5.0, 15.0, 35.0, 15.0, 15.0, 30.0]  # pixels of 40 by 60
SQUARE = [2.0, 40.0, 22.0, 40.0, 22.0, 55.0, 2.0, 55.0]


def line(number, points):
    shares = np.array(points).reshape(-1, 2) / (40, 60)
    return f"{number} " + " ".join(f"{share:.6f}" for share in shares.ravel())


@pytest.fixture
def yolo(tmp_path, save_image, picture):
    """data.yaml, one training image with two objects and one without a file, one for validation."""
    folder = tmp_path / "fruit"
    for name in ("train/a", "train/none", "val/b"):
        save_image(folder / f"images/{name}.jpg", picture(60, 40))
    for name, text in (
        ("train/a", line(1, STAR) + "\n" + line(0, SQUARE) + "\n\n"),
        ("val/b", line(0, SQUARE)),
    ):
        file = folder / f"labels/{name}.txt"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    (folder / "data.yaml").write_text(
        "path: .\ntrain: images/train\nval: images/val\ntest:\n"
        "names:\n  0: apple\n  1: star fruit\n"
    )
    return folder


def test_polygons_come_back(yolo, masks_of):
    document = read_yolo(yolo / "data.yaml", "train").document
    found = masks_of(document, "a.jpg")
    assert [name for name, _, _ in found] == ["star fruit", "apple"]
    for (_, _, annotation), points in zip(found, (STAR, SQUARE), strict=True):
        assert np.abs(np.array(annotation["segmentation"][0]) - points).max() < 0.002
    assert found[1][2]["bbox"] == pytest.approx([2, 40, 20, 15], abs=0.002)
    assert found[1][2]["area"] == pytest.approx(300, abs=0.1)
    target = np.zeros((60, 40), bool)
    target[40:55, 2:22] = True
    assert (found[1][1] & target).sum() / (found[1][1] | target).sum() > 0.95
    assert masks_of(document, "none.jpg") == []


def test_lists_of_images_and_lists_of_names(yolo):
    (yolo / "train.txt").write_text("./images/train/a.jpg\n./images/val/b.jpg\n")
    (yolo / "data.yaml").write_text("train: train.txt\nnames: [apple, star fruit]\n")
    document = read_yolo(yolo / "data.yaml", "train").document
    assert [i["file_name"] for i in document["images"]] == ["train/a.jpg", "val/b.jpg"]
    assert len(document["annotations"]) == 3


def test_a_list_may_mix_absolute_and_relative_lines(yolo, monkeypatch):
    monkeypatch.chdir(yolo)
    (yolo / "train.txt").write_text(f"./images/train/a.jpg\n{yolo}/images/val/b.jpg\n")
    (yolo / "data.yaml").write_text("train: train.txt\nnames: [apple, star fruit]\n")
    document = read_yolo("data.yaml", "train").document
    assert [i["file_name"] for i in document["images"]] == ["train/a.jpg", "val/b.jpg"]


def test_boxes_are_no_masks(yolo):
    (yolo / "labels/train/a.txt").write_text("0 0.5 0.5 0.2 0.2\n" + line(0, SQUARE))
    result = read_yolo(yolo / "data.yaml", "train")
    assert len(result.document["annotations"]) == 1
    assert "a.txt, line 1: left out, a box without a polygon" in result.notes[0]


def test_labels_that_are_nowhere_are_noted(yolo):
    (yolo / "labels").rename(yolo / "label")
    (note,) = read_yolo(yolo / "data.yaml", "train").notes
    assert "no image has an object; labels are looked for at" in note
    assert note.endswith("fruit/labels/train/a.txt")


@pytest.mark.parametrize(
    "text, message",
    [
        ("2 0 0 1 0 1 1", "a.txt, line 1: class 2; expected 0 to 1"),
        ("0 0 0 1 0 1", "line 1: 5 coordinates; expected pairs"),
        ("0 0 0 1 0 120 1", "line 1: coordinate 120; expected shares of the image"),
        ("0 0 0 1 0 nan 1", "coordinate nan"),
        ("apple 0 0 1 0 1 1", "expected a class number and coordinates"),
    ],
)
def test_lines_that_cannot_be_meant(yolo, text, message):
    (yolo / "labels/train/a.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        read_yolo(yolo / "data.yaml", "train")


@pytest.mark.parametrize(
    "text, message",
    [
        ("train: [a, b\n", "no readable YAML"),
        ("train: 2024-13-45", "no readable YAML"),
        ("train: !!int abc", "no readable YAML"),
        ("train: !!int ''", "no readable YAML"),
        ("train: !!bool abc", "no readable YAML"),
        ("train: !!timestamp abc", "no readable YAML"),
        ("just text", "is no data file of YOLO"),
        ("train: images/train\nnames: {1: apple}", "names must be a list of class names"),
        ("train: images/train\nnames: {0: a, x: b}", "names must be a list of class names"),
        ("train: images/train\nnames: [a, a]", "stands in names twice"),
        ("val: images/val\nnames: [a]", r"unknown split 'train' \(known: val\)"),
        ("train: images/trian\nnames: [a]", "image folder .*images/trian doesn't exist"),
        ("train: [images/a, images/b]\nnames: [a]", "expected one folder or list of images"),
    ],
)
def test_data_files_that_cannot_be_meant(yolo, text, message):
    (yolo / "data.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_yolo(yolo / "data.yaml", "train")


def test_the_converter_makes_a_subset(converter, yolo, tmp_path):
    code, out, _ = converter("yolo", yolo / "data.yaml", "--name", "fruit")
    assert code == 0
    assert "train: 2 images (1 negative), 2 annotations" in out
    assert (tmp_path / "root/fruit/annotations/val.json").is_file()
    code, _, err = converter("yolo", yolo / "none.yaml", "--name", "other")
    assert (code, err.count("\n")) == (2, 1)
    assert "YOLO data file" in err
