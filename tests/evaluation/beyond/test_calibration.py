"""Reliability: by hand, and against hotcoco."""

from __future__ import annotations

import json

from project.errors import UserError
from project.evaluation.calibration import calibration, reliability
from project.evaluation.evaluate import match

import numpy as np
import pytest


def test_bins_by_hand():
    score = np.array([0.1, 0.2, 0.5, 0.9, 1.0])
    found = reliability(score, np.array([0, 1, 0, 1, 1], bool), num_bins=2)
    assert found.counts.tolist() == [2, 3]  # 0.5 is in the upper bin, and so is 1
    assert found.confidence == pytest.approx([0.15, 0.8])
    assert found.precision == pytest.approx([1 / 2, 2 / 3])
    assert found.expected_error == pytest.approx((2 * 0.35 + 3 * (0.8 - 2 / 3)) / 5)
    assert found.largest_error == pytest.approx(0.35)
    assert found.overconfidence == pytest.approx((2 * -0.35 + 3 * (0.8 - 2 / 3)) / 5)


def test_scores_that_keep_their_promise_have_no_error():
    score = np.repeat([0.25, 0.75], 4)
    true = np.array([1, 0, 0, 0, 1, 1, 1, 0], bool)
    assert reliability(score, true).expected_error == 0


def test_no_detections():
    found = reliability(np.zeros(0), np.zeros(0, bool))
    assert found.counts.tolist() == [0] * 10
    assert np.isnan(found.precision).all()
    assert np.isnan([found.expected_error, found.largest_error, found.overconfidence]).all()


@pytest.mark.parametrize("score", [-0.1, 1.5, np.nan])
def test_a_score_must_be_a_probability(score):
    with pytest.raises(UserError, match=r"is no probability; scores must be 0-1"):
        reliability(np.array([0.5, score]), np.zeros(2, bool))


def test_classes_and_ignored_detections(make_matches):
    rows = [(0, 0.95, 2, False), (0, 0.92, 0, True), (1, 0.15, 0, False)]
    found = calibration(make_matches(rows, [1, 1, 0]))
    assert found["all"]["counts"] == [0, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert found["all"]["expected_error"] == pytest.approx((5 + 15) / 2)
    assert found["classes"]["a"]["expected_error"] == pytest.approx(5)
    assert found["classes"]["a"]["overconfidence"] == pytest.approx(-5)
    assert found["classes"]["b"]["overconfidence"] == pytest.approx(15)
    assert np.isnan(found["classes"]["c"]["expected_error"])
    assert found["edges"][1] == 10


def test_equals_hotcoco(random_scene, tmp_path):
    from hotcoco import COCO, COCOeval

    scene = random_scene(5)
    (tmp_path / "truth.json").write_text(json.dumps(scene.annotations))
    (tmp_path / "found.json").write_text(json.dumps(scene.results))
    truth = COCO(str(tmp_path / "truth.json"))
    evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / "found.json")), "segm")
    evaluation.evaluate()
    expected = evaluation.calibration(n_bins=10, iou_threshold=0.5)
    found = calibration(match(scene.annotations, scene.results))
    assert found["all"]["expected_error"] == pytest.approx(100 * expected["ece"])
    assert found["all"]["largest_error"] == pytest.approx(100 * expected["mce"])
    assert sum(found["all"]["counts"]) == expected["num_detections"]
    for name, error in expected["per_category"].items():
        assert found["classes"][name]["expected_error"] == pytest.approx(100 * error)
