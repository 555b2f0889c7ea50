"""Splits of the real training file; needs COCO_SUBSET_ROOT."""

from __future__ import annotations

from project.data.splits import Splitting
from project.data.subset import SplitSource, SubsetPlan, build_subset

FOUR = ("cake", "car", "dog", "person")


def test_dogs_reach_every_split_and_copies_stay_together(coco_subset_root, tmp_path):
    source = coco_subset_root / "train-300"
    splits = {
        split: SplitSource(source / "data", source / "labels.json")
        for split in ("train", "val", "test")
    }
    ratios = {"train": 75.0, "val": 12.5, "test": 12.5}
    splitting = Splitting(ratios, stratified=True, group_duplicates=True)
    manifest = build_subset(SubsetPlan("real_parts", FOUR, splits, splitting=splitting), tmp_path)
    records = manifest.splits
    assert [r.num_images for r in records.values()] == [225, 38, 37]
    # ten images show a dog, one shows cakes: that one is for training
    dogs = [r.class_counts["dog"].images for r in records.values()]
    assert sum(dogs) == 10
    assert dogs[0] in (7, 8)
    assert min(dogs) >= 1
    assert [r.class_counts["cake"].images for r in records.values()] == [1, 0, 0]
