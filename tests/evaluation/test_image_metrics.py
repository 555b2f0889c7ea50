"""Per-image sums of pixels and detections give the same figures as the evaluation of the whole."""

from project.benchmarks.simulated_matches import simulate_runs
from project.evaluation.image_metrics import detection_metrics, matched_iou_metric, pixel_metrics
from project.evaluation.overlap import matched_iou, overlap
from project.evaluation.precision_recall import at_scores, class_curve
from project.evaluation.uncertainty import estimate

import numpy as np
import pytest


@pytest.fixture(scope="module")
def matches():
    return simulate_runs(np.random.default_rng(0), 40)[0].matches


def figures(statistic) -> dict:
    return {row.class_name: row for row in estimate(statistic, num_resamples=20)}


def test_pixel_metrics_are_those_of_the_summed_matrix():
    names = ("cake", "car", "dog")
    confusion = np.random.default_rng(0).integers(0, 50, (15, 4, 4))
    confusion[:, 2] = 0  # no true pixel of the last class
    whole = overlap(confusion.sum(axis=0), np.zeros(3), np.zeros(3), names)
    iou, dice, accuracy = map(figures, pixel_metrics(range(15), names, confusion))
    for name in names:
        assert iou[name].value == pytest.approx(whole["classes"][name]["iou"], nan_ok=True)
        assert dice[name].value == pytest.approx(whole["classes"][name]["dice"], nan_ok=True)
    assert np.isnan(iou["dog"].value)
    assert iou[""].value == pytest.approx(whole["mean"]["iou"])
    assert list(accuracy) == [""]
    assert accuracy[""].value == pytest.approx(whole["pixel_accuracy"])
    assert accuracy[""].low < accuracy[""].value < accuracy[""].high


def test_matched_iou_is_that_of_the_whole(matches):
    whole, rows = matched_iou(matches, 0.3), figures(matched_iou_metric(matches, 0.3))
    assert rows[""].value == pytest.approx(whole["mean"]["iou"])
    for name, row in whole["classes"].items():
        assert rows[name].value == pytest.approx(row["iou"])


def test_precision_recall_and_f1_are_the_curves_at_the_scores(matches):
    least = [0.2, 0.4, 0.6, 0.5]
    found = list(map(figures, detection_metrics(matches, least, iou_threshold=0.75)))
    for k, name in enumerate(matches.class_names):
        expected = at_scores(class_curve(matches, k, 0.75), np.array([least[k]]))
        values = [rows[name].value / 100 for rows in found]
        assert values == pytest.approx([float(value[0]) for value in expected])


def test_no_detections():
    empty = simulate_runs(np.random.default_rng(0), 30)[0].matches
    precision, recall, f1 = (figures(s)["person"] for s in detection_metrics(empty, 1.5))
    assert str(precision) == "–"
    assert np.isnan(precision.standard_error)
    assert (recall.value, recall.high, f1.value) == (0, 0, 0)
