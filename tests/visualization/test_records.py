"""Records from dataset dicts and results lists, and how they scale."""

from project.errors import UserError
from project.visualization.records import (
    BoxMask,
    DrawnObject,
    mask_from_segmentation,
    objects_from_dataset_dict,
    objects_from_results,
    scale_object,
)

import numpy as np
import pytest
from detectron2.structures import BoxMode

SQUARE = [[2.0, 1.0, 6.0, 1.0, 6.0, 4.0, 2.0, 4.0]]  # x 2-6, y 1-4 of an 8x10 image
# The same as column-wise runs: columns 2..5, rows 1..3 of 8.
RUNS = [2 * 8 + 1, 3, 5, 3, 5, 3, 5, 3, 4 * 8 + 4]


def record(*annotations, **more) -> dict:
    base = {"file_name": "a/b.jpg", "image_id": 7, "height": 8, "width": 10}
    return base | {"annotations": list(annotations)} | more


def annotation(**more) -> dict:
    base = {"bbox": [2, 1, 4, 3], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1}
    return base | {"segmentation": SQUARE, "iscrowd": 0} | more


def result(**more) -> dict:
    base = {"image_id": 7, "category_id": 44, "score": 0.9, "bbox": [2, 1, 4, 3]}
    return base | {"segmentation": {"size": [8, 10], "counts": RUNS}} | more


def compressed() -> str:
    from pycocotools import mask as coco_mask

    rle = coco_mask.frPyObjects({"size": [8, 10], "counts": RUNS}, 8, 10)
    return rle["counts"].decode()


@pytest.mark.parametrize(
    "segmentation",
    [
        SQUARE,
        {"size": [8, 10], "counts": RUNS},
        {"size": [8, 10], "counts": compressed()},
        {"size": [8, 10], "counts": compressed().encode()},
        np.pad(np.ones((3, 4), bool), ((1, 4), (2, 4))),
    ],
    ids=["polygon", "runs", "text", "bytes", "array"],
)
def test_masks_of_every_kind_become_the_same_crop(segmentation):
    mask = mask_from_segmentation(segmentation, 8, 10)
    assert (mask.x, mask.y) == (2, 1)
    assert mask.pixels.shape == (3, 4)
    assert mask.pixels.all()


@pytest.mark.parametrize(
    "nothing", [None, [], [[1.0, 2.0]], {"size": [8, 10], "counts": [80]}, np.zeros((8, 10), bool)]
)
def test_masks_without_a_pixel_are_none(nothing):
    assert mask_from_segmentation(nothing, 8, 10) is None


def test_labels_keep_class_box_mask_and_crowd():
    dog, crowd = objects_from_dataset_dict(
        record(annotation(), annotation(iscrowd=1, category_id=0)), ["cake", "dog"]
    )
    assert (dog.class_index, dog.class_name, dog.score, dog.iscrowd) == (1, "dog", None, False)
    assert dog.box_xyxy == (2, 1, 6, 4)
    assert dog.area == 12
    assert dog.mask.pixels.sum() == 12
    assert (crowd.class_name, crowd.iscrowd) == ("cake", True)


def test_unlabelled_records_give_no_objects():
    unlabelled = record()
    del unlabelled["annotations"]
    assert objects_from_dataset_dict(unlabelled, ["cake"]) == []
    assert objects_from_results([], record(), ["cake"]) == []


def test_results_are_mapped_back_cut_by_score_and_sorted():
    entries = [result(score=0.6), result(score=0.3), result(score=0.8, category_id=3)]
    objects = objects_from_results(entries, record(), ["cake", "dog"], {3: 0, 44: 1}, threshold=0.6)
    assert [(o.class_name, o.score) for o in objects] == [("cake", 0.8), ("dog", 0.6)]
    assert objects[0].box_xyxy == (2, 1, 6, 4)


def test_results_may_lack_a_mask_or_a_box():
    (boxed,) = objects_from_results([result(category_id=0, segmentation=None)], record(), ["cake"])
    assert boxed.mask is None
    (masked,) = objects_from_results([result(category_id=0, bbox=None)], record(), ["cake"])
    assert masked.box_xyxy == (2, 1, 6, 4)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"category_id": 5}, "category id 5, which the dataset lacks .*44"),
        ({"category_id": [1]}, "category id"),
        ({"bbox": [1, 2, 3]}, "expected four numbers"),
        ({"bbox": [1, 2, 3, float("nan")]}, "expected four numbers"),
        ({"bbox": None, "segmentation": None}, "neither a bbox nor a mask"),
        ({"segmentation": {"size": [9, 10], "counts": RUNS}}, r"\(9, 10\), the image \(8, 10\)"),
        ({"segmentation": {"size": [8, 10], "counts": [5, 9999]}}, "don't add up"),
        ({"segmentation": {"size": [8, 10], "counts": "zzzzzzz"}}, "don't add up"),
        ({"segmentation": {"counts": RUNS}}, "expected 'size' and 'counts'"),
        ({"segmentation": [[0, 0, 1e9, 0, 5, 5]]}, r"coordinate 1e\+09, more than 10 sides away"),
        ({"segmentation": [[0, 0, 5, 0, 5, float("nan")]]}, "coordinate nan"),
        ({"score": None}, "no score"),
    ],
)
def test_broken_results_name_the_image(change, message):
    with pytest.raises(UserError, match=message) as caught:
        objects_from_results([result(**change)], record(), ["cake", "dog"], {3: 0, 44: 1})
    assert "a/b.jpg" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_broken_labels_name_image_and_annotation():
    with pytest.raises(UserError, match="annotation 1 of image a/b.jpg has class 2, .* 2 classes"):
        objects_from_dataset_dict(record(annotation(), annotation(category_id=2)), ["a", "b"])


def square_object(x: int, y: int, side: int) -> DrawnObject:
    mask = BoxMask(np.ones((side, side), bool), x, y)
    return DrawnObject(0, "cake", (x, y, x + side, y + side), mask)


def test_enlarged_masks_fill_the_enlarged_box():
    big = scale_object(square_object(3, 5, 4), 4, (80, 80))
    assert big.box_xyxy == (12, 20, 28, 36)
    assert (big.mask.x, big.mask.y, big.mask.pixels.shape) == (12, 20, (16, 16))
    # Corners are rounded by the interpolation, edges are where they should be.
    assert big.mask.pixels.sum() >= 250
    assert big.mask.pixels[0, 8]
    assert big.mask.pixels[8, 0]


def test_masks_at_the_border_stay_inside_the_image():
    big = scale_object(square_object(0, 16, 4), 4, (80, 80))
    assert (big.mask.x, big.mask.y, big.mask.pixels.shape) == (0, 64, (16, 16))


def test_shrunk_masks_halve_or_vanish():
    small = scale_object(square_object(4, 8, 8), 0.5, (20, 20))
    assert (small.mask.x, small.mask.y, small.mask.pixels.shape) == (2, 4, (4, 4))
    assert scale_object(square_object(6, 6, 1), 0.1, (2, 2)).mask is None
