"""The confusion matrix of masks: by hand, and against hotcoco."""

from __future__ import annotations

import json

from project.evaluation.confusion import MaskConfusion, confusion
from project.evaluation.image_masks import greedy_match, image_masks

import numpy as np
import pytest


def matrix_of(scene, **options) -> np.ndarray:
    counted = MaskConfusion(len(scene.annotations["categories"]), **options)
    for image in image_masks(scene.annotations, scene.results):
        counted.update(image)
    return counted.matrix


def test_rows_choose_in_turn():
    iou = np.array([[0.6, 0.9], [0.7, 0.8], [0.55, 0.5], [0.0, 0.4]])
    # The first takes column 1, the second has column 0 left, nothing is left for the third.
    assert greedy_match(iou).tolist() == [1, 0, -1, -1]


def test_of_equal_columns_the_last_is_taken():
    assert greedy_match(np.array([[0.7, 0.7, 0.2]])).tolist() == [1]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (2, 0)])
def test_nothing_to_match(shape):
    assert greedy_match(np.zeros(shape)).tolist() == [-1] * shape[0]


def test_by_hand(scene):
    made = scene()
    made.object(0, (0, 0, 10, 10))
    made.object(0, (15, 0, 25, 10))
    made.object(1, (0, 12, 8, 20))
    made.detect(0, 0.9, (0, 0, 10, 9))  # the first cat
    made.detect(1, 0.8, (15, 0, 25, 9))  # the second cat, taken for a dog
    made.detect(0, 0.7, (15, 0, 25, 10))  # fits it better and comes too late
    made.detect(1, 0.4, (0, 12, 8, 20))  # the dog, below the threshold
    assert matrix_of(made).tolist() == [[1, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert matrix_of(made, score_threshold=[0.75, 0.3]).tolist() == [
        [1, 1, 0],
        [0, 1, 0],
        [0, 0, 0],
    ]


def test_iou_at_the_threshold_is_enough(scene):
    made = scene()
    made.object(0, (0, 0, 10, 10))
    made.detect(0, 0.9, (0, 0, 10, 5))
    assert matrix_of(made)[0].tolist() == [1, 0, 0]
    assert matrix_of(made, iou_threshold=0.51)[0].tolist() == [0, 0, 1]


def test_a_crowd_takes_what_has_no_object(scene):
    made = scene()
    made.object(0, (0, 0, 20, 20), crowd=1)
    made.object(1, (0, 0, 5, 5))
    made.detect(1, 0.9, (0, 0, 5, 5))  # its object comes first
    made.detect(1, 0.8, (10, 10, 15, 15))  # in the crowd, though it is one of another class
    made.detect(1, 0.7, (22, 0, 30, 5))
    assert matrix_of(made).tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 0]]


def test_rows_add_up_to_objects(random_scene):
    made = random_scene(3, crowds=1)
    objects = [
        a["category_id"] // 10 - 1 for a in made.annotations["annotations"] if not a["iscrowd"]
    ]
    assert matrix_of(made)[:3].sum(1).tolist() == np.bincount(objects, minlength=3).tolist()


@pytest.mark.parametrize("seed", range(3))
def test_equals_hotcoco(random_scene, tmp_path, seed):
    from hotcoco import COCO, COCOeval

    made = random_scene(seed)
    (tmp_path / "truth.json").write_text(json.dumps(made.annotations))
    (tmp_path / "found.json").write_text(json.dumps(made.results))
    truth = COCO(str(tmp_path / "truth.json"))
    evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / "found.json")), "segm")
    expected = evaluation.confusion_matrix(iou_thr=0.5, max_det=1000, min_score=0.3)["matrix"]
    found = matrix_of(made, score_threshold=0.3)
    assert found.tolist() == expected.tolist()
    assert np.trace(found) > 5


def test_percent_of_truth():
    found = confusion(np.array([[3, 1, 0], [0, 0, 0], [2, 0, 0]]), ("cat", "dog"))
    assert found["percent_of_truth"][0] == [75, 25, 0]
    assert np.isnan(found["percent_of_truth"][1:]).all()
    assert found["counts"][2] == [2, 0, 0]


@pytest.mark.parametrize("images", [0, 2])
def test_nothing_there(scene, images):
    assert matrix_of(scene(images=images)).sum() == 0


def test_no_detections(scene):
    made = scene()
    made.object(1, (0, 0, 4, 4))
    assert matrix_of(made).tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]
