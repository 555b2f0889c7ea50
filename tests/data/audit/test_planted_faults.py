"""One of every fault in a copy of clean scenes: each is found, nothing else is, and is repaired."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path

from project.data.audit.kinds import KINDS
from project.data.audit.repair import CHANGES, repair_copy
from project.data.audit.run import audit_files, examine
from project.data.scenes import make_scenes
from project.errors import UserError

import numpy as np
import pytest
from PIL import Image

SQUARE = {"bbox": [50.0, 50.0, 40.0, 30.0], "area": 1200.0}


def rectangle(x, y, w, h):
    return [float(v) for v in (x, y, x + w, y, x + w, y + h, x, y + h)]


def key(found):
    name = Path(found.file)
    where = f"{name.parent.name}/{name.name}" if name.suffix else name.name
    return found.kind, where, found.image_id, found.annotation_id


class Planted:
    """A copy of the scenes that faults are put into, with what an audit should say."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.train, self.val = (
            json.loads((root / f"annotations/{split}.json").read_text())
            for split in ("train", "val")
        )
        self.expected: Counter = Counter()
        self.consequences: Counter = Counter()
        self.next = 50_000

    def expect(self, kind, where, image=None, annotation=None, cause=None):
        found = self.consequences if cause else self.expected
        found[(kind, where, image, annotation)] += 1

    def square(self, image, kind=None, **changes):
        """A new object of 40 by 30 pixels, at (50, 50) unless ``changes`` say otherwise."""
        self.next += 1
        record = {
            "id": self.next,
            "image_id": image,
            "category_id": 1,
            "iscrowd": 0,
            "segmentation": [rectangle(50, 50, 40, 30)],
            **copy.deepcopy(SQUARE),
            **changes,
        }
        record = {name: value for name, value in record.items() if value is not ...}
        self.train["annotations"].append(record)
        if kind:
            self.expect(kind, "annotations/train.json", record["image_id"], record["id"])
        return record

    def file(self, number):
        return self.root / f"images/train/{number:06}.jpg"

    def store(self, number, kind, change, **options):
        """Store image ``number`` anew, after ``change``."""
        change(Image.open(self.file(number)).convert("RGB")).save(self.file(number), **options)
        self.expect(kind, f"train/{number:06}.jpg", number)

    def new_image(self, number, name, pixels=None, split="train", **changes):
        if pixels is None:
            pixels = np.random.default_rng(number).integers(0, 256, (90, 120, 3), np.uint8)
        picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        path = self.root / "images" / split / name
        if not path.exists():
            picture.save(path)
        record = {"id": number, "file_name": name, "height": picture.height, "width": picture.width}
        getattr(self, split)["images"].append({**record, **changes})

    def write(self):
        for split in ("train", "val"):
            text = json.dumps(getattr(self, split))
            (self.root / f"annotations/{split}.json").write_text(text)


def sources(root):
    return {
        split: (root / f"annotations/{split}.json", root / f"images/{split}")
        for split in ("train", "val")
    }


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Scenes whose ids collide with nothing."""
    scenes = make_scenes(tmp_path_factory.mktemp("scenes"), {"train": 44, "val": 6})
    root = tmp_path_factory.mktemp("clean") / "scenes"
    shutil.copytree(scenes, root)
    file = root / "annotations/val.json"
    document = json.loads(file.read_text())
    for image in document["images"]:
        image["id"] += 1000
    for annotation in document["annotations"]:
        annotation["image_id"] += 1000
        annotation["id"] += 10_000
    file.write_text(json.dumps(document))
    return root


@pytest.fixture(scope="module")
def planted(clean, tmp_path_factory):
    root = tmp_path_factory.mktemp("planted") / "scenes"
    shutil.copytree(clean, root)
    planted = Planted(root)
    objects(planted)
    masks(planted)
    images(planted)
    copies(planted)
    records(planted)
    categories(planted)
    planted.write()
    return planted


def objects(p):
    train = "annotations/train.json"
    p.square(1, "annotation-id-below-1", id=0)
    number = p.square(2, "duplicate-annotation-id")["id"]
    p.square(3, id=number)
    p.square(1, "dangling-image", image_id=77_777)
    p.square(4, "dangling-category", category_id=77)
    p.square(5, "missing-box", bbox=...)
    p.square(6, "box-without-area", bbox=[50.0, 50.0, 0.0, 30.0])
    p.square(7, "box-outside-image", bbox=[500.0, 50.0, 40.0, 30.0])
    out = p.square(8, "box-out-of-frame", bbox=[-9.0, 50.0, 99.0, 30.0])
    p.expect("box-mask-disagree", train, 8, out["id"], cause="box-out-of-frame")
    p.square(9, "box-mask-disagree", bbox=[50.0, 50.0, 60.0, 30.0])
    p.square(10, "missing-area", area=...)
    p.square(11, "area-mask-disagree", area=2400.0)
    p.square(12, "odd-iscrowd", iscrowd=2)
    p.square(13, "crowd-polygons", iscrowd=1)
    p.square(14, "ignored-annotation", ignore=1)
    p.square(15)
    p.square(15, "duplicate-object", segmentation=[rectangle(50, 50, 40, 31)], category_id=1)
    p.square(16)
    p.square(16, "object-of-two-classes", category_id=2)
    p.train["annotations"].append({"id": 60_000, "image_id": 1, "category_id": 1, "bbox": [1, 2]})
    p.expect("malformed-record", train, None, 60_000)


def masks(p):
    p.square(17, "empty-mask", segmentation=[])
    p.square(18, "malformed-mask", segmentation="none")
    p.square(19, "degenerate-mask", segmentation=[[60.0, 60.0, 60.0, 70.0, 60.0, 60.0]])
    p.square(20, "rle-size", segmentation={"size": [9, 9], "counts": [0, 81]})
    size = [p.train["images"][20][name] for name in ("height", "width")]
    p.square(21, "damaged-rle", segmentation={"size": size, "counts": [5, 5]})
    square, point = rectangle(50, 50, 40, 30), [60.0, 60.0] * 3
    p.square(22, "degenerate-polygon", segmentation=[square, point])
    bow_tie = [50.0, 50.0, 90.0, 80.0, 90.0, 50.0, 50.0, 80.0]  # two triangles of 40 by 15 / 2
    p.square(23, "self-intersecting-polygon", segmentation=[bow_tie], area=600.0)
    p.square(
        24, "mask-out-of-frame", segmentation=[rectangle(-3, 50, 40, 30)], bbox=[0, 50, 37, 30]
    )


def images(p):
    p.file(27).unlink()
    p.expect("missing-image", "train/000027.jpg", 27)
    p.file(28).write_text("no image")
    p.expect("unreadable-image", "train/000028.jpg", 28)
    data = p.file(29).read_bytes()
    p.file(29).write_bytes(data[: len(data) // 2])
    p.expect("truncated-image", "train/000029.jpg", 29)
    p.store(30, "deep-image", sixteen_bits, format="PNG")
    p.store(31, "palette-image", lambda image: image.quantize(64), format="PNG")
    p.store(32, "cmyk-image", lambda image: image.convert("CMYK"))
    p.store(33, "alpha-image", lambda image: image.convert("RGBA"), format="PNG")
    p.store(34, "grey-image", lambda image: image.convert("L"))
    exif = Image.Exif()
    exif[0x0112] = 6
    p.store(35, "exif-rotated", lambda image: image, exif=exif)
    p.expect("size-mismatch", "train/000035.jpg", 35, cause="exif-rotated")
    p.store(36, "size-mismatch", lambda image: image.resize((30, 90)))
    p.new_image(4000, "unlisted.png")
    p.train["images"].pop()
    p.expect("unlisted-images", "train")


def sixteen_bits(image):
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 200)


def copies(p):
    for number, kind, split in ((37, "duplicate-image", "train"), (38, "leak", "val")):
        with Image.open(p.file(number)) as image:
            shutil.copy(p.file(number), p.root / "images" / split / "copy.jpg")
            p.new_image(2000 + number, "copy.jpg", image, split)
        loser = ("train/copy.jpg", 2037) if split == "train" else ("train/000038.jpg", 38)
        p.expect(kind, *loser)
    for number, kind, split in ((39, "near-duplicate-image", "train"), (40, "near-leak", "val")):
        with Image.open(p.file(number)) as image:
            small = image.resize((image.width * 4 // 5, image.height * 4 // 5))
        near = Image.fromarray((np.asarray(small) * 0.9).astype(np.uint8))
        near.save(p.root / "images" / split / "near.jpg", quality=60)
        p.new_image(2000 + number, "near.jpg", near, split)
        loser = ("train/near.jpg", 2039) if split == "train" else ("train/000040.jpg", 40)
        p.expect(kind, *loser)


def records(p):
    train = "annotations/train.json"
    p.new_image(41, "other.png")
    p.expect("duplicate-image-id", train, 41)
    with Image.open(p.file(42)) as image:
        p.new_image(3042, "000042.jpg", image)
    p.expect("duplicate-file-name", train, 3042)
    p.new_image(3043, "../train/000043.jpg")
    p.expect("unsafe-file-name", train, 3043)
    p.new_image(3044, "flat.png", height=0)
    p.expect("size-below-1", train, 3044)
    p.new_image(44, "third.png", split="val")
    p.expect("image-ids-collide", "annotations/val.json")
    p.val["annotations"][0]["id"] = 1
    p.expect("annotation-ids-collide", "annotations/val.json")


def categories(p):
    train, val = "annotations/train.json", "annotations/val.json"
    p.train["categories"].append({"id": 40, "name": "tram"})
    p.expect("unused-category", train)
    for category in p.val["categories"]:
        if category["name"] == "cake":
            category["id"] = 30
    for annotation in p.val["annotations"]:
        if annotation["category_id"] == 1:
            annotation["category_id"] = 30
    extra = {2: "lorry", 20: "person", 21: "Dog", 40: "bike"}
    p.val["categories"] += [{"id": number, "name": name} for number, name in extra.items()]
    p.expect("duplicate-category-id", val)
    p.expect("duplicate-category-name", val)
    p.expect("category-name-clash", val)
    for _ in ("person, the second", "Dog", "bike"):
        p.expect("unused-category", val)
    p.expect("categories-differ", val)
    p.expect("category-id-differs", val, cause="categories-differ")
    p.expect("category-id-clash", val, cause="categories-differ")


@pytest.fixture(scope="module")
def audits(clean, planted):
    return [examine(sources(root), progress=False) for root in (clean, planted.root)]


def test_clean_scenes_have_no_error_and_no_warning(audits):
    report = audits[0].report
    assert not report.errors
    assert not report.warnings
    assert report.exit_code == 0


def test_every_planted_fault_is_found_and_nothing_else(audits, planted):
    before, after = (a.report.findings for a in audits)
    known = Counter(map(key, before))
    own = Counter(key(f) for f in after if f.cause is None) - known
    consequences = Counter(key(f) for f in after if f.cause is not None) - known
    assert own == planted.expected
    assert consequences == planted.consequences


def test_every_kind_is_planted_here_or_tested_elsewhere(planted):
    here = {found[0] for found in [*planted.expected, *planted.consequences]}
    assert KINDS.keys() - here == {"area-is-box-area"}


def test_findings_carry_the_severity_and_the_repair_of_their_kind(audits):
    for found in audits[1].report.findings:
        assert (found.severity, found.repair) == KINDS[found.kind][:2]
    assert audits[1].report.exit_code == 1


def test_threads_change_nothing(planted, audits):
    assert audit_files(sources(planted.root), workers=1, progress=False).findings == (
        audits[1].report.findings
    )


def digests(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path: hashlib.sha256(path.read_bytes()).digest() for path in files}


@pytest.fixture(scope="module")
def repaired(planted, audits, tmp_path_factory):
    before = digests(planted.root)
    target = tmp_path_factory.mktemp("repaired") / "copy"
    changes = repair_copy(audits[1], target)
    assert digests(planted.root) == before, "the source was altered"
    return target, changes


def test_the_repaired_copy_has_only_what_a_person_must_decide(repaired):
    report = audit_files(sources(repaired[0]), progress=False)
    assert not report.errors
    assert {f.kind for f in report.warnings} == {
        "category-name-clash",
        "near-duplicate-image",
        "object-of-two-classes",
    }
    assert not any(KINDS[f.kind].fixed for f in report.warnings)


def test_every_repairable_fault_has_its_change(repaired, planted):
    target, changes = repaired
    listed = json.loads((target / CHANGES).read_text())
    assert [change["what"] for change in listed] == [change.what for change in changes]
    kinds = {found[0] for found in [*planted.expected, *planted.consequences]}
    wanted = {kind for kind in kinds if KINDS[kind].fixed and KINDS[kind].severity != "info"}
    # The annotations of a clash are numbered together with those that differ.
    assert wanted - {change.kind for change in changes} <= {"category-id-clash"}
    about = {(c.kind, c.image_id, c.annotation_id) for c in changes}
    for kind, _, image, annotation in planted.expected:
        # Of two equal ids the first is reported and the second one changed.
        told_otherwise = kind in ("malformed-record", "duplicate-annotation-id")
        if kind in wanted and annotation is not None and not told_otherwise:
            assert (kind, image, annotation) in about


def by_image(document, number):
    """Annotations planted into image ``number``, by their source id."""
    return [a for a in document["annotations"] if a["image_id"] == number and a["id"] > 50_000]


def test_repairs_give_the_right_numbers(repaired):
    target, _ = repaired
    document = json.loads((target / "annotations/train.json").read_text())
    for number in (5, 6, 7, 8, 9, 10, 11, 12, 22):
        (annotation,) = by_image(document, number)
        assert annotation["area"] == 1200
        assert annotation["bbox"] == [50, 50, 40, 30]
    (bow_tie,) = by_image(document, 23)
    assert bow_tie["area"] == 600
    assert len(bow_tie["segmentation"]) == 2
    (clipped,) = by_image(document, 24)
    assert clipped["bbox"] == [0, 50, 37, 30]
    assert clipped["area"] == 37 * 30
    (crowd,) = by_image(document, 13)
    assert crowd["segmentation"]["size"] == [155, 174]
    for number in (17, 18, 19, 20, 21, 4, 14):
        assert not by_image(document, number)
    assert len(by_image(document, 15)) == 1
    assert min(a["id"] for a in document["annotations"]) == 1
    ids = {image["id"] for image in document["images"]}
    assert ids.isdisjoint({27, 28, 29, 36, 38, 40, 41, 2037, 3042, 3043, 3044})


def test_images_are_stored_anew_in_eight_bits_and_upright(repaired):
    target, _ = repaired
    document = json.loads((target / "annotations/train.json").read_text())
    names = {image["id"]: image for image in document["images"]}
    for number in (30, 31, 32, 35):
        assert names[number]["file_name"] == f"{number:06}.png"
        with Image.open(target / f"images/train/{number:06}.png") as image:
            assert image.mode == "RGB"
            assert image.size == (names[number]["width"], names[number]["height"])
    with Image.open(target / "images/train/000030.png") as image:
        assert np.asarray(image).max() == 255


def test_classes_have_one_number_in_both_files(repaired):
    lists = [
        {c["name"]: c["id"] for c in json.loads(file.read_text())["categories"]}
        for file in sorted((repaired[0] / "annotations").iterdir())
    ]
    assert lists[0] == lists[1]
    assert list(lists[0]) == ["cake", "car", "dog", "person", "Dog", "tram", "lorry", "bike"]


def test_a_copy_never_overwrites_anything(audits, clean, tmp_path):
    with pytest.raises(UserError, match="already exists"):
        repair_copy(audits[0], tmp_path)
    with pytest.raises(UserError, match="lies inside the image folder"):
        repair_copy(audits[0], clean / "images/train/fixed")
