"""The tables of datasets and of their metadata."""

from __future__ import annotations

import copy
import pickle

import project  # noqa: F401

import pytest
from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog


@pytest.fixture
def name():
    name = "catalog_test_dataset"
    yield name
    DatasetCatalog.pop(name, None)
    MetadataCatalog.pop(name, None)


def two_records():
    return [{"image_id": 1}, {"image_id": 2}]


def test_register_get_list_remove(name):
    DatasetCatalog.register(name, two_records)
    assert name in DatasetCatalog
    assert name in DatasetCatalog.list()
    assert DatasetCatalog.get(name) == two_records()
    DatasetCatalog.remove(name)
    assert name not in DatasetCatalog


def test_loader_is_called_by_each_get_and_not_before(name):
    calls = []
    DatasetCatalog.register(name, lambda: calls.append(1) or [])
    assert calls == []
    DatasetCatalog.get(name)
    DatasetCatalog.get(name)
    assert calls == [1, 1]


def test_a_name_is_registered_once(name):
    DatasetCatalog.register(name, two_records)
    with pytest.raises(AssertionError, match=name):
        DatasetCatalog.register(name, two_records)


def test_a_loader_is_a_function(name):
    with pytest.raises(AssertionError):
        DatasetCatalog.register(name, 3)
    assert name not in DatasetCatalog


def test_an_unknown_name_lists_the_known_ones(name):
    DatasetCatalog.register(name, two_records)
    with pytest.raises(KeyError, match=name):
        DatasetCatalog.get("catalog_tset_dataset")
    with pytest.raises(KeyError):
        DatasetCatalog.remove("catalog_tset_dataset")


@pytest.mark.bundled
def test_an_unknown_name_gets_the_closest_one_proposed(name):
    DatasetCatalog.register(name, two_records)
    with pytest.raises(KeyError, match=f"did you mean '{name}'"):
        DatasetCatalog.get("catalog_tset_dataset")


@pytest.mark.bundled
def test_importing_registers_nothing():
    import subprocess
    import sys

    code = (
        "import project, detectron2.data as d, detectron2.data.datasets;"
        "assert d.DatasetCatalog.list() == [] and d.MetadataCatalog.list() == []"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_metadata_is_made_once(name):
    metadata = MetadataCatalog.get(name)
    assert metadata.name == name
    assert MetadataCatalog.get(name) is metadata
    assert name in MetadataCatalog.list()
    MetadataCatalog.remove(name)
    assert MetadataCatalog.get(name) is not metadata


def test_metadata_fields(name):
    metadata = MetadataCatalog.get(name)
    assert metadata.set(thing_classes=["a", "b"], evaluator_type="coco") is metadata
    assert metadata.thing_classes == ["a", "b"]
    assert metadata.get("evaluator_type") == "coco"
    assert metadata.get("absent") is None
    assert metadata.get("absent", 3) == 3
    assert metadata.as_dict() == {
        "name": name,
        "thing_classes": ["a", "b"],
        "evaluator_type": "coco",
    }


def test_metadata_dict_is_a_copy(name):
    metadata = MetadataCatalog.get(name)
    metadata.as_dict()["extra"] = 1
    assert metadata.get("extra") is None


def test_a_field_keeps_its_value(name):
    metadata = MetadataCatalog.get(name).set(thing_classes=["a"])
    metadata.thing_classes = ["a"]
    with pytest.raises(AssertionError, match="thing_classes"):
        metadata.thing_classes = ["b"]
    assert metadata.thing_classes == ["a"]


def test_a_missing_field_is_an_attribute_error(name):
    metadata = MetadataCatalog.get(name).set(thing_classes=["a"])
    with pytest.raises(AttributeError, match="thing_clases"):
        _ = metadata.thing_clases
    assert not hasattr(metadata, "stuff_classes")


def test_metadata_without_a_catalog():
    assert Metadata().set(a=1).as_dict() == {"a": 1}


def test_metadata_can_be_copied_and_pickled(name):
    metadata = MetadataCatalog.get(name).set(thing_classes=["a"])
    assert copy.deepcopy(metadata).as_dict() == metadata.as_dict()
    assert pickle.loads(pickle.dumps(metadata)).thing_classes == ["a"]
