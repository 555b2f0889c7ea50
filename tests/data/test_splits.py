"""Subsets of one file by ratio, stratified, in groups, in folds."""

from __future__ import annotations

import json

from project.data.plan import SplitSource, SubsetPlan
from project.data.splits import Splitting
from project.data.subset import build_subset, rebuild_subset
from project.errors import UserError

import numpy as np
import pytest

RATIOS = {"train": 75.0, "val": 12.5, "test": 12.5}


def plan(coco, splitting, classes=("ant", "bee"), name="parts", **options):
    counts = {k: options.pop(k, None) for k in ("train", "val", "test") if k not in options}
    counts |= {k: options.pop(k) for k in ("train", "val", "test") if k in options}
    splits = {
        k: SplitSource(coco.images_dir, coco.file, n) for k, n in counts.items() if n != "none"
    }
    return SubsetPlan(name, classes, splits, splitting=splitting, **options)


def sources(root, split, name="parts"):
    document = json.loads((root / name / "annotations" / f"{split}.json").read_text())
    return [image["source_id"] for image in document["images"]]


def test_by_ratio(small_coco, tmp_path):
    coco = small_coco(["a"] * 40 + ["c"] * 5)
    build_subset(plan(coco, Splitting(RATIOS)), tmp_path)
    train, val, test = (sources(tmp_path, split) for split in RATIOS)
    assert (len(train), len(val), len(test)) == (30, 5, 5)
    assert sorted(train + val + test) == list(range(10, 50))  # none of "c"
    assert train == sorted(train)


def test_by_ratio_of_a_total_with_negatives(small_coco, tmp_path):
    coco = small_coco(["a"] * 40 + ["c"] * 20)
    splitting = Splitting(RATIOS, total=32)
    manifest = build_subset(plan(coco, splitting, negatives=0.25), tmp_path)
    found = {s: (r.num_images, r.num_negatives) for s, r in manifest.splits.items()}
    assert found == {"train": (24, 6), "val": (4, 1), "test": (4, 1)}


def test_stratified_by_count(small_coco, tmp_path):
    coco = small_coco(["ab", "ab", "ab"] + ["a"] * 97)
    splitting = Splitting(stratified=True)
    manifest = build_subset(plan(coco, splitting, train=40, val=20, test=5), tmp_path)
    assert [r.num_images for r in manifest.splits.values()] == [40, 20, 5]
    assert [r.class_counts["bee"].images for r in manifest.splits.values()] == [1, 1, 1]


def test_one_split_may_take_what_the_others_leave(small_coco, tmp_path):
    coco = small_coco(["a"] * 10)
    splitting = Splitting(stratified=True)
    manifest = build_subset(plan(coco, splitting, val=3, test="none"), tmp_path)
    assert {s: r.num_images for s, r in manifest.splits.items()} == {"train": 7, "val": 3}


def test_the_seed_decides(small_coco, tmp_path):
    coco = small_coco(["ab", "a"] * 15)
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        splitting = Splitting(RATIOS, stratified=True)
        build_subset(plan(coco, splitting, name=name, seed=seed), tmp_path)
    one, again, other = (sources(tmp_path, "train", n) for n in ("one", "again", "other"))
    assert one == again != other


def test_folds_cover_everything_once(small_coco, tmp_path):
    coco = small_coco(["ab", "a", "b", "a"] * 5 + ["a"])
    seen, tests = [], set()
    for fold in (1, 2, 3):
        splitting = Splitting(folds=3, fold=fold, stratified=True)
        manifest = build_subset(plan(coco, splitting, test=3, name=f"fold{fold}"), tmp_path)
        val = sources(tmp_path, "val", f"fold{fold}")
        train = sources(tmp_path, "train", f"fold{fold}")
        test = sources(tmp_path, "test", f"fold{fold}")
        assert sorted(train + val + test) == list(range(10, 31))
        assert len(val) == 6
        assert 3 <= manifest.splits["val"].class_counts["bee"].images <= 4  # 10 less test's, in 3
        tests.add(tuple(test))
        seen += val
    assert len(tests) == 1  # held out of all folds
    assert sorted(seen + list(tests.pop())) == list(range(10, 31))


def recolour(coco, pictures):
    """Give image ``i`` the random picture number ``pictures[i]``, slightly different each time."""
    from PIL import Image

    for i, number in enumerate(pictures):
        grid = np.random.default_rng(number).integers(0, 255, (5, 6, 3), np.uint8)
        pixels = np.kron(grid, np.ones((4, 5, 1), np.uint8))
        pixels[i % 20, i % 30] ^= 1
        Image.fromarray(pixels).save(coco.images_dir / f"{i:03}.png")


def test_near_duplicates_stay_in_one_split(small_coco, tmp_path):
    shown = ["a"] * 24 + [""] * 8
    coco = small_coco(shown)
    recolour(coco, [i // 3 for i in range(24)] + [0, 0, 1, 100, 101, 102, 103, 104])
    splitting = Splitting({"train": 50.0, "val": 50.0}, group_duplicates=True)
    manifest = build_subset(plan(coco, splitting, ("ant",), test="none", negatives=1 / 7), tmp_path)
    train, val = (sources(tmp_path, split) for split in ("train", "val"))
    assert manifest.splits["val"].num_negatives == 2
    assert len(train) + len(val) == 28
    positive = {split: {(i - 10) // 3 for i in ids if i < 34} for split, ids in
                (("train", train), ("val", val))}  # fmt: skip
    assert positive["train"] | positive["val"] == set(range(8))
    assert not positive["train"] & positive["val"]
    # 34, 35, 36 are the pictures 0 and 1, which show an ant: no negatives
    assert not {34, 35, 36} & {*train, *val}


def test_grouping_that_leaves_too_few(small_coco, tmp_path):
    coco = small_coco(["a"] * 4)
    recolour(coco, [7] * 4)
    splitting = Splitting(group_duplicates=True)
    with pytest.raises(UserError, match=r"2 images asked for, 0 there; .* near-duplicates"):
        build_subset(plan(coco, splitting, ("ant",), train=2, val=2, test="none"), tmp_path)


def test_grouping_needs_every_image(small_coco, tmp_path):
    coco = small_coco(["a"] * 4)
    (coco.images_dir / "002.png").unlink()
    splitting = Splitting(RATIOS, group_duplicates=True)
    with pytest.raises(UserError, match=r"002.png: .*; finding near-duplicates needs every image"):
        build_subset(plan(coco, splitting, ("ant",)), tmp_path)


def test_the_manifest_records_the_choices_and_remakes_the_subset(small_coco, tmp_path):
    coco = small_coco(["ab", "a", "b", "c"] * 8)
    splitting = Splitting(RATIOS, stratified=True, group_duplicates=True)
    recolour(coco, range(32))
    made = build_subset(plan(coco, splitting, negatives=0.1), tmp_path / "one")
    again = rebuild_subset(tmp_path / "one/parts/manifest.json", tmp_path / "two")
    assert made.splitting == again.splitting == splitting
    for file in ("manifest.json", *(f"annotations/{split}.json" for split in RATIOS)):
        assert (tmp_path / "one/parts" / file).read_bytes() == (
            tmp_path / "two/parts" / file
        ).read_bytes()


def test_plain_manifests_hold_no_word_of_it(small_coco, tmp_path):
    build_subset(plan(small_coco(["a"] * 4), None, ("ant",), train=2, val=1, test=1), tmp_path)
    manifest = json.loads((tmp_path / "parts/manifest.json").read_text())
    assert not {"splitting", "keep_empty"} & set(manifest)


def test_every_empty_image_can_be_kept(small_coco, tmp_path):
    coco = small_coco(["a", "", "c", "a", ""])
    options = dict(test="none", keep_empty=True)
    manifest = build_subset(plan(coco, None, ("ant",), val=1, **options), tmp_path)
    found = {s: (r.num_images, r.num_negatives) for s, r in manifest.splits.items()}
    assert found == {"train": (4, 3), "val": (1, 0)}
    assert json.loads((tmp_path / "parts/manifest.json").read_text())["keep_empty"] is True
    rebuild_subset(tmp_path / "parts/manifest.json", tmp_path / "two")


@pytest.mark.parametrize(
    "splitting, options, message",
    [
        (Splitting({"train": 80.0, "val": 30.0}), {"test": "none"}, r"80 \+ 30 are 110 percent"),
        (Splitting({"train": 100.0, "val": 0.0}), {"test": "none"}, "must be above 0 percent"),
        (Splitting({"train": 50.0, "val": 50.0}), {}, r"ratios are for \['train', 'val'\], not"),
        (Splitting({"train": 99.0, "val": 1.0}), {"test": "none"}, "val gets none of 9 images"),
        (Splitting(RATIOS, total=20), {}, "too few images with ant, bee: 20 asked for, 9 there"),
        (Splitting(RATIOS, total=0), {}, "0 images in total"),
        (Splitting(folds=1, fold=1), {"test": "none"}, "fold 1 of 1: expected"),
        (Splitting(folds=3, fold=4), {"test": "none"}, "fold 4 of 3: expected"),
        (Splitting(folds=3, fold=1), {"test": "none", "val": 2}, "train and val get no number"),
        (Splitting(folds=10, fold=1), {"test": "none"}, "fold 10 gets none of 9 images"),
        (Splitting(stratified=True), {}, "train, val, test each take all images of one file"),
        (Splitting(stratified=True), {"keep_empty": True}, "goes with splits by count only"),
        (None, {"keep_empty": True, "negatives": 0.1}, "where all of them are kept"),
    ],
)
def test_choices_that_cannot_be_met(small_coco, tmp_path, splitting, options, message):
    coco = small_coco(["a"] * 9)
    with pytest.raises(UserError, match=message):
        build_subset(plan(coco, splitting, **options), tmp_path)


def test_splitting_needs_one_file(small_coco, tmp_path):
    one, other = small_coco(["a"] * 4, name="one"), small_coco(["a"] * 4, name="other")
    splits = {
        "train": SplitSource(one.images_dir, one.file),
        "val": SplitSource(other.images_dir, other.file),
    }
    plan = SubsetPlan("tiny", ("ant",), splits, splitting=Splitting(stratified=True))
    with pytest.raises(UserError, match="need one annotation file that is split"):
        build_subset(plan, tmp_path)
