"""The label table and what is counted from it, worked by hand on three images."""

import json

from project.data.exploration.classes import class_counts, co_occurrence, company, images_by_count
from project.data.exploration.labels import read_labels, split_name
from project.errors import UserError

import numpy as np
import pytest


def test_the_table_holds_the_file_in_its_order(table):
    assert table.name == "train"
    assert table.class_names == ("ball", "cup", "ghost")
    assert table.image_sizes.tolist() == [[100, 200], [100, 200], [50, 50]]
    assert table.image_index.tolist() == [0, 0, 0, 1, 1, 1]
    assert table.class_index.tolist() == [1, 0, 0, 0, 1, 0]
    assert table.boxes_xyxy[0].tolist() == [10, 20, 30, 60]
    assert table.box_sizes[0].tolist() == [40, 20]
    assert table.objects.tolist() == [True, True, False, True, True, True]


def test_classes_can_be_chosen_and_put_first(labels_file):
    only = read_labels(labels_file, classes=["cup"])
    assert only.class_names == ("cup",)
    assert only.annotation_ids.tolist() == [1, 5]
    shared = read_labels(labels_file, first_classes=["fork", "cup"])
    assert shared.class_names == ("fork", "cup", "ball", "ghost")
    assert shared.class_index.tolist() == [1, 2, 2, 2, 1, 2]


def test_missing_boxes_and_areas_come_from_the_mask(tmp_path, labels_file):
    content = json.loads(labels_file.read_text())
    for annotation in content["annotations"]:
        del annotation["bbox"], annotation["area"]
    content["annotations"][5]["segmentation"] = []
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(content))
    table = read_labels(file)
    assert table.boxes_xyxy.tolist()[0] == [10, 20, 30, 60]
    assert table.areas.tolist() == [800, 1600, 200, 32, 0, 0]
    assert table.boxes_xyxy[5].tolist() == [0, 0, 0, 0]
    assert table.name == tmp_path.name


def test_unlabelled_files_and_unknown_classes_are_refused(tmp_path, labels_file):
    content = json.loads(labels_file.read_text())
    del content["annotations"]
    file = tmp_path / "info.json"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="has no annotations"):
        read_labels(file)
    with pytest.raises(UserError, match="unknown class 'cap'; did you mean 'cup'"):
        read_labels(labels_file, classes=["cap"])


@pytest.mark.parametrize(
    "path, name", [("a/train.json", "train"), ("a/labels.json", "a"), ("b/Annotations.json", "b")]
)
def test_a_split_is_called_after_what_tells_something(path, name):
    assert split_name(path) == name


def test_counts(table):
    counts = class_counts(table)
    assert counts.instances.tolist() == [3, 2, 0]
    assert counts.images.tolist() == [2, 2, 0]
    assert counts.crowds.tolist() == [1, 0, 0]
    assert counts.share == pytest.approx([60, 40, 0])
    assert counts.image_share == pytest.approx([200 / 3, 200 / 3, 0])
    assert counts.negatives == 1
    assert counts.imbalance == 1.5


def test_company(table):
    together = co_occurrence(table.statistics())
    assert together.tolist() == [[2, 2, 0], [2, 2, 0], [0, 0, 0]]
    percent = company(together)
    assert percent[:2].tolist() == [[100, 100, 0], [100, 100, 0]]
    assert np.isnan(percent[2]).all()


def test_company_is_read_from_the_row():
    # The first class stands in four images, the second in one of them.
    assert company(np.array([[4, 1], [1, 1]])).tolist() == [[100, 25], [100, 100]]


def test_images_by_count(table):
    assert images_by_count(table.statistics()).tolist() == [
        [1, 1, 1, 0, 0, 0],  # ball: none, one and two
        [1, 2, 0, 0, 0, 0],  # cup
        [3, 0, 0, 0, 0, 0],  # ghost
        [1, 0, 1, 1, 0, 0],  # any class: none, two and three
    ]


def test_no_objects_at_all(tmp_path, labels_file):
    content = json.loads(labels_file.read_text())
    content["annotations"] = []
    file = tmp_path / "empty.json"
    file.write_text(json.dumps(content))
    counts = class_counts(read_labels(file))
    assert counts.share.tolist() == [0, 0, 0]
    assert counts.imbalance == 1
    assert counts.negatives == 3
