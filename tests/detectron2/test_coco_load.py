"""COCO files and label map folders → records, and records → COCO files."""

from __future__ import annotations

import copy
import json
import logging

import project  # noqa: F401

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from detectron2.data.datasets import load_coco_json, load_sem_seg, register_coco_instances
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import BoxMode


@pytest.fixture(autouse=True)
def clean_catalogs():
    before = set(DatasetCatalog.list()), set(MetadataCatalog.list())
    yield
    for catalog, names in zip((DatasetCatalog, MetadataCatalog), before, strict=True):
        for name in set(catalog.list()) - names:
            catalog.remove(name)


@pytest.fixture(scope="module")
def facts(golden):
    return golden.json("coco_load")


@pytest.fixture(scope="module")
def coco40(golden):
    return str(golden.path("coco40_gt.json"))


def small_dataset():
    """Three images: polygons good and bad, a crowd with uncompressed RLE, a box without mask."""
    square = [2, 3, 12, 3, 12, 11, 2, 11]
    return {
        "images": [
            {"id": i, "file_name": f"{n}.jpg", "height": 20, "width": 30}
            for i, n in ((5, "b"), (2, "a"), (9, "c"))
        ],
        "categories": [{"id": 7, "name": "x"}, {"id": 3, "name": "w"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 5,
                "category_id": 7,
                "bbox": [2, 3, 10, 8],
                "iscrowd": 0,
                "segmentation": [square, [1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7]],
                "extra": 4,
            },
            {
                "id": 2,
                "image_id": 5,
                "category_id": 3,
                "bbox": [2, 3, 10, 8],
                "iscrowd": 0,
                "segmentation": [[1, 2, 3, 4]],
            },
            {
                "id": 3,
                "image_id": 2,
                "category_id": 3,
                "bbox": [0, 0, 4, 4],
                "iscrowd": 1,
                "segmentation": {"size": [20, 30], "counts": [0, 5, 595]},
            },
            {"id": 4, "image_id": 5, "category_id": 3, "bbox": [1, 1, 4, 4], "iscrowd": 0},
        ],
    }


@pytest.fixture
def write(tmp_path):
    def write(content, name="annotations.json"):
        path = tmp_path / name
        path.write_text(json.dumps(content))
        return str(path)

    return write


def plain(records):
    """Records as the golden file writes them."""
    records = copy.deepcopy(records)
    for record in records:
        for annotation in record["annotations"]:
            annotation["bbox_mode"] = int(annotation["bbox_mode"])
            if isinstance(annotation.get("segmentation"), dict):
                counts = annotation["segmentation"]["counts"]
                annotation["segmentation"]["counts"] = repr(counts)
    return records


def ids_per_image(records):
    return [[a["category_id"] for a in record["annotations"]] for record in records]


def test_real_file_with_contiguous_ids(facts, coco40):
    records = load_coco_json(coco40, "IMG", "coco40_contiguous")
    assert len(records) == facts["n_images"]
    assert sum(len(r["annotations"]) for r in records) == facts["n_annotations"]
    assert [r["image_id"] for r in records] == facts["image_ids"]
    assert ids_per_image(records) == facts["per_image_contiguous_ids"]
    metadata = MetadataCatalog.get("coco40_contiguous")
    assert metadata.thing_classes == facts["thing_classes"]
    id_map = {int(key): value for key, value in facts["id_map"].items()}
    assert metadata.thing_dataset_id_to_contiguous_id == id_map
    first, expected = records[0], facts["first_record"]
    for key in ("file_name", "height", "width", "image_id"):
        assert first[key] == expected[key]
    assert list(first) == expected["keys"]
    assert sorted(first["annotations"][0]) == expected["annotation_keys"]
    assert first["annotations"][0]["bbox_mode"] == BoxMode(expected["bbox_mode"])


def test_real_file_with_its_own_ids(facts, coco40):
    assert ids_per_image(load_coco_json(coco40, "IMG")) == facts["per_image_raw_ids"]


def test_small_file(facts, write):
    path = write(facts["small_input"])
    register_coco_instances("small", {"thing_colors": [[1, 2, 3], [4, 5, 6]]}, path, "ROOT")
    records = DatasetCatalog.get("small")
    assert plain(records) == facts["small_output"]
    counts = records[0]["annotations"][0]["segmentation"]["counts"]
    assert type(counts).__name__ == facts["small_rle_counts_type"]
    extra = load_coco_json(path, "ROOT", None, ["extra"])
    assert plain(extra)[1]["annotations"][0] == facts["small_extra_keys"]
    filtered = get_detection_dataset_dicts("small")
    assert [r["image_id"] for r in filtered] == facts["small_filtered"]
    unfiltered = get_detection_dataset_dicts(["small"], filter_empty=False)
    assert [r["image_id"] for r in unfiltered] == facts["small_unfiltered"]
    both = get_detection_dataset_dicts(["small", "small"], filter_empty=False)
    assert len(both) == facts["two_datasets"]
    metadata = MetadataCatalog.get("small").as_dict()
    assert metadata.pop("json_file") == path
    metadata["thing_dataset_id_to_contiguous_id"] = {
        str(key): value for key, value in metadata["thing_dataset_id_to_contiguous_id"].items()
    }
    expected = dict(facts["metadata"], name="small")
    assert metadata == expected


def test_small_file_by_hand(write):
    records = load_coco_json(write(small_dataset()), "ROOT", "small_by_hand")
    assert [r["file_name"] for r in records] == ["ROOT/a.jpg", "ROOT/b.jpg", "ROOT/c.jpg"]
    assert MetadataCatalog.get("small_by_hand").thing_classes == ["w", "x"]
    crowd, both, none = (r["annotations"] for r in records)
    assert crowd[0]["segmentation"] == {"size": [20, 30], "counts": b"05cb0"}
    # The annotation with only a broken polygon is gone; the one with none is kept without a mask.
    assert [a["category_id"] for a in both] == [1, 0]
    assert both[0]["segmentation"] == [[2, 3, 12, 3, 12, 11, 2, 11]]
    assert "segmentation" not in both[1]
    assert none == []


def test_dropped_annotations_are_counted(write, caplog):
    with caplog.at_level(logging.WARNING):
        load_coco_json(write(small_dataset()), "ROOT")
    assert any("1" in r.message and "polygon" in r.message for r in caplog.records)


def test_a_file_without_annotations(write):
    content = {key: small_dataset()[key] for key in ("images", "categories")}
    records = load_coco_json(write(content), "ROOT", "unlabelled")
    assert [r["annotations"] for r in records] == [[], [], []]


def test_keypoints_are_moved_to_pixel_centres(write):
    content = small_dataset()
    content["annotations"][3]["keypoints"] = [1, 2, 2, 0, 0, 0]
    records = load_coco_json(write(content), "ROOT")
    assert records[1]["annotations"][1]["keypoints"] == [1.5, 2.5, 2, 0.5, 0.5, 0]


def test_errors_of_the_figures(facts):
    """Each is raised in a test of this file or of test_catalog."""
    assert facts["errors"] == {
        "unknown category": "KeyError",
        "duplicate annotation ids": "AssertionError",
        "unknown dataset": "KeyError",
        "metadata changed": "AssertionError",
        "register twice": "AssertionError",
        "not callable": "AssertionError",
        "metadata missing attr": "AttributeError",
        "no names": "AssertionError",
    }


def broken(change):
    content = small_dataset()
    change(content["annotations"])
    return content


def test_unknown_category(write):
    path = write(broken(lambda a: a[0].update(category_id=99)))
    with pytest.raises(KeyError, match="99"):
        load_coco_json(path, "x", "unknown_category")
    assert len(load_coco_json(path, "x")) == 3  # without a name, ids aren't looked at


def test_repeated_annotation_ids(write):
    content = broken(lambda a: a[1].update(id=1))
    with pytest.raises(AssertionError):
        load_coco_json(write(content), "x")
    assert len(load_coco_json(write(content, "minival.json"), "x")) == 3


def test_ignore_flag(write):
    with pytest.raises(AssertionError):
        load_coco_json(write(broken(lambda a: a[0].update(ignore=1))), "x")
    assert len(load_coco_json(write(broken(lambda a: a[0].update(ignore=0))), "x")) == 3


def test_empty_bbox(write):
    with pytest.raises(ValueError):
        load_coco_json(write(broken(lambda a: a[0].update(bbox=[]))), "x")


@pytest.mark.bundled
def test_messages_name_file_image_and_annotation(write):
    path = write(broken(lambda a: a[0].update(bbox=[])))
    with pytest.raises(ValueError, match=r"annotations\.json, image 5, annotation 1"):
        load_coco_json(path, "x")


def test_registering_reads_no_file():
    register_coco_instances("lazy", {}, "/nowhere/at/all.json", "ROOT")
    metadata = MetadataCatalog.get("lazy")
    assert (metadata.json_file, metadata.image_root) == ("/nowhere/at/all.json", "ROOT")
    assert metadata.evaluator_type == "coco"
    with pytest.raises(FileNotFoundError):
        DatasetCatalog.get("lazy")


def test_registering_again(write):
    path = write(small_dataset())
    register_coco_instances("again", {}, path, "ROOT")
    loader = DatasetCatalog["again"]
    register_coco_instances("again", {}, path, "ROOT")
    assert DatasetCatalog["again"] is loader
    with pytest.raises(AssertionError):
        register_coco_instances("again", {}, "other.json", "ROOT")


@pytest.mark.parametrize("arguments", [(3, "j", "r"), ("n", 3, "r"), ("n", "j", 3)])
def test_registering_needs_strings(arguments):
    name, json_file, root = arguments
    with pytest.raises(AssertionError):
        register_coco_instances(name, {}, json_file, root)


# --- get_detection_dataset_dicts


def record(*category_ids, crowd=0):
    return {"annotations": [{"category_id": c, "iscrowd": crowd} for c in category_ids]}


def register(name, records, classes=("a", "b")):
    DatasetCatalog.register(name, lambda: records)
    if classes is not None:
        MetadataCatalog.get(name).thing_classes = list(classes)
    return name


def test_images_without_instances_are_removed():
    records = [record(0), record(), record(1, crowd=1), record(1)]
    name = register("some_empty", records)
    assert get_detection_dataset_dicts(name) == [records[0], records[3]]
    assert get_detection_dataset_dicts(name, filter_empty=False) == records


def test_unlabelled_datasets_are_not_filtered():
    name = register("unlabelled", [{"image_id": 1}, {"image_id": 2}], classes=None)
    assert len(get_detection_dataset_dicts(name)) == 2


def test_names_in_any_sequence():
    from omegaconf import OmegaConf

    register("first", [record(0)])
    register("second", [record(1)])
    for names in (("first", "second"), OmegaConf.create(["first", "second"])):
        assert get_detection_dataset_dicts(names) == [record(0), record(1)]


def test_images_with_few_keypoints_are_removed():
    def person(*visibilities):
        keypoints = [value for v in visibilities for value in (1.0, 1.0, v)]
        return {"annotations": [{"category_id": 0, "iscrowd": 0, "keypoints": keypoints}]}

    name = register("keypoints", [person(2, 1, 0), person(0, 0, 1)])
    assert get_detection_dataset_dicts(name, min_keypoints=2) == [person(2, 1, 0)]


def test_no_names_no_records_nothing_left():
    with pytest.raises(AssertionError):
        get_detection_dataset_dicts([])
    with pytest.raises(AssertionError, match="nothing_in_it"):
        get_detection_dataset_dicts(register("nothing_in_it", []))
    with pytest.raises(AssertionError):
        get_detection_dataset_dicts(register("only_crowds", [record(1, crowd=1)]))
    with pytest.raises(KeyError):
        get_detection_dataset_dicts("nope")


def test_classes_must_agree():
    names = [register("one", [record(0)], "ab"), register("two", [record(0)], "ac")]
    with pytest.raises(ValueError):
        get_detection_dataset_dicts(names)
    assert len(get_detection_dataset_dicts(names, check_consistency=False)) == 2


@pytest.mark.parametrize("category_id", [-1, 2])
def test_category_ids_must_be_in_range(category_id):
    name = register("out_of_range", [record(0), record(category_id)])
    with pytest.raises(AssertionError):
        get_detection_dataset_dicts(name)


def test_class_histogram_is_logged(caplog):
    name = register("counted", [record(0, 1, 1)], ("zebra", "yak"))
    with caplog.at_level(logging.INFO):
        get_detection_dataset_dicts(name)
    assert "zebra" in caplog.text
    assert "yak" in caplog.text


@pytest.mark.bundled
def test_proposals_are_refused():
    name = register("proposals", [record(0)])
    with pytest.raises(NotImplementedError):
        get_detection_dataset_dicts(name, proposal_files=["p.pkl"])


# --- load_sem_seg


def make_files(folder, names):
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    return str(folder)


def test_golden_pairs(facts, tmp_path):
    names = facts["sem_seg_input"]
    images, labels = (make_files(tmp_path / folder, names[folder]) for folder in ("im", "gt"))
    records = load_sem_seg(labels, images)
    relative = [
        {key: value.removeprefix(f"{tmp_path}/") for key, value in record.items()}
        for record in records
    ]
    assert relative == facts["sem_seg"]


def test_pairs_of_equal_names_where_counts_differ(tmp_path):
    images = make_files(tmp_path / "images", ["b.jpg", "a.jpg", "c.jpg", "notes.txt"])
    labels = make_files(tmp_path / "labels", ["c.png", "b.png"])
    names = [tuple(path[-5:] for path in r.values()) for r in load_sem_seg(labels, images)]
    assert names == [("b.jpg", "b.png"), ("c.jpg", "c.png")]


def test_no_label_map(tmp_path):
    images = make_files(tmp_path / "images", ["a.jpg"])
    labels = make_files(tmp_path / "labels", ["a.txt"])
    with pytest.raises(AssertionError):
        load_sem_seg(labels, images)


# --- records → a COCO file, which COCOEvaluator makes where there is none


@pytest.mark.bundled  # upstream's file has other areas and counts
def test_conversion_keeps_the_ground_truth(write, tmp_path):
    records = load_coco_json(write(small_dataset()), "ROOT", "loaded")
    fields = MetadataCatalog.get("loaded").as_dict() | {"name": "to_convert"}
    DatasetCatalog.register("to_convert", lambda: records)
    MetadataCatalog.get("to_convert").set(**fields)
    COCOEvaluator("to_convert", None, False, str(tmp_path))
    made = tmp_path / "to_convert_coco_format.json"
    content = json.loads(made.read_text())
    assert sorted(c["id"] for c in content["categories"]) == [3, 7]
    assert [a["id"] for a in content["annotations"]] == [1, 2, 3]
    assert [a["area"] for a in content["annotations"]] == [5, 80, 16]  # RLE, polygon, box
    again = load_coco_json(str(made), "", "converted_again")
    assert plain(again) == plain_with_text_counts(records)


def plain_with_text_counts(records):
    records = copy.deepcopy(records)
    for annotation in (a for r in records for a in r["annotations"]):
        if isinstance(annotation.get("segmentation"), dict):
            counts = annotation["segmentation"]["counts"].decode()
            annotation["segmentation"]["counts"] = counts
    return plain(records)


def test_polygons_have_three_points_or_more(write):
    content = small_dataset()
    polygons = [[1, 1, 5, 1, 5, 5], [1, 1, 5, 5], [1, 1, 5, 1, 5, 5, 2]]
    content["annotations"] = [content["annotations"][0] | {"segmentation": polygons}]
    records = load_coco_json(write(content), "ROOT")
    found = [a["segmentation"] for record in records for a in record["annotations"]]
    assert found == [polygons[:1]]
