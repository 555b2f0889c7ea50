"""Pixel IoU, Dice, accuracy, boundary IoU: by hand, and against torchmetrics."""

from __future__ import annotations

import warnings

from project.evaluation.image_masks import image_masks
from project.evaluation.overlap import PixelOverlap, band, matched_iou, paint

import numpy as np
import pytest

NAMES = ("cat", "dog")


def overlap_of(scene, **options) -> dict:
    names = [c["name"] for c in scene.annotations["categories"]]
    counted = PixelOverlap(len(names), **options)
    for image in image_masks(scene.annotations, scene.results):
        counted.update(image)
    return counted.result(names)


def test_two_maps_by_hand():
    truth = np.array([[0, 0, 2], [0, 1, 2]])
    found = np.array([[0, 1, 2], [0, 1, 0]])
    counted = PixelOverlap(2)
    counted.update_maps(truth, found, np.ones((2, 3), bool))
    result = counted.result(NAMES)
    assert counted.matrix.tolist() == [[2, 1, 0], [0, 1, 0], [1, 0, 1]]
    assert result["classes"]["cat"]["iou"] == pytest.approx(100 * 2 / 4)
    assert result["classes"]["dog"]["iou"] == pytest.approx(100 * 1 / 2)
    assert result["background"] == pytest.approx({"iou": 100 * 1 / 2, "dice": 100 * 2 / 3})
    assert result["classes"]["cat"]["dice"] == pytest.approx(100 * 4 / 6)
    assert result["classes"]["cat"]["pixels"] == 3
    assert result["mean"]["iou"] == 50
    assert result["pixel_accuracy"] == pytest.approx(100 * 4 / 6)
    # In so small an image all pixels are boundary.
    assert result["classes"]["cat"]["boundary_iou"] == result["classes"]["cat"]["iou"]


def test_pixels_that_do_not_count():
    truth, found = np.array([[0, 1, 1]]), np.array([[0, 0, 1]])
    counted = PixelOverlap(2)
    counted.update_maps(truth, found, np.array([[True, False, True]]))
    assert counted.result(NAMES)["pixel_accuracy"] == 100
    assert counted.result(NAMES)["mean"]["boundary_iou"] == 100


def test_equals_torchmetrics():
    import torch
    from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex
    from torchmetrics.segmentation import DiceScore

    rng = np.random.default_rng(0)
    names = ("cat", "dog", "cow")
    iou = MulticlassJaccardIndex(4, average=None)
    accuracy = MulticlassAccuracy(4, average="micro")
    dice = DiceScore(4, average=None, input_format="index", aggregation_level="global")
    counted = PixelOverlap(3)
    for _ in range(3):
        truth, found = rng.integers(0, 4, (2, 12, 16))
        found = np.where(rng.random(truth.shape) < 0.6, truth, found)
        counted.update_maps(truth, found, np.ones(truth.shape, bool))
        for metric in (iou, accuracy, dice):
            metric.update(torch.tensor(found)[None], torch.tensor(truth)[None])
    result = counted.result(names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = 100 * iou.compute().numpy(), 100 * dice.compute().numpy()
    classes = [*result["classes"].values(), result["background"]]
    assert [c["iou"] for c in classes] == pytest.approx(expected[0], rel=1e-5)
    assert [c["dice"] for c in classes] == pytest.approx(expected[1], rel=1e-5)
    assert result["pixel_accuracy"] == pytest.approx(100 * float(accuracy.compute()), rel=1e-5)


def test_the_boundary_band_is_what_lies_near_other_pixels():
    labels = (np.random.default_rng(1).random((60, 80)) < 0.03).astype(int)  # d = 2
    expected = np.zeros((60, 80), bool)
    padded = np.pad(labels, 2, constant_values=-1)
    for y in range(60):
        for x in range(80):
            near = padded[y : y + 5, x : x + 5]
            expected[y, x] = labels[y, x] == 0 and (near != 0).any()
    assert np.array_equal(band(labels, 0), expected)
    assert 0 < expected.sum() < (labels == 0).sum()


def test_boundary_iou_by_hand(scene):
    made = scene(size=(50, 50))  # 2 % of the diagonal is 1.4: bands are a pixel wide
    made.object(0, (10, 10, 30, 30))
    made.detect(0, 0.9, (10, 10, 30, 29))
    result = overlap_of(made)["classes"]["cat"]
    assert result["iou"] == pytest.approx(100 * 19 / 20)
    # Rings of 76 and 74 pixels; shared are 20 above and 18 on either side.
    assert result["boundary_iou"] == pytest.approx(100 * 56 / (76 + 74 - 56))


def test_small_objects_lie_on_top(scene):
    made = scene()
    made.object(1, (4, 4, 8, 8))
    made.object(0, (0, 0, 20, 20))
    result = overlap_of(made)["classes"]
    assert (result["cat"]["pixels"], result["dog"]["pixels"]) == (400 - 16, 16)


def test_of_equal_objects_the_later_lies_on_top(scene):
    made = scene()
    made.object(1, (0, 0, 4, 4))
    made.object(0, (2, 0, 6, 4))
    result = overlap_of(made)["classes"]
    assert (result["dog"]["pixels"], result["cat"]["pixels"]) == (8, 16)


def test_the_highest_score_lies_on_top(scene):
    made = scene()
    made.object(0, (0, 0, 10, 10))
    made.object(1, (10, 0, 20, 10))
    made.detect(0, 0.9, (0, 0, 10, 10))
    made.detect(1, 0.8, (5, 0, 20, 10))
    made.detect(1, 0.4, (0, 0, 30, 20))
    result = overlap_of(made)
    assert result["mean"]["iou"] == 100
    assert result["pixel_accuracy"] == 100
    assert overlap_of(made, score_threshold=0.3)["classes"]["dog"]["iou"] == pytest.approx(20)
    assert overlap_of(made, score_threshold=[0.3, 0.85])["classes"]["dog"]["iou"] == 0
    assert overlap_of(made, score_threshold=[np.nan, 0.5])["classes"]["cat"]["iou"] == 0


def test_crowds_count_only_where_objects_are(scene):
    made = scene()
    made.object(0, (0, 0, 10, 10))
    made.object(1, (5, 0, 30, 20), crowd=1)
    made.detect(1, 0.9, (10, 0, 30, 20))  # all in the crowd
    result = overlap_of(made)
    assert result["classes"]["cat"] == {"iou": 0, "dice": 0, "boundary_iou": 0, "pixels": 100}
    assert np.isnan(result["classes"]["dog"]["iou"])
    assert result["background"]["iou"] == pytest.approx(100 * 50 / 150)  # the cat's 100 too
    assert result["pixel_accuracy"] == pytest.approx(100 * 50 / 150)


def test_painting_nothing():
    assert (paint([None], [1], (2, 3), 7) == 7).all()


def test_no_images(scene):
    result = overlap_of(scene(images=0))
    assert np.isnan(result["pixel_accuracy"])
    assert np.isnan(list(result["mean"].values())).all()
    assert np.isnan(result["classes"]["cat"]["iou"])
    assert np.isnan(result["background"]["dice"])


def test_no_objects(scene):
    made = scene(images=2)
    made.detect(0, 0.9, (0, 0, 10, 20))
    result = overlap_of(made)
    assert np.isnan(result["classes"]["cat"]["iou"])
    assert np.isnan(result["mean"]["iou"])
    assert result["pixel_accuracy"] == pytest.approx(100 * 1000 / 1200)


def test_no_detections(scene):
    made = scene()
    made.object(0, (0, 0, 10, 20))
    result = overlap_of(made)
    assert result["classes"]["cat"]["iou"] == 0
    assert result["mean"]["iou"] == 0
    assert result["pixel_accuracy"] == pytest.approx(100 * 400 / 600)


def test_matched_iou_by_hand(make_matches):
    rows = [(0, 0.9, 2, False), (0, 0.6, 1, False), (0, 0.5, 0, False), (1, 0.9, 0, False)]
    matches = make_matches(rows, [4, 1, 0])
    result = matched_iou(matches)
    assert result["classes"]["a"] == pytest.approx({"iou": 70, "matched": 2, "found": 50})
    assert np.isnan(result["classes"]["b"]["iou"])
    assert result["classes"]["b"]["found"] == 0
    assert np.isnan(result["classes"]["c"]["found"])
    assert result["mean"] == pytest.approx({"iou": 70, "found": 25})
    assert matched_iou(matches, min_score=0.7)["classes"]["a"]["iou"] == pytest.approx(80)
