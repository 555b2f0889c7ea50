"""All figures at once: they agree with each other, go into JSON, and stand up to emptiness."""

from __future__ import annotations

import json

from project.errors import UserError
from project.evaluation.errors import LABELS
from project.evaluation.evaluate import evaluate_results
from project.evaluation.judge import examine, judge

import numpy as np
import pytest

PARTS = {
    "overlap",
    "matched_iou",
    "precision_recall",
    "confusion",
    "calibration",
    "errors",
    "slices",
}


def test_the_figures_agree(random_scene):
    made = random_scene(1, crowds=1)
    found = judge(made.annotations, made.results)
    json.dumps(found)
    assert set(found) >= PARTS
    expected = evaluate_results(made.annotations, made.results)
    assert found["errors"]["ap"] == pytest.approx(expected["AP50"])
    classes = found["precision_recall"]["classes"]
    for name in ("cat", "dog", "cow"):
        assert classes[name]["ap"] == pytest.approx(expected[f"AP50-{name}"])
        assert found["errors"]["classes"][name]["ap"] == pytest.approx(classes[name]["ap"])
    objects = sum(not a["iscrowd"] for a in made.annotations["annotations"])
    assert found["objects"] == objects
    assert np.sum(found["confusion"]["counts"][:3]) == objects
    for question in found["slices"].values():
        assert sum(part["objects"] for part in question.values()) == objects


def test_rows_of_matches_and_errors_are_the_same(random_scene):
    made = random_scene(2, crowds=1)
    found = examine(made.annotations, made.results)
    records, matches = found.records, found.matches
    assert np.array_equal(records.scores, matches.score)
    assert np.array_equal(records.classes, matches.category)
    assert np.array_equal(records.image_ids, matches.image_ids[matches.image])
    assert np.array_equal(records.labels == LABELS.index("true"), matches.matched[0])
    assert np.array_equal(records.labels == LABELS.index("ignored"), matches.ignored[0])
    scores = [made.results[row]["score"] for row in records.rows]
    assert np.array_equal(scores, matches.score)
    about = records.object_ids[records.about[matches.matched[0]]]
    assert np.array_equal(about, matches.object_id[0][matches.matched[0]])


def test_both_backends_agree(random_scene):
    made = random_scene(3, crowds=1)
    found = [judge(made.annotations, made.results, backend=b) for b in ("hotcoco", "pycocotools")]
    assert json.dumps(found[0]) == json.dumps(found[1])


def test_files_thresholds_and_limits(random_scene, tmp_path):
    made = random_scene(4)
    (tmp_path / "truth.json").write_text(json.dumps(made.annotations))
    (tmp_path / "found.json").write_text(json.dumps(made.results))
    found = judge(
        tmp_path / "truth.json",
        tmp_path / "found.json",
        score_threshold=[0.2, np.nan, 0.6],
        max_detections=2,
    )
    assert found["score_threshold"] == pytest.approx(
        {"cat": 0.2, "dog": np.nan, "cow": 0.6}, nan_ok=True
    )
    assert 0 < found["detections"] < len(made.results)
    counts = np.array(found["confusion"]["counts"])
    assert counts[:, 1].sum() == 0
    assert counts[:, 0].sum() > 0


def test_matches_that_are_there_already(random_scene):
    made, other = random_scene(5), random_scene(6)
    matches = examine(made.annotations, made.results).matches
    assert examine(made.annotations, made.results, matches=matches).matches is matches
    with pytest.raises(ValueError, match="make both of the same files"):
        judge(other.annotations, other.results, matches=matches)


def test_thresholds_of_other_classes(scene):
    with pytest.raises(UserError, match=r"3 score thresholds for 2 classes \(cat, dog\); give one"):
        judge(scene().annotations, [], score_threshold=[0.1, 0.2, 0.3])


def test_boxes_alone_can_not_be_judged(scene):
    made = scene()
    made.detect(0, 0.9, (0, 0, 5, 5))
    del made.results[0]["segmentation"]
    with pytest.raises(UserError, match="entry 0 has no segmentation"):
        judge(made.annotations, made.results)


def headline(found: dict) -> list[float]:
    return [
        found["overlap"]["mean"]["iou"],
        found["matched_iou"]["mean"]["found"],
        found["precision_recall"]["overall"]["best"]["f1"],
        found["errors"]["ap"],
    ]


@pytest.mark.parametrize("images, detections", [(0, 0), (2, 0), (2, 1)])
def test_no_objects(scene, images, detections):
    made = scene(images=images)
    for _ in range(detections):
        made.detect(0, 0.9, (0, 0, 5, 5))
    found = judge(made.annotations, made.results)
    assert (found["images"], found["objects"], found["detections"]) == (images, 0, detections)
    assert np.isnan(headline(found)).all()
    assert found["confusion"]["counts"][2] == [detections, 0, 0]


def test_no_detections(scene):
    made = scene()
    made.object(0, (0, 0, 5, 5))
    found = judge(made.annotations, made.results)
    assert headline(found) == [0, 0, 0, 0]
    assert np.isnan(found["calibration"]["all"]["expected_error"])
    assert np.isnan(found["matched_iou"]["mean"]["iou"])
