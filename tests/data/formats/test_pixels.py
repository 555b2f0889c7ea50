"""Label maps as run lengths: nothing gained, nothing lost."""

from __future__ import annotations

from project.data.formats.pixels import pixel_objects, read_label_map
from project.errors import UserError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 10_000))
def test_masks_boxes_and_areas_are_those_of_pycocotools(height, width, seed):
    from pycocotools import mask as coco_mask

    rng = np.random.default_rng(seed)
    label_map = rng.choice([0, 1, 7, 300], (height, width), p=rng.dirichlet([1] * 4))
    objects = pixel_objects(label_map)
    assert [o.value for o in objects] == sorted(set(label_map.ravel().tolist()) - {0})
    for found in objects:
        rle = coco_mask.encode(np.asfortranarray(label_map == found.value, np.uint8))
        assert found.segmentation["counts"] == rle["counts"].decode()
        assert found.segmentation["size"] == [height, width]
        assert found.bbox == tuple(coco_mask.toBbox(rle).tolist())
        assert found.area == coco_mask.area(rle)


def test_background_and_nothing():
    assert pixel_objects(np.zeros((3, 4), int)) == []
    assert pixel_objects(np.zeros((0, 4), int)) == []
    assert [o.value for o in pixel_objects(np.array([[0, 255, 3]]), (0, 255))] == [3]


@pytest.mark.parametrize(
    "dtype, palette", [(np.uint8, True), (np.uint8, False), (np.uint16, False)]
)
def test_label_images_give_their_numbers(save_image, tmp_path, dtype, palette):
    numbers = np.arange(12, dtype=dtype).reshape(3, 4) * (2000 if dtype is np.uint16 else 20)
    file = save_image(tmp_path / "a.png", numbers, palette)
    assert (read_label_map(file) == numbers).all()


def test_label_images_that_are_none(save_image, tmp_path):
    colours = save_image(tmp_path / "rgb.png", np.zeros((3, 4, 3), np.uint8))
    with pytest.raises(UserError, match=r"rgb.png holds colours \(mode RGB\)"):
        read_label_map(colours)
    with pytest.raises(UserError, match="none.png doesn't exist"):
        read_label_map(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UserError, match="text.png can't be read"):
        read_label_map(tmp_path / "text.png")


def test_label_images_too_large_for_pillow_are_named(save_image, tmp_path, monkeypatch):
    file = save_image(tmp_path / "a.png", np.zeros((30, 40), np.uint8))
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match="a.png can't be read: Image size"):
        read_label_map(file)
