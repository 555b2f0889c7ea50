"""Folders of masks: binary, indexed by class, indexed by object, one file for each object."""

from __future__ import annotations

import os

from project.data.formats.masks import read_masks
from project.errors import UserError

import numpy as np
import pytest


def two_squares():
    mask = np.zeros((20, 30), np.uint8)
    mask[2:8, 3:10] = 1
    mask[12:18, 15:28] = 1
    return mask


@pytest.fixture
def folders(tmp_path, save_image, picture):
    """``folders(a=mask, ...)`` → image and mask folder with a.jpg and a.png."""

    def make(suffix="", ending=".png", **masks):
        for name, mask in masks.items():
            save_image(tmp_path / f"imgs/{name}.jpg", picture(20, 30))
            save_image(tmp_path / f"masks/{name}{suffix}{ending}", mask)
        return tmp_path / "imgs", tmp_path / "masks"

    return make


def test_parts_of_a_binary_mask_are_objects(folders, masks_of):
    paths = folders(a=two_squares() * 255, b=two_squares() * 0)
    document = read_masks(*paths, {1: "dog"}).document
    found = masks_of(document, "a.jpg")
    assert [name for name, _, _ in found] == ["dog", "dog"]
    assert (found[0][1] | found[1][1] == two_squares().astype(bool)).all()
    assert [a["bbox"] for _, _, a in found] == [(3, 2, 7, 6), (15, 12, 13, 6)]
    assert masks_of(document, "b.jpg") == []


def test_or_one_object_in_parts(folders, masks_of):
    document = read_masks(*folders(a=two_squares()), {1: "dog"}, whole=True).document
    ((_, mask, annotation),) = masks_of(document, "a.jpg")
    assert (mask == two_squares().astype(bool)).all()
    assert annotation["area"] == 42 + 78


def test_values_are_classes(folders, masks_of):
    mask = two_squares()
    mask[12:18] *= 7
    mask[0, :] = 255
    document = read_masks(
        *folders(a=mask), {1: "cat", 7: "dog"}, values="classes", void=255
    ).document
    found = masks_of(document, "a.jpg")
    assert [name for name, _, _ in found] == ["cat", "dog"]
    assert (found[1][1] == (mask == 7)).all()


def test_values_are_objects(folders, masks_of):
    mask = two_squares()
    mask[2:8, 6:10] = 9  # touches object 1
    document = read_masks(*folders(a=mask), {1: "cell"}, values="objects").document
    found = masks_of(document, "a.jpg")
    assert [(found_mask == (mask == v)).all() for (_, found_mask, _), v in zip(found, (1, 9), strict=True)] == [True, True]  # fmt: skip  # noqa: E501


def test_a_folder_of_masks_has_an_object_in_each(folders, save_image, masks_of):
    images, masks = folders(a=two_squares())
    (masks / "a.png").unlink()
    save_image(masks / "a/1.png", two_squares() * 255)
    save_image(masks / "a/2.png", two_squares()[::-1] * 255)
    found = masks_of(read_masks(images, masks, {1: "cell"}).document, "a.jpg")
    assert (found[0][1] == two_squares().astype(bool)).all()
    assert (found[1][1] == two_squares()[::-1].astype(bool)).all()
    assert len(found) == 2  # overlaps are kept


def test_masks_saved_as_jpeg_are_cut_in_the_middle(folders, masks_of):
    mask = np.zeros((20, 30), np.uint8)
    mask[4:16, 6:24] = 255
    document = read_masks(*folders(a=mask, ending=".jpg"), {1: "dog"}, min_pixels=10).document
    ((_, found, _),) = masks_of(document, "a.jpg")
    assert (found & (mask > 0)).sum() / (found | (mask > 0)).sum() > 0.9


@pytest.mark.parametrize("values", ["classes", "objects"])
def test_values_that_a_jpeg_made_up_become_no_objects(folders, values):
    images, masks = folders(a=two_squares() * 9, ending=".jpg")
    with pytest.raises(UserError, match=f"a.jpg is a JPEG, whose losses make up {values}"):
        read_masks(images, masks, {1: "dog"}, values=values)


def test_specks_are_left_out_and_noted(folders):
    mask = two_squares()
    mask[0, 29] = 1
    result = read_masks(*folders(a=mask), {1: "dog"}, min_pixels=5)
    assert len(result.document["annotations"]) == 2
    assert result.notes == ["a.jpg: dog of 1 pixels left out"]


@pytest.mark.parametrize(
    "mask, options, message",
    [
        (two_squares()[:, :-1], {}, "a.png is 20 by 29 pixels .*, its image 20 by 30"),
        (np.arange(600).reshape(20, 30).astype(np.uint8), {}, r"256 values \(0, 1, 2, 3, \.\.\.\)"),
        (two_squares() * 3, {"values": "classes"}, "value 3, which has no class; known are 1=dog"),
        (two_squares(), {"suffix": "_mask"}, r"1 of 1 images have no mask .*, expected a_mask.png"),
    ],
)
def test_masks_that_do_not_fit(folders, mask, options, message):
    with pytest.raises(UserError, match=message):
        read_masks(*folders(a=mask), {1: "dog"}, **options)


def test_the_converter(converter, folders, tmp_path):
    images, masks = folders(a=two_squares() * 2, b=two_squares(), suffix="_m")
    args = ("--split", "train", images, masks, "--values", "classes", "--mask-suffix", "_m")
    code, out, _ = converter("masks", *args, "--class", "1=cat", "2=dog", "--name", "pets")
    assert code == 0
    assert "train: 2 images (0 negative), 4 annotations" in out
    for words, message in (
        (("--class", "cat"), "--class cat: expected VALUE=NAME"),
        (("--class", "1=cat", "1=dog"), "--class 1=dog: expected VALUE=NAME"),
        (("--class", "1=cat", "2=dog", "--split", "train", "x", "y"), "split 'train': expected"),
    ):
        code, _, err = converter("masks", *args, *words, "--name", "other")
        assert (code, err.count("\n")) == (2, 1)
        assert message in err
    code, _, err = converter("masks", *args[:4], "--class", "255=cat", "--name", "other")
    assert "--class 255=cat: values have classes with --values classes only" in err
    subset = tmp_path / "root/other-coco"  # a person's subset that happens to have this name
    subset.mkdir()
    (subset / "manifest.json").write_text("{}")
    code, _, err = converter(
        "masks",
        *args[:4],
        "--mask-suffix",
        "_m",
        "--class",
        "cat",
        "--name",
        "other",
        "--overwrite",
    )
    assert f"{subset}, where the COCO files would go, is a subset" in err
    assert (subset / "manifest.json").is_file()
    code, _, err = converter("masks", *args[:4], "--class", "cat", "dog", "--name", "other")
    assert "'binary' masks have one class; 2 were named" in err


def test_only_what_a_converter_made_is_replaced(converter, folders, tmp_path):
    images, masks = folders(a=two_squares())
    args = ("masks", "--split", "train", images, masks, "--class", "cat", "--overwrite", "--name")
    for name, message in (
        ("x-coco", "x-coco, where the COCO files would go, holds more than train.json, val.json,"),
        ("x", "x is no subset, for it has no manifest.json"),
    ):
        folder = tmp_path / "root" / name
        folder.mkdir(parents=True)
        (folder / "thesis.txt").write_text("years of work")
        code, _, err = converter(*args, "x")
        assert (code, err.count("\n")) == (2, 1)
        assert message in err
        assert [file.name for file in folder.iterdir()] == ["thesis.txt"]
        (folder / "thesis.txt").unlink()
        folder.rmdir()
    for _ in range(2):
        assert converter(*args, "x")[0] == 0


def test_names_that_no_json_file_can_hold(converter, folders, tmp_path):
    images, masks = folders(a=two_squares())
    for file in (images / "a.jpg", masks / "a.png"):
        folder, end = os.fsencode(file.parent), file.suffix.encode()
        os.rename(file, os.path.join(folder, b"a\xff" + end))
    args = ("--split", "train", images, masks, "--class", "cat", "--name", "x")
    code, _, err = converter("masks", *args)
    assert (code, err.count("\n")) == (2, 1)
    assert "a\\udcff.jpg' has bytes that aren't UTF-8" in err
    assert list((tmp_path / "root").iterdir()) == []
