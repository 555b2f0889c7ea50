"""The real 630-image subset with its traps; needs COCO_SUBSET_ROOT."""

from __future__ import annotations

from itertools import islice

from project.data.catalog import subset_dicts
from project.data.loader import build_train_loader
from project.data.mapper import InstanceMapper
from project.data.sampler import InverseFrequency
from project.data.subset import SplitSource, SubsetPlan, build_subset

import pytest
from detectron2.data import transforms as T
from detectron2.data.datasets import load_coco_json

FOUR = ("cake", "car", "dog", "person")


def source(root, split):
    return SplitSource(root / split / "data", root / split / "labels.json")


@pytest.fixture(scope="module")
def four_classes(coco_subset_root, tmp_path_factory):
    """Root and manifest of the four classes, in the splits that the files have."""
    root = tmp_path_factory.mktemp("real")
    splits = {
        "train": source(coco_subset_root, "train-300"),
        "val": source(coco_subset_root, "validation-300"),
        "test": SplitSource(coco_subset_root / "test-30"),
    }
    return root, build_subset(SubsetPlan("real_four", FOUR, splits), root)


def test_four_classes_give_the_known_counts(four_classes):
    _, manifest = four_classes
    counts = {
        split: {name: c.annotations for name, c in manifest.splits[split].class_counts.items()}
        for split in ("train", "val")
    }
    assert counts["train"] == {"cake": 13, "car": 1061, "dog": 14, "person": 1350}
    assert counts["val"] == {"cake": 18, "car": 861, "dog": 9, "person": 1191}
    train, val = (manifest.splits[s].class_counts for s in ("train", "val"))
    assert sum(c.crowds for c in train.values()) == 43
    assert sum(c.crowds for c in val.values()) == 35
    assert (train["cake"].images, train["dog"].images) == (1, 10)
    assert [manifest.splits[s].num_images for s in ("train", "val", "test")] == [300, 300, 30]


def test_ids_that_disagree_are_matched_by_name(four_classes):
    _, manifest = four_classes
    assert manifest.splits["train"].category_ids["car"] == 16
    assert manifest.splits["val"].category_ids["car"] == 15


@pytest.mark.parametrize("split, objects", [("train", 2438), ("val", 2079)])
def test_records_are_those_of_load_coco_json(four_classes, split, objects):
    root, _ = four_classes
    ours = subset_dicts("real_four", split, root)
    folder = root / "real_four"
    json_file = str(folder / f"annotations/{split}.json")
    theirs = load_coco_json(json_file, str(folder / f"images/{split}"), f"ref_{split}", ["id"])
    assert list(ours) == theirs
    assert sum(len(record["annotations"]) for record in ours) == objects


def test_empty_segmentations_are_left_out_and_listed(coco_subset_root, tmp_path):
    splits = {"val": source(coco_subset_root, "validation-300")}
    manifest = build_subset(SubsetPlan("phones", ("cell phone", "kite"), splits), tmp_path)
    notes = [(n.annotation, n.class_name) for n in manifest.splits["val"].left_out]
    assert notes == [(2463, "cell phone"), (3040, "kite")]
    counts = manifest.splits["val"].class_counts
    # 29 annotations of the two classes are in the file
    assert sum(c.annotations for c in counts.values()) == 27


def test_one_class_trains_from_a_weighted_loader(coco_subset_root, tmp_path):
    splits = {
        "train": SplitSource(*source_of(coco_subset_root), 12),
        "val": SplitSource(*source_of(coco_subset_root), 3),
    }
    plan = SubsetPlan("only_people", ("person",), splits, negatives=0.25)
    manifest = build_subset(plan, tmp_path)
    assert manifest.splits["train"].num_negatives == 3
    mapper = InstanceMapper(True, augmentations=[T.Resize(128), T.RandomFlip()])
    loader = build_train_loader(
        subset_dicts("only_people", "train", tmp_path),
        mapper=mapper,
        sampling=InverseFrequency(),
        total_batch_size=4,
    )
    seen = [record for batch in islice(loader, 3) for record in batch]
    assert {tuple(record["image"].shape) for record in seen} == {(3, 128, 128)}
    assert all(set(r["instances"].gt_classes.tolist()) <= {0} for r in seen)
    assert any(len(record["instances"]) for record in seen)


def source_of(root):
    return root / "train-300/data", root / "train-300/labels.json"
