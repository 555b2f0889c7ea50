"""Details of the audit on small files written by hand."""

from __future__ import annotations

import json
from pathlib import Path

from project.data.audit import AuditReport, Finding, audit_files, summarise
from project.data.audit.categories import common_categories
from project.data.audit.findings import finding
from project.data.audit.hashing import close_pairs, perceptual_hash
from project.data.audit.images import inspect_image
from project.data.audit.masks import mask_facts
from project.data.audit.repair_masks import mended_polygons
from project.data.audit.source import read_split
from project.data.coco_masks import mask_area
from project.errors import UserError

import msgspec
import numpy as np
import pytest
from PIL import Image


def square(x, y, side):
    return [x, y, x + side, y, x + side, y + side, x, y + side]


def write(folder, annotations, images=1, categories=("ant",)):
    file = folder / "labels.json"
    document = {
        "images": [
            {"id": i + 1, "file_name": f"{i}.png", "height": 60, "width": 80} for i in range(images)
        ],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(categories)],
        "annotations": [
            {"id": i + 1, "image_id": 1, "category_id": 1, "iscrowd": 0, **annotation}
            for i, annotation in enumerate(annotations)
        ],
    }
    file.write_text(json.dumps(document))
    return file


def kinds(*findings):
    return [f.kind for f in findings]


def audit(file, folder=None):
    return audit_files({"split": (file, folder)}, progress=False)


def disc(x, y, area=None):
    """An annotation whose mask has half the area of its box: a diamond of 20 by 20 pixels."""
    diamond = [x, y + 10, x + 10, y, x + 20, y + 10, x + 10, y + 20]
    return {"bbox": [x, y, 20, 20], "area": area or 200.0, "segmentation": [diamond]}


def test_a_file_full_of_box_areas_is_one_finding(tmp_path):
    file = write(tmp_path, [disc(i, i, 400.0) for i in range(0, 36, 6)])
    (found,) = audit(file).findings
    assert (found.kind, found.image_id, found.annotation_id) == ("area-is-box-area", None, None)
    assert found.what.startswith("6 of 6 areas are width times height")


def test_a_few_box_areas_are_told_one_by_one(tmp_path):
    file = write(tmp_path, [disc(0, 0, 400.0), *(disc(i, 30) for i in range(0, 50, 10))])
    (found,) = audit(file).findings
    assert (found.kind, found.annotation_id) == ("area-mask-disagree", 1)
    assert "area 400.0, but its mask has 200.0" in found.what


@pytest.mark.parametrize("edge, told", [(4.0, False), (4.5, True)])
def test_a_box_may_be_a_few_pixels_off(tmp_path, edge, told):
    wrong = {"bbox": [10, 10, 20 + edge, 20], "area": 400.0, "segmentation": [square(10, 10, 20)]}
    assert kinds(*audit(write(tmp_path, [wrong])).findings) == ["box-mask-disagree"] * told


@pytest.mark.parametrize("over, told", [(1.0, False), (1.5, True)])
def test_a_box_may_leave_the_image_by_a_pixel(tmp_path, over, told):
    wrong = {"bbox": [60, 40, 20 + over, 20], "area": 400.0, "segmentation": [square(60, 40, 20)]}
    assert kinds(*audit(write(tmp_path, [wrong])).findings) == ["box-out-of-frame"] * told


def test_wrong_record_sizes_cause_what_their_annotations_show(tmp_path):
    far = {"bbox": [70, 10, 40, 40], "area": 1600.0, "segmentation": [square(70, 10, 40)]}
    rle = {"bbox": [0, 0, 1, 1], "area": 1.0, "segmentation": {"size": [9, 9], "counts": [0, 81]}}
    file = write(tmp_path, [far, rle])
    Image.fromarray(np.zeros((90, 120, 3), np.uint8)).save(tmp_path / "0.png")
    found = audit(file, tmp_path).findings
    assert sorted((f.kind, f.cause) for f in found if f.kind != "size-mismatch") == [
        ("box-out-of-frame", "size-mismatch"),
        ("mask-out-of-frame", "size-mismatch"),
        ("rle-size", "size-mismatch"),
    ]
    assert [f.cause for f in found if f.kind == "size-mismatch"] == [None]
    table = audit(file, tmp_path).table(examples=0).splitlines()
    assert [line.split()[1:] for line in table[1:]] == [
        ["size-mismatch", "1"],
        [">", "rle-size", "1"],
        [">", "box-out-of-frame", "1"],
        [">", "mask-out-of-frame", "1"],
    ]


def test_a_split_may_be_a_folder_without_annotations(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        Image.fromarray(pixels).save(tmp_path / split / "a.png")
    (tmp_path / "test/notes.txt").write_text("no image")
    folders = {split: (None, tmp_path / split) for split in ("train", "test")}
    report = audit_files(folders, progress=False)
    (leak,) = report.findings
    assert leak.kind == "leak"
    assert leak.what.startswith("image 1 of 'train' is the very file of image 1 of 'test'")
    assert report.splits["test"]["annotations"] is None


def test_image_info_files_have_no_labels_to_miss(tmp_path):
    file = tmp_path / "info.json"
    file.write_text(json.dumps({"images": [], "categories": [{"id": 1, "name": "ant"}]}))
    assert audit(file).findings == ()


@pytest.mark.parametrize(
    "sources, message",
    [
        ({}, "nothing to audit"),
        ({"a": (None, None)}, "a: give an annotation file, an image folder or both"),
        ({"a": (Path("none.json"), None)}, "a: COCO annotation file none.json doesn't exist"),
        ({"a": (None, Path("nowhere"))}, "a: image folder nowhere doesn't exist"),
    ],
)
def test_nothing_to_look_at_is_the_users_mistake(sources, message):
    with pytest.raises(UserError, match=message):
        audit_files(sources, progress=False)


@pytest.mark.parametrize("text", ['{"images": [', "[]", '{"images": [], "annotations": []}'])
def test_what_is_no_coco_file_is_the_users_mistake(tmp_path, text):
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(UserError, match="labels.json is no readable COCO instances file"):
        audit(tmp_path / "labels.json")


def test_a_lost_image_record_explains_its_annotations(tmp_path):
    file = write(tmp_path, [disc(0, 0)])
    document = json.loads(file.read_text())
    document["images"][0]["height"] = "sixty"
    file.write_text(json.dumps(document))
    found = {f.kind: f.cause for f in audit(file).findings}
    assert found == {"malformed-record": None, "dangling-image": "malformed-record"}


@pytest.mark.parametrize(
    "key, change, expected",
    [
        ("images", {"height": 10**20}, ["dangling-image", "dangling-image", "malformed-record"]),
        ("annotations", {"iscrowd": 10**20}, ["malformed-record"]),
        ("annotations", {"segmentation": [square(0, 0, 1e9)]}, ["malformed-mask"]),
        ("annotations", {"segmentation": {"size": [10**20, -1], "counts": []}}, ["malformed-mask"]),
        ("images", {"width": -80}, ["size-below-1"]),
    ],
)
def test_numbers_that_nothing_can_hold_are_findings(tmp_path, key, change, expected):
    file = write(tmp_path, [disc(0, 0), disc(0, 0.5)])
    document = json.loads(file.read_text())
    document[key][0] |= change
    file.write_text(json.dumps(document))
    assert sorted(kinds(*audit(file).findings)) == expected


def facts(*masks, height=6, width=8):
    raws = [msgspec.Raw(msgspec.json.encode(mask)) for mask in masks]
    return mask_facts(raws, np.full(len(raws), height), np.full(len(raws), width))


def test_mask_facts_of_hand_worked_masks():
    found = facts(
        [[1, 1, 5, 1, 5, 4], [6, 0, 8, 0, 8, 1, 6, 1]],  # 4 * 3 / 2 + 2
        {"size": [6, 8], "counts": [7, 2, 4, 3, 32]},  # rows 1-2 of column 1, 1-3 of column 2
        {"size": [6, 8], "counts": [9, 6, 33]},  # rows 3-5 of column 1, 0-2 of column 2
        [],
    )
    assert found.area[:3].tolist() == [8, 5, 6]
    assert found.box[:3].tolist() == [[1, 0, 8, 4], [1, 1, 3, 4], [1, 0, 3, 6]]
    assert found.fault == ["", "", "", "empty-mask"]
    assert np.isnan(found.area[3])
    assert found.is_rle.tolist() == [False, True, True, False]


def test_garbled_masks_and_polygons_far_outside_are_malformed():
    far = msgspec.json.encode([square(0, 0, 81)])  # 10 sides of 8 pixels are 80
    near = msgspec.json.encode([square(0, 0, 80)])
    raws = [msgspec.Raw(text) for text in (far, near, b'{"size": [6, 8], "counts": "\xff"}')]
    found = mask_facts(raws, np.full(3, 6), np.full(3, 8))
    assert found.fault == ["malformed-mask", "", "malformed-mask"]
    assert "coordinate 81, more than 10 sides away from the image of 6 by 8" in found.detail[0]
    assert mask_facts(raws[:1], np.zeros(1, int), np.zeros(1, int)).fault == [""]  # size unknown


def test_an_eight_has_the_area_that_is_filled():
    found = facts([[0, 0, 4, 4, 4, 0, 0, 4]])  # two triangles of 4 * 2 / 2; shoelace gives 0
    assert found.area.tolist() == [8]
    assert found.crossing == {0: 8.0}


def test_mended_polygons_are_drawn_as_before():
    from pycocotools import mask as coco_mask

    # a square wound twice around itself, a smaller one inside: even-odd filling leaves a hole
    spiral = [10, 10, 50, 10, 50, 50, 10, 50, 10, 10, 20, 20, 40, 20, 40, 40, 20, 40, 20, 20]
    bow = [60, 10, 90, 40, 90, 10, 60, 40]
    parts, done = mended_polygons([spiral, bow, [1, 1, 2, 2]], (60, 80))
    assert {kind for kind, _ in done} == {
        "self-intersecting-polygon",
        "mask-out-of-frame",
        "degenerate-polygon",
    }
    # of the bow's triangles of 30 * 15 / 2 the right one is clipped to a third of its height
    assert mask_area(parts) == pytest.approx(40**2 - 20**2 + 225 + 225 / 9)
    before, after = (
        coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(p, 60, 80)))
        for p in ([spiral, bow], parts)
    )
    assert (before != after).sum() <= 8


@pytest.mark.parametrize("distance", [0, 6])
def test_close_pairs_are_those_of_all_against_all(distance):
    rng = np.random.default_rng(3)
    base = rng.integers(0, 2**64, 40, np.uint64)
    flips = np.bitwise_or.reduce(np.uint64(1) << rng.integers(0, 64, (60, 7), np.uint64), axis=1)
    hashes = np.concatenate([base, base[rng.integers(0, 40, 60)] ^ flips, base[:3]])
    expected = [
        [i, j]
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= distance
    ]
    assert sorted(np.concatenate(list(close_pairs(hashes, distance))).tolist()) == expected
    assert len(expected) > 2
    assert list(close_pairs(hashes[:0], distance)) == []


def test_pairs_of_pictures_that_are_all_alike_come_in_pieces():
    number = 0
    for pairs in close_pairs(np.full(5000, 77, np.uint64), 6):
        assert len(pairs) < 6_000_000
        number += len(pairs)
    assert number == 5000 * 4999 // 2


def test_a_hash_survives_storing_anew_but_not_another_picture():
    import cv2

    assert perceptual_hash(np.full((50, 60), 7, np.uint8)) is None
    rng = np.random.default_rng(4)
    one, other = (
        cv2.resize(
            rng.integers(0, 256, (6, 8), np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC
        )
        for _ in range(2)
    )
    anew = cv2.imdecode(cv2.imencode(".jpg", cv2.resize(one, (200, 150)) * 0.8)[1], 0)
    assert (perceptual_hash(one) ^ perceptual_hash(anew)).bit_count() <= 6
    assert (perceptual_hash(one) ^ perceptual_hash(other)).bit_count() > 12


def test_a_close_hash_alone_is_no_copy(tmp_path, monkeypatch):
    monkeypatch.setattr("project.data.audit.images.perceptual_hash", lambda grey: 5)
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    Image.open(tmp_path / "a.png").save(tmp_path / "c.bmp")
    report = audit_files({"all": (None, tmp_path)}, progress=False)
    assert [(f.kind, Path(f.file).name) for f in report.findings] == [
        ("near-duplicate-image", "c.bmp")
    ]


def test_a_jpeg_that_ends_in_zeros_is_truncated(tmp_path):
    pixels = np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    assert inspect_image(tmp_path / "a.jpg").fault == ""
    for cut in (2, 200, len(data)):
        (tmp_path / "a.jpg").write_bytes(data[:-cut] + bytes(cut if cut < len(data) else 0))
        assert inspect_image(tmp_path / "a.jpg").fault == "truncated-image"


def test_common_categories_keep_what_the_first_file_says(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    files = [
        write(tmp_path / "one", [], categories=("ant", "bee")),
        write(tmp_path / "two", [], categories=("ape", "ant")),
    ]
    splits = [read_split(file.parent.name, file, None) for file in files]
    assert common_categories(splits) == [
        {"id": 1, "name": "ant"},
        {"id": 2, "name": "bee"},
        {"id": 3, "name": "ape"},
    ]


def report(*kinds_of):
    return AuditReport(tuple(finding(kind, "a.json", "sentence") for kind in kinds_of))


@pytest.mark.parametrize(
    "found, code, line",
    [
        (["empty-mask", "empty-mask"], 1, "audit: 2 errors (empty-mask 2)"),
        (["missing-box"], 3, "audit: 1 warning (missing-box 1)"),
        (["grey-image"], 0, "audit: no error, no warning"),
    ],
)
def test_exit_code_and_summary(found, code, line):
    assert report(*found).exit_code == code
    assert summarise(report(*found)) == line


def test_json_holds_every_finding(tmp_path):
    written = report("empty-mask", "grey-image").write(tmp_path / "new/audit.json")
    content = json.loads(written.read_text())
    assert content["counts"] == {"error": 1, "warning": 0, "info": 1}
    assert [Finding(**f) for f in content["findings"]] == list(
        report("empty-mask", "grey-image").findings
    )


def test_the_table_names_a_few_and_counts_the_rest():
    text = report(*["empty-mask"] * 5).table(examples=2)
    assert text.count("a.json: sentence") == 2
    assert "and 3 more" in text
    assert "repair: leave the annotation out" in text
    assert report().table() == "nothing found"
