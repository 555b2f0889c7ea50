"""Reading COCO files: what is accepted, and which line a broken file gets."""

from __future__ import annotations

import json
import re

from project.data.coco_file import check_file_name, read_coco_file
from project.errors import UserError

import pytest


def test_reads_ids_names_and_raw_masks(small_coco):
    file = read_coco_file(small_coco(["ab", ""]).file)
    assert [image.id for image in file.images] == [10, 11]
    assert {category.name: category.id for category in file.categories}["ant"] == 0
    assert [a.category_id for a in file.annotations] == [0, 7]
    assert json.loads(bytes(file.annotations[0].segmentation)) == [[2, 4, 8, 4, 8, 12, 2, 12]]


def test_unlabelled_file_has_no_annotations_at_all(small_coco):
    coco = small_coco(["a"])
    del coco.document["annotations"]
    assert read_coco_file(coco.write()).annotations is None


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.json doesn't exist"):
        read_coco_file(tmp_path / "nowhere.json")


@pytest.mark.parametrize("keep", [0, 1, 200])
def test_truncated_file_is_told_in_one_line(small_coco, keep):
    coco = small_coco(["a"])
    coco.file.write_bytes(coco.file.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"labels.json is no readable COCO") as caught:
        read_coco_file(coco.file)
    assert "\n" not in str(caught.value)


def change(coco, key, position, **values):
    coco.document[key][position].update(values)


@pytest.mark.parametrize(
    "key, position, values, message",
    [
        ("images", 1, {"id": 10}, "image id 10 stands there twice"),
        ("images", 1, {"file_name": "./000.png"}, "file_name '000.png' stands there twice"),
        ("images", 1, {"file_name": "../secret.png"}, "image 11: file_name '../secret.png' leaves"),
        ("images", 1, {"height": 0}, r"image 11 \(001.png\): height 0"),
        ("annotations", 1, {"id": 100}, "annotation id 100 stands there twice"),
        ("annotations", 1, {"image_id": 99}, "annotation 101 has image_id 99"),
        ("annotations", 1, {"category_id": 1}, "annotation 101 has category_id 1"),
        ("annotations", 1, {"bbox": [1, 2, 3]}, r"annotations\[1\]"),
        ("annotations", 1, {"id": 2**64}, r"annotations\[1\].id"),
        ("images", 0, {"id": -(2**63) - 1}, r"images\[0\].id"),
        ("images", 0, {"height": 2**40}, r"`int` <= 1048576 - at `\$.images\[0\].height`"),
        ("images", 1, {"width": 10**20}, r"images\[1\].width"),
        ("images", 1, {"width": -(10**20)}, r"image 11 \(001.png\): height .* at least 1 pixel"),
        ("annotations", 1, {"iscrowd": 10**20}, r"annotations\[1\].iscrowd"),
        ("annotations", 1, {"ignore": -(10**20)}, r"annotations\[1\].ignore"),
        ("categories", 1, {"id": 9}, "category id 9 stands there twice"),
        ("categories", 1, {"name": "cat"}, "category name 'cat' stands there twice"),
    ],
)
def test_contradictions_are_refused(small_coco, key, position, values, message):
    coco = small_coco(["a", "b"])
    change(coco, key, position, **values)
    with pytest.raises(UserError, match=message) as caught:
        read_coco_file(coco.write())
    assert str(coco.file) in str(caught.value)


@pytest.mark.parametrize("name", ["a.jpg", "train2017/a.jpg", "a..b.jpg", "..a/b.jpg"])
def test_names_inside_the_folder_pass(name):
    assert check_file_name(name, "file") == name


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "a/../../b", "..", "", r"..\b.jpg", r"C:\b.jpg", r"\b.jpg", "a\0b"]
)
def test_names_that_leave_the_folder_are_refused(name):
    with pytest.raises(UserError, match=re.escape(f"here: file_name {name!r} leaves")):
        check_file_name(name, "here")
