"""Subsets by name: registration, records, and files that would become wrong labels."""

from __future__ import annotations

import json
import subprocess
import sys

from project.data.catalog import (
    class_names,
    num_classes,
    num_images,
    register_subset,
    subset_dicts,
)
from project.errors import UserError

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json


def test_registering_reads_nothing_and_may_be_repeated(tmp_path):
    root = tmp_path / "nothing here"
    assert register_subset("lazy", "train", root) == "lazy_train"
    assert register_subset("lazy", "train", root) == "lazy_train"
    metadata = MetadataCatalog.get("lazy_train")
    assert metadata.json_file == str(root / "lazy/annotations/train.json")
    assert metadata.image_root == str(root / "lazy/images/train")
    assert metadata.evaluator_type == "coco"
    with pytest.raises(UserError, match="'lazy_train' is already registered with"):
        register_subset("lazy", "train", tmp_path)


def test_importing_registers_nothing():
    code = (
        "import project.data.catalog; from detectron2.data import DatasetCatalog;"
        "print([n for n in DatasetCatalog.list() if 'scenes' in n])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_records_are_those_of_load_coco_json(small_subset):
    root = small_subset("records", train=["ab", "c", "a", ""])
    file = root / "records/annotations/train.json"
    document = json.loads(file.read_text())
    crowd = {"size": [20, 30], "counts": [5, 3, 592]}
    document["annotations"][0].update(segmentation=crowd, iscrowd=1)
    file.write_text(json.dumps(document))
    ours = subset_dicts("records", "train", root)
    images = str(root / "records/images/train")
    theirs = load_coco_json(str(file), images, "records_reference", ["id"])
    assert list(ours) == theirs
    metadata, reference = (
        MetadataCatalog.get("records_train"),
        MetadataCatalog.get("records_reference"),
    )
    for key in ("thing_classes", "thing_dataset_id_to_contiguous_id"):
        assert getattr(metadata, key) == getattr(reference, key)


def test_classes_and_counts(small_subset):
    root = small_subset("counted", ("bee", "ant"), train=["ab", ""], val=["b", ""])
    assert class_names("counted", root) == ["bee", "ant"]
    assert num_classes("counted", root) == 2
    assert num_images("counted", "train", root) == 2
    assert num_images("counted", "train", root, filter_empty=True) == 1
    records = subset_dicts("counted", "train", root)
    assert records.class_names == ("bee", "ant")
    labels = {tuple(a["category_id"] for a in record["annotations"]) for record in records}
    assert labels == {(1, 0), ()}


def test_images_without_usable_annotations_can_be_dropped(small_subset):
    root = small_subset("dropped", train=["a", "b", "", "c"])
    file = root / "dropped/annotations/train.json"
    document = json.loads(file.read_text())
    document["annotations"][0]["iscrowd"] = 1
    file.write_text(json.dumps(document))
    assert len(subset_dicts("dropped", "train", root)) == 4
    kept = subset_dicts("dropped", "train", root, filter_empty=True)
    assert [[a["iscrowd"] for a in record["annotations"]] for record in kept] == [[0], [0]]
    assert kept.class_names == ("ant", "bee", "cat")


def test_nothing_to_train_on_is_told(small_subset):
    root = small_subset("barren", train=["a"])
    file = root / "barren/annotations/train.json"
    document = json.loads(file.read_text())
    document["annotations"] = []
    file.write_text(json.dumps(document))
    with pytest.raises(UserError, match="'barren_train' has no annotated image"):
        subset_dicts("barren", "train", root, filter_empty=True)


def test_unlabelled_records_have_no_annotations(small_subset):
    root = small_subset("unlabelled", train=["a"])
    file = root / "unlabelled/annotations/train.json"
    document = json.loads(file.read_text())
    del document["annotations"]
    file.write_text(json.dumps(document))
    assert set(subset_dicts("unlabelled", "train", root)[0]) == {
        "file_name",
        "height",
        "width",
        "image_id",
    }


def test_a_changed_file_is_counted_anew(small_subset):
    root = small_subset("changed", train=["a", "b"])
    assert num_images("changed", "train", root) == 2
    file = root / "changed/annotations/train.json"
    document = json.loads(file.read_text())
    del document["images"][1], document["annotations"][1]
    file.write_text(json.dumps(document))
    assert num_images("changed", "train", root) == 1


def test_a_missing_subset_tells_how_to_make_it(small_subset):
    root = small_subset("cake_car", train=["a"])
    message = "unknown subset 'cake_cat'; did you mean 'cake_car'.*prepare_coco_subset.py --name"
    for ask in (subset_dicts, num_images):
        with pytest.raises(UserError, match=message):
            ask("cake_cat", "train", root)
    with pytest.raises(UserError, match=message):
        class_names("cake_cat", root)
    with pytest.raises(UserError, match="unknown split 'trian'; did you mean 'train'"):
        subset_dicts("cake_car", "trian", root)


def test_the_environment_names_the_root(small_subset, monkeypatch):
    root = small_subset("by_environment", train=["a", "b"])
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    assert num_images("by_environment", "train") == 2
    assert len(DatasetCatalog.get(register_subset("by_environment", "train"))) == 2


@pytest.mark.parametrize(
    "case, key, values, message",
    [
        ("escape", "images", {"file_name": "../x.png"}, "leaves the image folder"),
        ("category", "annotations", {"category_id": 4}, "annotation 1 has category_id 4"),
        ("image", "annotations", {"image_id": 4}, "annotation 1 has image_id 4"),
        ("empty", "annotations", {"segmentation": []}, "annotation 1 of image 1: .* is empty"),
        ("ignore", "annotations", {"ignore": 1}, "annotation 1 of image 1 is marked 'ignore'"),
        ("box", "annotations", {"bbox": [1, 1, 0, 3]}, "annotation 1 of image 1: bbox"),
    ],
)
def test_wrong_labels_are_refused_when_loaded(small_subset, case, key, values, message):
    root = small_subset(f"wrong_{case}", train=["a", "b"])
    file = root / f"wrong_{case}/annotations/train.json"
    document = json.loads(file.read_text())
    document[key][0].update(values)
    file.write_text(json.dumps(document))
    with pytest.raises(UserError, match=message) as caught:
        subset_dicts(f"wrong_{case}", "train", root)
    assert str(file) in str(caught.value)
