"""Making subsets: ids, draws, repairs, atomic writing, re-making; on small drawn COCO files."""

from __future__ import annotations

import json
import os
from pathlib import Path

from project.data.documents import write_document
from project.data.manifest import describe
from project.data.publish import new_folder
from project.data.subset import SplitSource, SubsetPlan, build_subset, rebuild_subset
from project.errors import UserError

import pytest


def plan(coco, classes=("cat", "ant"), name="tiny", **options):
    counts = {k: options.pop(k) for k in ("train", "val", "test") if k in options}
    splits = {k: SplitSource(coco.images_dir, coco.file, n) for k, n in counts.items()}
    return SubsetPlan(name, classes, splits, **options)


def load(root, split, name="tiny"):
    return json.loads((root / name / "annotations" / f"{split}.json").read_text())


def sources(root, split, name="tiny"):
    return {image["source_id"] for image in load(root, split, name)["images"]}


def everything_in(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_ids_are_contiguous_in_the_order_asked_for(small_coco, tmp_path):
    build_subset(plan(small_coco(["abc", "b", "ca"]), train=None), tmp_path)
    document = load(tmp_path, "train")
    assert document["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "ant"}]
    assert [(i["id"], i["source_id"]) for i in document["images"]] == [(1, 10), (2, 12)]
    found = [
        (a["id"], a["image_id"], a["category_id"], a["source_id"]) for a in document["annotations"]
    ]
    # source annotations: image 10 has 100 ant, 101 bee, 102 cat; image 12 has 104 cat, 105 ant
    assert found == [(1, 1, 2, 100), (2, 1, 1, 102), (3, 2, 1, 104), (4, 2, 2, 105)]


def test_documents_are_written_as_they_are(tmp_path):
    whole = {"info": {}, "images": [{"id": 1}], "annotations": [{"id": 1, "b": [0.25]}, {"id": 2}]}
    for document in (whole, {**whole, "annotations": []}, {"images": []}):
        write_document(document, tmp_path / "labels.json")
        assert json.loads((tmp_path / "labels.json").read_text()) == document


def test_images_are_linked_or_copied(small_coco, tmp_path):
    coco = small_coco(["a"])
    build_subset(plan(coco, train=1), tmp_path)
    build_subset(plan(coco, train=1, name="copied"), tmp_path, copy=True)
    source = coco.images_dir / "000.png"
    linked = tmp_path / "tiny/images/train/000.png"
    copied = tmp_path / "copied/images/train/000.png"
    assert os.path.samefile(linked, source)
    assert not os.path.samefile(copied, source)
    assert copied.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("broken", [["link"], ["link", "symlink"]])
def test_images_fall_back_where_links_are_impossible(small_coco, tmp_path, monkeypatch, broken):
    def refuse(*_):
        raise OSError("no links here")

    coco = small_coco(["a"])
    for name in broken:
        monkeypatch.setattr(os, name, refuse)
    build_subset(plan(coco, train=1), tmp_path)
    placed = tmp_path / "tiny/images/train/000.png"
    assert placed.is_symlink() == ("symlink" not in broken)
    assert placed.read_bytes() == (coco.images_dir / "000.png").read_bytes()


def test_splits_of_one_file_are_disjoint_and_nested(small_coco, tmp_path):
    coco = small_coco(["a"] * 20)
    build_subset(plan(coco, train=6, val=4, test=3), tmp_path)
    build_subset(plan(coco, train=12, val=4, test=3, name="larger"), tmp_path)
    train, val, test = (sources(tmp_path, split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (6, 4, 3)
    assert len(train | val | test) == 13
    assert train < sources(tmp_path, "train", "larger")
    assert val == sources(tmp_path, "val", "larger")


def test_the_seed_decides_the_draw(small_coco, tmp_path):
    coco = small_coco(["a"] * 30)
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        build_subset(plan(coco, train=10, name=name, seed=seed), tmp_path)
    one, again, other = (sources(tmp_path, "train", n) for n in ("one", "again", "other"))
    assert one == again != other


def test_one_picture_never_serves_two_splits_of_two_files(small_coco, tmp_path):
    coco = small_coco(["a"] * 4)
    other = coco.folder / "other.json"
    other.write_text(json.dumps(coco.document, indent=1))  # other bytes, the same images
    splits = {
        "train": SplitSource(coco.images_dir, coco.file),
        "val": SplitSource(coco.images_dir, other, 3),
    }
    build_subset(SubsetPlan("tiny", ("ant",), splits), tmp_path)
    train, val = (
        {image["file_name"] for image in load(tmp_path, split)["images"]}
        for split in ("train", "val")
    )
    assert len(val) == 3
    assert len(train) == 1
    assert not train & val


def test_negatives_show_none_of_the_classes(small_coco, tmp_path):
    coco = small_coco(["a", "b", "", "ab", "bb", "a", "", "a"])
    manifest = build_subset(plan(coco, ("ant",), train=4, negatives=0.5), tmp_path)
    document = load(tmp_path, "train")
    shown = {a["image_id"] for a in document["annotations"]}
    negative = {i["source_id"] for i in document["images"] if i["id"] not in shown}
    assert len(negative) == manifest.splits["train"].num_negatives == 2
    assert negative <= {11, 12, 14, 16}


def test_all_with_negatives_adds_their_share(small_coco, tmp_path):
    coco = small_coco(["a"] * 6 + [""] * 4)
    manifest = build_subset(plan(coco, ("ant",), train=None, negatives=0.25), tmp_path)
    assert manifest.splits["train"].num_images == 8  # 2 of 8 is a quarter


def test_broken_annotations_are_left_out_or_repaired_and_listed(small_coco, tmp_path):
    coco = small_coco(["a", "a", ""])
    good = [[1, 1, 4, 1, 4, 4]]
    coco.add(10, 0, bbox=[1, 1, 2, 2], segmentation=[])  # 102
    coco.add(10, 0, bbox=[1, 1, 0, 2], segmentation=good)  # 103
    coco.add(11, 0, segmentation=good, area=None)  # 104
    coco.add(11, 0, bbox=[1, 1, 3, 3], segmentation=[*good, [0, 0]])  # 105
    coco.add(
        12, 0, bbox=[1, 1, 3, 3], segmentation=[], iscrowd=1
    )  # 106: image shows nothing usable
    coco.add(12, 7, bbox=[1, 1, 3, 3], segmentation=[])  # not of the class: not listed
    coco.write()
    manifest = build_subset(plan(coco, ("ant",), train=None), tmp_path)
    record = manifest.splits["train"]
    assert [note.annotation for note in record.left_out] == [102, 106]
    assert [note.annotation for note in record.repaired] == [103, 104, 105]
    assert record.image_ids == [10, 11]
    by_source = {a["source_id"]: a for a in load(tmp_path, "train")["annotations"]}
    assert by_source[103]["bbox"] == by_source[104]["bbox"] == [1, 1, 3, 3]
    assert by_source[104]["area"] == 4.5
    assert by_source[105]["segmentation"] == good
    text = describe(manifest)
    assert "left out: annotation 102 (ant, 000.png): segmentation is empty" in text
    assert "repaired: annotation 105" in text


def test_an_image_with_unusable_labels_is_no_negative(small_coco, tmp_path):
    coco = small_coco(["a", ""])
    coco.add(11, 0, bbox=[1, 1, 3, 3], segmentation=[])
    coco.write()
    with pytest.raises(UserError, match="without any of the classes: 1 asked for, 0 there"):
        build_subset(plan(coco, ("ant",), train=2, negatives=0.5), tmp_path)


def test_crowds_keep_their_masks_and_are_counted_apart(small_coco, tmp_path):
    coco = small_coco(["a"])
    list_counts = {"size": [20, 30], "counts": [5, 3, 592]}
    text_counts = {"size": [20, 30], "counts": "53`b0"}  # 5, 3, then 592 in three digits
    coco.add(10, 0, bbox=[0, 5, 1, 3], segmentation=list_counts, iscrowd=1)
    coco.add(10, 0, bbox=[0, 5, 1, 3], segmentation=text_counts, iscrowd=1)
    coco.write()
    manifest = build_subset(plan(coco, ("ant",), train=1), tmp_path)
    count = manifest.splits["train"].class_counts["ant"]
    assert (count.annotations, count.crowds, count.images) == (3, 2, 1)
    masks = [a["segmentation"] for a in load(tmp_path, "train")["annotations"]]
    assert masks[1:] == [list_counts, text_counts]


def test_an_unlabelled_folder_has_no_annotations_key(small_coco, tmp_path):
    from PIL import Image

    coco, folder = small_coco(["a"]), tmp_path / "unlabelled"
    folder.mkdir()
    (folder / "notes.txt").write_text("no image")
    turned = Image.new("RGB", (8, 5))
    turned.getexif()[274] = 6  # shown turned by 90 degrees
    turned.save(folder / "b.jpg", exif=turned.getexif())
    Image.new("RGB", (8, 5)).save(folder / "a.png")
    splits = {"train": SplitSource(coco.images_dir, coco.file), "test": SplitSource(folder)}
    build_subset(SubsetPlan("tiny", ("ant",), splits), tmp_path)
    document = load(tmp_path, "test")
    assert "annotations" not in document
    sizes = [(i["file_name"], i["height"], i["width"]) for i in document["images"]]
    assert sizes == [("a.png", 5, 8), ("b.jpg", 8, 5)]


def test_the_manifest_remakes_the_identical_subset(small_coco, tmp_path):
    coco = small_coco(["a", "b", "ab", "", "c", "a"])
    build_subset(plan(coco, train=2, val=1, negatives=0.2, seed=5), tmp_path / "one")
    rebuild_subset(tmp_path / "one/tiny/manifest.json", tmp_path / "two")
    assert everything_in(tmp_path / "one/tiny") == everything_in(tmp_path / "two/tiny")


def test_a_manifest_finds_sources_that_moved(small_coco, tmp_path):
    coco = small_coco(["a", "a"])
    build_subset(plan(coco, train=1), tmp_path / "one", copy=True)
    coco.folder.rename(tmp_path / "moved")
    manifest = tmp_path / "one/tiny/manifest.json"
    with pytest.raises(UserError, match="image folder .*source/pics doesn't exist"):
        rebuild_subset(manifest, tmp_path / "two")
    moves = {str(coco.folder): str(tmp_path / "moved")}
    rebuild_subset(manifest, tmp_path / "two", relocate=moves)
    assert load(tmp_path / "one", "train") == load(tmp_path / "two", "train")
    with pytest.raises(UserError, match="no source of 'tiny' lies below /elsewhere"):
        rebuild_subset(manifest, tmp_path / "three", relocate={"/elsewhere": "/"})


def test_a_manifest_refuses_changed_sources(small_coco, tmp_path):
    coco = small_coco(["a", "a"])
    build_subset(plan(coco, train=1), tmp_path)
    coco.document["annotations"][0]["area"] = 47
    coco.write()
    with pytest.raises(UserError, match="labels.json is not the file that .*manifest.json was"):
        rebuild_subset(tmp_path / "tiny/manifest.json", tmp_path / "two")


def test_damaged_manifests_are_refused(tmp_path):
    file = tmp_path / "manifest.json"
    file.write_text('{"name": "tiny"')
    with pytest.raises(UserError, match="manifest.json is no manifest of a subset"):
        rebuild_subset(file, tmp_path)


@pytest.mark.parametrize(
    "split, change, message",
    [
        ("test", {"coco": "val2017"}, "manifest.json, test: 'coco' is 'val2017', but there is no"),
        ("train", {"sha256": None}, "manifest.json, train: there is no 'sha256' to know"),
    ],
)
def test_manifests_that_somebody_has_changed(small_coco, tmp_path, split, change, message):
    coco = small_coco(["a", "a"])
    train = SplitSource(coco.images_dir, coco.file, 1)
    splits = {"train": train, "test": SplitSource(coco.images_dir)}
    build_subset(SubsetPlan("tiny", ("ant",), splits), tmp_path)
    file = tmp_path / "tiny/manifest.json"
    manifest = json.loads(file.read_text())
    manifest["splits"][split] |= change
    file.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=message):
        rebuild_subset(file, tmp_path / "two")


def test_names_that_no_json_file_can_hold(small_coco, tmp_path):
    coco, folder = small_coco(["a"]), tmp_path / "unlabelled"
    folder.mkdir()
    open(os.path.join(os.fsencode(folder), b"a\xff.png"), "wb").close()
    splits = {"train": SplitSource(coco.images_dir, coco.file), "test": SplitSource(folder)}
    with pytest.raises(UserError, match=r"a\\udcff.png' has bytes that aren't UTF-8"):
        build_subset(SubsetPlan("tiny", ("ant",), splits), tmp_path)


def test_unlabelled_images_too_large_for_pillow_are_named(small_coco, tmp_path, monkeypatch):
    from PIL import Image

    coco = small_coco(["a"])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    plan = SubsetPlan("tiny", ("ant",), {"test": SplitSource(coco.images_dir)})
    with pytest.raises(UserError, match="000.png can't be read: Image size"):
        build_subset(plan, tmp_path)


def test_an_existing_subset_is_only_replaced_when_told(small_coco, tmp_path):
    coco = small_coco(["a", "a"])
    build_subset(plan(coco, train=1), tmp_path)
    before = everything_in(tmp_path / "tiny")
    with pytest.raises(UserError, match="tiny already exists; .*--overwrite"):
        build_subset(plan(coco, train=2), tmp_path)
    assert everything_in(tmp_path / "tiny") == before
    build_subset(plan(coco, train=2), tmp_path, overwrite=True)
    assert len(load(tmp_path, "train")["images"]) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source", "tiny"]


def test_only_subsets_are_replaced(small_coco, tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny/thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"tiny is no subset, for it has no manifest.json"):
        build_subset(plan(small_coco(["a", "a"]), train=1), tmp_path, overwrite=True)
    assert (tmp_path / "tiny/thesis.txt").read_text() == "years of work"


def test_a_folder_that_another_process_made_meanwhile_stays(tmp_path):
    made = new_folder(tmp_path / "new")
    made.__enter__()
    (tmp_path / "new").mkdir()
    (tmp_path / "new/a").write_text("theirs")
    with pytest.raises(UserError, match="new already exists"):
        made.__exit__(None, None, None)
    assert (tmp_path / "new/a").read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [tmp_path / "new"]


@pytest.mark.parametrize("broken", [(2,), (2, 3)])
def test_an_older_folder_is_put_back_or_kept_elsewhere(tmp_path, monkeypatch, broken):
    def rename(path, target):
        calls.append(path)
        if len(calls) in broken:
            raise OSError(5, "Input/output error")
        return original(path, target)

    calls, original, target = [], Path.rename, tmp_path / "subset"
    target.mkdir()
    (target / "a").write_text("old")
    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises((OSError, UserError)) as caught, new_folder(target, overwrite=True):
        pass
    (kept,) = tmp_path.rglob("a")
    assert kept.read_text() == "old"
    if broken == (2,):
        assert list(tmp_path.iterdir()) == [target]
    else:
        assert "can't be replaced or put back: Input/output error" in str(caught.value)
        assert str(kept.parent) in str(caught.value)


def test_a_failed_replacement_leaves_the_old_subset(small_coco, tmp_path):
    coco = small_coco(["a", "a"])
    build_subset(plan(coco, train=1), tmp_path, copy=True)
    before = everything_in(tmp_path / "tiny")
    (coco.images_dir / "000.png").unlink()
    with pytest.raises(UserError, match="1 of 2 chosen images are missing"):
        build_subset(plan(coco, train=2), tmp_path, overwrite=True)
    assert everything_in(tmp_path / "tiny") == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source", "tiny"]


def test_a_subset_is_not_made_from_itself(small_coco, tmp_path):
    build_subset(plan(small_coco(["a", "a"]), train=2), tmp_path)
    inside = tmp_path / "tiny"
    source = SplitSource(inside / "images/train", inside / "annotations/train.json", 1)
    with pytest.raises(UserError, match="which lies inside it"):
        build_subset(SubsetPlan("tiny", ("ant",), {"train": source}), tmp_path, overwrite=True)


def test_missing_images_are_counted_and_named(small_coco, tmp_path):
    coco = small_coco(["a"] * 5, pictures=False)
    with pytest.raises(
        UserError, match=r"5 of 5 chosen images .*: 000.png \(image 10\), .*, \.\.\."
    ):
        build_subset(plan(coco, train=5), tmp_path)
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"classes": ("Ant",)}, "unknown class 'Ant'; did you mean 'ant'"),
        ({"classes": ()}, "no classes"),
        ({"classes": ("ant", "ant")}, "class 'ant' is named twice"),
        ({"train": 3}, "too few images for 'train' with cat, ant: 3 asked for, 2 there"),
        ({"train": 0}, "train: 0 images asked for"),
        ({"train": 2, "val": 1}, "too few images for 'train'"),
        ({"negatives": 1.0}, "share of negatives 1.0"),
        ({"name": "../up"}, "subset name '../up'"),
        ({"name": "scenes"}, "belongs to the built-in scenes"),
    ],
)
def test_plans_that_cannot_be_met(small_coco, tmp_path, changes, message):
    coco = small_coco(["a", "c", "b"])
    with pytest.raises(UserError, match=message):
        build_subset(plan(coco, **{"train": 1, **changes}), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]


def test_a_class_that_no_image_shows_makes_no_empty_split(small_coco, tmp_path):
    with pytest.raises(UserError, match="train: no image of .*labels.json shows the classes"):
        build_subset(plan(small_coco(["a"]), ("bee",), train=None), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]
