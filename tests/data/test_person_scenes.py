"""The built-in scenes with the persons alone."""

from __future__ import annotations

import json

from project.data.catalog import class_names, num_images, subset_dicts
from project.data.manifest import read_manifest
from project.data.scenes import make_person_scenes, make_scenes
from project.data.scenes.persons import persons_alone

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

SIZES = {"train": 16, "val": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    return make_scenes(root, SIZES), make_person_scenes(root, SIZES)


def read(folder, split):
    return json.loads((folder / f"annotations/{split}.json").read_text())


def test_the_pictures_are_those_of_the_scenes_and_take_no_room(folders):
    scenes, persons = folders
    assert persons.name == scenes.name
    for split in SIZES:
        names = sorted(p.name for p in (scenes / "images" / split).iterdir())
        assert sorted(p.name for p in (persons / "images" / split).iterdir()) == names
        for name in names:
            assert (persons / "images" / split / name).samefile(scenes / "images" / split / name)


def test_the_labels_are_the_persons(folders):
    for split in SIZES:
        scenes, persons = (read(folder, split) for folder in folders)
        assert [c["name"] for c in persons["categories"]] == ["person"]
        assert persons["images"] == scenes["images"]
        (number,) = (c["id"] for c in scenes["categories"] if c["name"] == "person")
        wanted = [a for a in scenes["annotations"] if a["category_id"] == number]
        assert [a | {"category_id": number} for a in persons["annotations"]] == wanted
        assert {a["category_id"] for a in persons["annotations"]} == {1}
    assert any(a["iscrowd"] for a in read(folders[1], "train")["annotations"])


def test_the_manifest_counts_what_is_there(folders):
    manifest = read_manifest(folders[1] / "manifest.json")
    assert (manifest.name, list(manifest.classes)) == ("scenes_person", ["person"])
    for split, record in manifest.splits.items():
        coco = read(folders[1], split)
        shown = {a["image_id"] for a in coco["annotations"]}
        assert record.num_negatives == len(coco["images"]) - len(shown)
        assert record.class_counts["person"].annotations == len(coco["annotations"])


def test_it_is_made_once(folders, monkeypatch):
    monkeypatch.setattr("project.data.scenes.persons.persons_alone", None)
    assert make_person_scenes(folders[1].parents[1], SIZES) == folders[1]


def test_no_persons_leave_pictures_without_labels():
    coco = {
        "images": [{"id": 1}],
        "annotations": [{"id": 1, "category_id": 2}],
        "categories": [{"id": 2, "name": "dog"}, {"id": 3, "name": "person"}],
    }
    found = persons_alone(coco)
    assert found["annotations"] == []
    assert found["categories"] == [{"id": 1, "name": "person"}]


def test_the_catalog_makes_it_on_first_use(tmp_path, monkeypatch):
    monkeypatch.setattr("project.data.scenes.dataset.DEFAULT_SIZES", SIZES)
    try:
        assert class_names("scenes_person", tmp_path) == ["person"]
        assert len(subset_dicts("scenes_person", "val", tmp_path)) == 2
        assert num_images("scenes_person", "train", tmp_path, filter_empty=True) < 16
    finally:
        DatasetCatalog.remove("scenes_person_val")
        MetadataCatalog.pop("scenes_person_val", None)
