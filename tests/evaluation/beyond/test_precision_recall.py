"""Curves, F1 and best thresholds: by hand, and AP against pycocotools."""

from __future__ import annotations

import contextlib
import io
import warnings

from project.evaluation.average_precision import average_precision
from project.evaluation.evaluate import match
from project.evaluation.precision_recall import (
    at_scores,
    best_threshold,
    class_curve,
    curve,
    precision_recall,
)

import numpy as np
import pytest

# Five detections, four objects; the two of score 0.8 are kept or dropped together.
SCORE = np.array([0.9, 0.8, 0.8, 0.6, 0.3])
TRUE = np.array([True, False, True, True, False])


def test_a_curve_by_hand():
    found = curve(SCORE, TRUE, 4)
    assert found.score.tolist() == [0.9, 0.8, 0.6, 0.3]
    assert found.precision == pytest.approx([1, 2 / 3, 3 / 4, 3 / 5])
    assert found.recall == pytest.approx([1 / 4, 2 / 4, 3 / 4, 3 / 4])
    # 2 * true / (detections + objects).
    assert found.f1 == pytest.approx([2 / 5, 4 / 7, 6 / 8, 6 / 9])


def test_the_best_threshold_by_hand():
    best = best_threshold(curve(SCORE, TRUE, 4))
    assert (best.score, best.precision, best.recall, best.f1) == (0.6, 0.75, 0.75, 0.75)


def test_of_equal_f1_the_highest_score_is_best():
    # F1 at 0.9: 2 / (1 + 2); at 0.2: 4 / (4 + 2). Both are 2/3.
    found = curve(np.array([0.9, 0.5, 0.4, 0.2]), np.array([True, False, False, True]), 2)
    assert found.f1[[0, 3]] == pytest.approx([2 / 3, 2 / 3])
    assert best_threshold(found).score == 0.9


def test_average_precision_by_hand():
    # Best precision from there on: 1 for recalls up to 0.25 (26 points), 0.75 up to 0.75 (50).
    assert average_precision(SCORE, TRUE, 4) == pytest.approx((26 * 1 + 50 * 0.75) / 101)


def test_curves_against_the_score_are_steps():
    precision, recall, f1 = at_scores(curve(SCORE, TRUE, 4), np.array([0.0, 0.3, 0.61, 0.8, 0.95]))
    assert precision == pytest.approx([3 / 5, 3 / 5, 2 / 3, 2 / 3, np.nan], nan_ok=True)
    assert recall == pytest.approx([3 / 4, 3 / 4, 1 / 2, 1 / 2, 0])
    assert f1 == pytest.approx([2 / 3, 2 / 3, 4 / 7, 4 / 7, 0])


def test_nothing_detected():
    found = curve(np.zeros(0), np.zeros(0, bool), 3)
    best = best_threshold(found)
    assert np.isnan(best.score)
    assert best.f1 == 0
    assert average_precision(np.zeros(0), np.zeros(0, bool), 3) == 0
    assert at_scores(found, np.array([0.5]))[1] == [0]


def test_no_objects():
    found = curve(SCORE, np.zeros(5, bool), 0)
    assert found.precision.tolist() == [0] * 4
    assert np.isnan(found.f1).all()
    assert np.isnan(best_threshold(found).f1)
    assert np.isnan(average_precision(SCORE, np.zeros(5, bool), 0))
    precision, recall, f1 = at_scores(found, np.array([0.5, 1.0]))
    assert precision == pytest.approx([0, np.nan], nan_ok=True)
    assert np.isnan(recall).all()
    assert np.isnan(f1).all()


def test_ignored_detections_are_no_errors(make_matches):
    matches = make_matches([(0, 0.9, 2, False), (0, 0.8, 0, True), (0, 0.7, 1, False)], [2])
    assert class_curve(matches, 0, 0.5).precision.tolist() == [1, 1]
    assert class_curve(matches, 0, 0.75).precision.tolist() == [1, 0.5]
    with pytest.raises(ValueError, match=r"no matches at IoU 0.6; they have 0.5, 0.75"):
        class_curve(matches, 0, 0.6)


def test_the_summary_is_in_percent(make_matches):
    rows = [(0, 0.9, 2, False), (0, 0.4, 0, False), (1, 0.3, 0, False)]
    found = precision_recall(make_matches(rows, [1, 2, 0]))
    assert found["classes"]["a"]["ap"] == 100
    assert found["classes"]["a"]["best"] == {
        "score": 0.9,
        "precision": 100,
        "recall": 100,
        "f1": 100,
    }
    assert found["classes"]["b"]["ap"] == 0
    assert np.isnan(found["classes"]["c"]["ap"])
    assert found["classes"]["c"]["objects"] == 0
    # The mean of a's and b's F1, 100 and 0, is largest from 0.41 to 0.9.
    assert found["overall"]["best"] == {"score": 0.9, "f1": 50}
    assert found["overall"]["f1"][40] == pytest.approx(100 / 3)  # a: 2 / (2 + 1)
    assert len(found["recalls"]) == len(found["classes"]["a"]["precision_at_recall"]) == 101


def test_no_class_has_objects(make_matches):
    overall = precision_recall(make_matches([(0, 0.9, 0, False)], [0]))["overall"]
    assert np.isnan(overall["f1"]).all()
    assert np.isnan(overall["best"]["score"])


@pytest.mark.parametrize("seed", range(3))
def test_ap_equals_pycocotools(random_scene, seed):
    scene = random_scene(seed, crowds=1)
    found = precision_recall(match(scene.annotations, scene.results))["classes"]
    expected = _pycocotools_precision(scene)
    for k, name in enumerate(("cat", "dog", "cow")):
        assert found[name]["precision_at_recall"] == pytest.approx(100 * expected[:, k], abs=1e-9)


def _pycocotools_precision(scene) -> np.ndarray:
    """[101, K] at IoU 0.5."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        truth = COCO()
        truth.dataset = scene.annotations
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes([dict(r) for r in scene.results]), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][0, :, :, 0, -1]
