"""Cityscapes: a small tree in its layout; instance images exactly, polygons closely."""

from __future__ import annotations

import json

from project.data.formats.cityscapes import read_cityscapes
from project.errors import UserError

import numpy as np
import pytest

STEM = "aachen_000000_000019"


def instance_map():
    """Road (7), two cars of which one hides a part of the other, a person, a group of riders."""
    pixels = np.full((60, 120), 7, np.uint16)
    pixels[20:50, 10:60] = 26000
    pixels[30:55, 40:90] = 26001
    pixels[5:45, 100:110] = 24000
    pixels[0:10, 0:20] = 25
    pixels[50:60, 100:120] = 33000
    pixels[52:58, 102:118] = 4  # static, inside the bicycle
    return pixels


def corners(x0, y0, x1, y1):
    """Polygon of the pixels x0..x1-1, y0..y1-1, as Cityscapes' painter fills it: both ends in."""
    return [[x0, y0], [x1 - 1, y0], [x1 - 1, y1 - 1], [x0, y1 - 1]]


POLYGONS = [
    {"label": "road", "polygon": corners(0, 0, 120, 60)},
    {"label": "car", "polygon": corners(10, 20, 60, 50)},
    {"label": "car", "polygon": corners(40, 30, 90, 55)},
    {"label": "person", "polygon": corners(100, 5, 110, 45)},
    {"label": "ridergroup", "polygon": corners(0, 0, 20, 10)},
    {"label": "car", "polygon": corners(0, 0, 120, 60), "deleted": 1} | {"label": "deleted"},
    {"label": "bicycle", "polygon": corners(100, 50, 120, 60)},
    {"label": "static", "polygon": corners(102, 52, 118, 58)},
]


@pytest.fixture
def cityscapes(tmp_path, save_image, picture):
    folder = tmp_path / "cityscapes"
    for split, city, stem in (("train", "aachen", STEM), ("val", "ulm", "ulm_000000_000020")):
        labels = folder / f"gtFine/{split}/{city}"
        image = folder / f"leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png"
        save_image(image, picture(60, 120))
        save_image(labels / f"{stem}_gtFine_instanceIds.png", instance_map())
        document = {"imgHeight": 60, "imgWidth": 120, "objects": POLYGONS}
        (labels / f"{stem}_gtFine_polygons.json").write_text(json.dumps(document))
    return folder


FILE = f"aachen/{STEM}_leftImg8bit.png"
EXPECTED = [("rider", 25, 1), ("person", 24000, 0), ("car", 26000, 0), ("car", 26001, 0),
            ("bicycle", 33000, 0)]  # fmt: skip


def test_instance_images_are_read_exactly(cityscapes, masks_of):
    found = masks_of(read_cityscapes(cityscapes, "train").document, FILE)
    assert [(name, a["iscrowd"]) for name, _, a in found] == [(n, c) for n, _, c in EXPECTED]
    for (_, mask, _), (_, value, _) in zip(found, EXPECTED, strict=True):
        assert (mask == (instance_map() == value)).all()


def test_polygons_paint_the_same_objects(cityscapes, masks_of):
    for file in cityscapes.rglob("*instanceIds.png"):
        file.unlink()
    found = masks_of(read_cityscapes(cityscapes, "train", "polygons").document, FILE)
    assert [(name, a["iscrowd"]) for name, _, a in found] == [(n, c) for n, _, c in EXPECTED]
    for (_, mask, _), (_, value, _) in zip(found, EXPECTED, strict=True):
        target = instance_map() == value
        assert (mask & target).sum() / (mask | target).sum() > 0.98


def test_the_converter_makes_a_subset(converter, cityscapes, tmp_path):
    args = ("--name", "city", "--classes", "car", "person", "--polygons")
    code, out, err = converter("cityscapes", cityscapes, *args)
    assert (code, err) == (0, "")
    assert "train: 1 images (0 negative), 3 annotations" in out
    assert (tmp_path / "root/city/images/train" / FILE).is_file()


@pytest.mark.parametrize(
    "break_it, message",
    [
        (lambda f: next(f.rglob("train/*/*_leftImg8bit.png")).unlink(), "leftImg8bit.png doesn't"),
        (lambda f: next(f.rglob("train/*/*polygons.json")).write_text("{"), "no polygon file"),
        (
            lambda f: next(f.rglob("train/*/*polygons.json")).write_text(
                '{"imgHeight": 60, "imgWidth": -120, "objects": []}'
            ),
            r"`int` >= 1 - at `\$.imgWidth`",
        ),
        (
            lambda f: next(f.rglob("train/*/*polygons.json")).unlink(),
            r"holds no file \*/\*_gtFine_",
        ),
        (lambda f: (f / "gtFine").rename(f / "gtCoarse"), "is no folder of Cityscapes"),
        (lambda f: (f / "gtFine/train").rename(f / "gtFine/train_extra"), "unknown split 'train'"),
    ],
)
def test_damaged_trees(cityscapes, break_it, message):
    break_it(cityscapes)
    with pytest.raises(UserError, match=message):
        read_cityscapes(cityscapes, "train", "polygons")
