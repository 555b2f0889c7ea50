"""Masks in COCO files: usable, repaired, unusable; checked against pycocotools."""

from __future__ import annotations

import json

from project.data.coco_masks import (
    Rle,
    check_mask,
    mask_area,
    mask_box,
    polygon_problem,
    rle_runs,
)

import numpy as np
import pytest
from pycocotools import mask as coco_mask

H, W = 12, 9


def checked(segmentation, height=H, width=W):
    return check_mask(json.dumps(segmentation).encode(), height, width)


def random_rle(seed):
    pixels = np.random.default_rng(seed).random((H, W)) < 0.3
    encoded = coco_mask.encode(np.asfortranarray(pixels, np.uint8))
    return pixels, Rle((H, W), encoded["counts"].decode())


@pytest.mark.parametrize("seed", range(5))
def test_compressed_runs_are_those_of_pycocotools(seed):
    pixels, rle = random_rle(seed)
    runs = rle_runs(rle)
    decoded = np.repeat(np.arange(len(runs)) % 2, runs).reshape(H, W, order="F")
    np.testing.assert_array_equal(decoded, pixels)


def test_long_runs_survive_compression():
    # 1 000 000 needs four digits; the fourth run is stored as a difference to the second.
    runs = [5, 1_000_000, 7, 3, 1_000_000 - 5 - 7 - 3]
    compressed = coco_mask.frPyObjects({"size": [2000, 1000], "counts": runs}, 2000, 1000)
    assert rle_runs(Rle((2000, 1000), compressed["counts"].decode())) == runs


@pytest.mark.parametrize("seed", range(3))
def test_area_and_box_are_those_of_pycocotools(seed):
    pixels, rle = random_rle(seed)
    encoded = {"size": [H, W], "counts": rle.counts.encode()}
    assert mask_area(rle) == pixels.sum() == coco_mask.area(encoded)
    assert list(mask_box(rle)) == coco_mask.toBbox(encoded).tolist()


def test_area_and_box_of_polygons_by_hand():
    square, triangle = [1, 1, 4, 1, 4, 4, 1, 4], [5, 5, 9, 5, 5, 7]
    assert mask_area([square, triangle]) == 9 + 4
    assert mask_box([square, triangle]) == (1, 1, 8, 6)


@pytest.mark.parametrize(
    "segmentation, reason",
    [
        ([], "empty"),
        (None, "empty"),
        ([[]], "three points"),
        ([[1, 2, 3, 4]], "three points"),
        ([[1, 2, 3, 4, 5, 6, 7]], "three points"),
        ("polygon", "neither polygons nor RLE"),
        ([["1", 2, 3, 4, 5, 6]], "neither polygons nor RLE"),
        ([[0, 0, 1e9, 0, 5, 5]], r"coordinate 1e\+09, more than 10 sides .* of 12 by 9 pixels"),
        ([[1, 1, 4, 1, 4, 4], [0, 0, 5, -121, 5, 5]], "coordinate -121, more than 10 sides"),
        ({"counts": [3]}, "neither polygons nor RLE"),
        ({"size": [10**20, W], "counts": [5]}, r"neither polygons nor RLE: .*size\[0\]"),
        ({"size": [9, 12], "counts": [5, 3, 100]}, r"size \[9, 12\] differs"),
        ({"size": [H, W], "counts": [5, 3]}, "don't add up"),
        ({"size": [H, W], "counts": [-1, 9, 100]}, "don't add up"),
        ({"size": [H, W], "counts": []}, "don't add up"),
        ({"size": [H, W], "counts": "no!"}, "don't add up"),
        ({"size": [H, W], "counts": [H * W]}, "no pixel"),
    ],
)
def test_unusable_masks_say_why(segmentation, reason):
    result = checked(segmentation)
    assert result.mask is None
    import re

    assert re.search(reason, result.problem)


def test_absent_and_garbled_segmentations_are_unusable():
    assert check_mask(b"", H, W).problem == "it has no segmentation"
    garbled = b'{"size": [12, 9], "counts": "\xff"}'
    assert check_mask(garbled, H, W).problem.startswith("segmentation is neither polygons nor RLE")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_too_far_away(number):
    assert "coordinate" in polygon_problem([[0, 0, 5, 0, 5, number]], H, W)
    assert "coordinate" in polygon_problem([[number, 0, 5, 0, 5, 5]], H, W)


def test_bad_polygon_parts_are_dropped_and_told():
    good = [1.0, 1.0, 4.0, 1.0, 4.0, 4.0]
    result = checked([good, [1, 2, 3, 4]])
    assert result.mask == [good]
    assert result.problem == "1 of 2 polygons dropped: not three points"


def test_usable_masks_have_no_problem():
    assert checked([[1, 1, 4, 1, 4, 4]]).problem == ""
    assert checked([[-120, -3.5, 40, 1, 4, 120]]).problem == ""  # it will be clipped
    assert checked({"size": [H, W], "counts": [5, 3, H * W - 8]}).problem == ""
