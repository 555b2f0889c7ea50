"""PASCAL VOC: a small tree in its layout, read back pixel by pixel."""

from __future__ import annotations

from project.data.catalog import subset_dicts
from project.data.formats.voc import read_voc
from project.errors import UserError

import numpy as np
import pytest

XML = """<annotation><filename>{name}.jpg</filename>
<size><width>40</width><height>30</height><depth>3</depth></size><segmented>1</segmented>
{objects}</annotation>"""
OBJECT = """<object><name>{}</name><pose>Left</pose><truncated>{}</truncated>
<difficult>{}</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>
</object>"""


def object_map():
    """Two objects that touch, with void between; object 1 in two parts."""
    objects = np.zeros((30, 40), np.uint8)
    objects[2:12, 3:15], objects[20:25, 30:38] = 1, 1
    objects[8:20, 15:28] = 2
    objects[8:12, 14:16] = 255
    return objects


@pytest.fixture
def voc(tmp_path, save_image, picture):
    """VOC2012 with image 2007_000032 (a dog, number 1, and a person, 2) and an empty one."""
    folder = tmp_path / "VOCdevkit/VOC2012"
    objects = object_map()
    classes = np.array([0, 12, 15], np.uint8)[np.where(objects == 255, 0, objects)]
    classes[objects == 255] = 255
    for name, object_png, class_png in (
        ("2007_000032", objects, classes),
        ("2007_000039", objects * 0, objects * 0),
    ):
        save_image(folder / f"JPEGImages/{name}.jpg", picture(30, 40))
        save_image(folder / f"SegmentationObject/{name}.png", object_png, palette=True)
        save_image(folder / f"SegmentationClass/{name}.png", class_png, palette=True)
    (folder / "Annotations").mkdir()
    xml = XML.format(
        name="2007_000032", objects=OBJECT.format("dog", 0, 1) + OBJECT.format("person", 1, 0)
    )
    (folder / "Annotations/2007_000032.xml").write_text(xml)
    lists = folder / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000032\n")
    (lists / "val.txt").write_text("2007_000039\n")
    (lists / "trainval.txt").write_text("2007_000032\n2007_000039\n")
    return folder


def test_objects_are_those_of_the_pixels(voc, masks_of):
    document = read_voc(voc, "trainval").document
    found = masks_of(document, "2007_000032.jpg")
    assert [name for name, _, _ in found] == ["dog", "person"]
    objects = object_map()
    for number, (_, mask, _) in enumerate(found, 1):
        assert (mask == (objects == number)).all()
    dog, person = (annotation for _, _, annotation in found)
    assert dog["bbox"] == (3, 2, 35, 23)
    assert dog["area"] == (objects == 1).sum()
    assert (dog["difficult"], dog["truncated"]) == (1, 0)
    assert (person["difficult"], person["truncated"]) == (0, 1)
    assert masks_of(document, "2007_000039.jpg") == []
    assert [c["name"] for c in document["categories"]][14] == "person"
    assert len(document["categories"]) == 20


def test_pixels_count_more_than_the_xml(voc, masks_of):
    file = voc / "Annotations/2007_000032.xml"
    file.write_text(file.read_text().replace("dog", "cat"))
    result = read_voc(voc, "train")
    assert [name for name, _, _ in masks_of(result.document, "2007_000032.jpg")] == [
        "dog",
        "person",
    ]
    assert result.notes == [
        "2007_000032: object 1 is 'dog' by its pixels, 'cat' by its XML file; the pixels count"
    ]
    file.unlink()
    assert read_voc(voc, "train").notes == []


def test_the_converter_makes_a_subset(converter, voc, tmp_path, masks_of):
    code, out, _ = converter("voc", voc, "--name", "voc_conv", "--classes", "person", "dog")
    assert code == 0
    assert "train: 1 images (0 negative), 2 annotations" in out
    assert "val: 1 images (1 negative), 0 annotations" in out
    (record,) = subset_dicts("voc_conv", "train", tmp_path / "root")
    assert [a["category_id"] for a in record["annotations"]] == [1, 0]
    assert len(subset_dicts("voc_conv", "val", tmp_path / "root")) == 1
    assert converter("voc", voc, "--name", "voc_conv")[0] == 2
    assert converter("voc", voc, "--name", "voc_conv", "--overwrite")[0] == 0
    manifest = tmp_path / "root/voc_conv/manifest.json"
    assert '"keep_empty": true' in manifest.read_text()


def test_coco_files_only_and_other_lists(converter, voc, tmp_path):
    args = ("--name", "v", "--coco-only", "--splits", "train=trainval")
    code, out, _ = converter("voc", voc, *args)
    assert (code, out) == (
        0,
        f"train: read 2 images, 2 objects\nWrote 1 COCO files to {tmp_path}/root/v-coco\n",
    )
    assert not (tmp_path / "root/v").exists()


def xml(folder, text):
    (folder / "Annotations/2007_000032.xml").write_text(text)


def listed(folder, names):
    (folder / "ImageSets/Segmentation/train.txt").write_bytes(names)


@pytest.mark.parametrize(
    "break_it, message",
    [
        (lambda v, s: (v / "JPEGImages/2007_000032.jpg").unlink(), "2007_000032.jpg doesn't exist"),
        (lambda v, s: (v / "SegmentationClass/2007_000032.png").unlink(), "label image .* exist"),
        (
            lambda v, s: s(v / "SegmentationClass/2007_000032.png", np.zeros((30, 41), np.uint8)),
            "object and class image of 2007_000032 differ in size",
        ),
        (
            lambda v, s: s(v / "JPEGImages/2007_000032.jpg", np.zeros((40, 30, 3), np.uint8)),
            r"is 40 by 30 pixels \(height, width\), its labels are for 30 by 40",
        ),
        (lambda v, s: xml(v, "<a>"), "no readable XML"),
        (lambda v, s: xml(v, "<?xml version='1.0' encoding='none'?><a/>"), "no readable XML: unkn"),
        (lambda v, s: xml(v, "<?xml version='1.0' encoding='big5'?><a/>"), "no readable XML: mult"),
        (
            lambda v, s: s(
                v / "SegmentationClass/2007_000032.png", np.full((30, 40), 31, np.uint8)
            ),
            "class number 31 of object 1; VOC has 1 to 20",
        ),
        (lambda v, s: listed(v, b"\n"), "names no image"),
        (lambda v, s: listed(v, b"\xff\xfe2"), "train.txt is no list of images: .*0xff"),
        (lambda v, s: listed(v, b"../secret"), "train.txt: file_name '../secret' leaves"),
        (lambda v, s: listed(v, b"/etc/passwd"), "train.txt: file_name '/etc/passwd' leaves"),
    ],
)
def test_damaged_trees(voc, save_image, break_it, message):
    break_it(voc, save_image)
    with pytest.raises(UserError, match=message):
        read_voc(voc, "train")


def test_wrong_folders_and_splits(converter, voc):
    code, _, err = converter("voc", voc.parent, "--name", "v")
    assert code == 2
    assert "(give VOCdevkit/VOC2012 itself)" in err
    assert err.count("\n") == 1
    assert (
        "did you mean 'trainval'"
        in converter("voc", voc, "--name", "v", "--splits", "train=trainvl")[2]
    )
    assert (
        "split 'trainval': expected"
        in converter("voc", voc, "--name", "v", "--splits", "trainval")[2]
    )
    assert "unknown class 'hound'" in converter("voc", voc, "--name", "v", "--classes", "hound")[2]
