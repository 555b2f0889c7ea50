"""Best scores, quality of images, what is shown first, and the words for it."""

import json
from pathlib import Path
from types import SimpleNamespace

from project.errors import UserError
from project.evaluation.matches import Matches
from project.evaluation.paired import Difference
from project.evaluation.uncertainty import Estimate
from project.visualization.records import BoxMask, DrawnObject
from project.visualization.report.files import write_thresholds
from project.visualization.report.gallery import mask_iou, take_turns
from project.visualization.report.judged import best_thresholds, detection_counts, image_quality
from project.visualization.report.pictures import Pictures
from project.visualization.report.shared import run_names
from project.visualization.report.tables import csv_text
from project.visualization.report.training_charts import MAX_POINTS, thinned
from project.visualization.report.whole_images import changed_images, extreme_images
from project.visualization.report.words import between, not_shown, p_words, rounded, stale, verdict

import numpy as np
import pytest


def some_matches() -> Matches:
    """Three images, classes "a" and "b"; image 2 is empty."""
    matched = np.array([[True, False, True, False]])
    return Matches(
        class_names=("a", "b"),
        image_ids=np.array([5, 6, 7]),
        iou_thresholds=np.array([0.5]),
        image=np.array([0, 0, 1, 1], np.int32),
        category=np.array([0, 0, 0, 1], np.int32),
        score=np.array([0.9, 0.4, 0.7, 0.8]),
        matched=matched,
        ignored=np.zeros((1, 4), bool),
        object_id=matched.astype(np.int64),
        iou=np.array([0.8, 0, 0.6, 0]),
        num_objects=np.array([[1, 1], [1, 0], [0, 0]], np.int32),
    )


def test_best_scores():
    # Class a: dropping the detection of 0.4 leaves two right ones of two objects. Class b: none
    # was found, so no score is best.
    assert best_thresholds(some_matches()).tolist() == [0.7, 0.5]


def test_panoptic_quality_of_images():
    # Image 5: IoU 0.8, one of two objects found: 0.8 / (1 + 1/2). Image 6: one found, one false.
    quality = image_quality(some_matches(), np.array([0.7, 0.5]))
    np.testing.assert_allclose(quality, [0.8 / 1.5, 0.6 / 1.5, np.nan])
    # With the detection of 0.4, one more false one.
    assert image_quality(some_matches(), np.zeros(2))[0] == pytest.approx(0.8 / 2)


def test_detections_of_images():
    right, wrong = detection_counts(some_matches(), np.array([0.7, 0.5]))
    assert right.tolist() == [1, 1, 0]
    assert wrong.tolist() == [0, 1, 0]
    assert detection_counts(some_matches(), np.zeros(2))[1].tolist() == [1, 1, 0]


def ranked(*quality):
    return SimpleNamespace(
        quality=np.array(quality),
        matches=SimpleNamespace(image_ids=np.arange(10, 10 + len(quality))),
    )


def test_worst_and_best_images_are_not_the_same():
    nan = float("nan")
    found = extreme_images(ranked(0.5, 0.1, nan, 0.9), 6)
    assert found == {"The worst images": [11], "The best images": [13]}
    assert extreme_images(ranked(nan), 6) == {"The worst images": [], "The best images": []}


def test_images_that_changed():
    found = changed_images(ranked(0.5, 0.5, 0.5, float("nan")), ranked(0.6, 0.5, 0.1, 0.3), 2)
    assert found == {"Where it got worse": [12], "Where it got better": [13, 10]}


def test_turns():
    assert list(take_turns(["abc", "", "d"])) == ["a", "d", "b", "c"]
    assert list(take_turns([])) == []


def a_square(x: int, y: int, side: int) -> DrawnObject:
    mask = BoxMask(np.ones((side, side), bool), x, y) if side else None
    return DrawnObject(0, "a", (x, y, x + side, y + side), mask)


def test_iou_of_masks():
    assert mask_iou(a_square(0, 0, 4), a_square(2, 0, 4)) == pytest.approx(8 / 24)
    assert mask_iou(a_square(0, 0, 2), a_square(5, 5, 2)) == 0
    assert mask_iou(a_square(0, 0, 2), a_square(0, 0, 0)) == 0


def difference(value, low, high, p, needed=None, note=""):
    return Difference("AP", "", 50, 50 + value, value, low, high, 1, p, p, needed, 40, note)


@pytest.mark.parametrize(
    "found, words",
    [
        (difference(3, 1, 5, 0.01), "(95 % interval +1.0 to +5.0, p = 0.010): new is better"),
        (difference(-3, -5, -1, 0.0004), "p < 0.001): old is better"),
        (difference(-3, -5, -1, 0.0004), "new has 3.0 points less mask AP than old (95 %"),
        (difference(1, -1, 3, 0.3, 1234), "these images can't tell them apart"),
        (difference(1, -1, 3, 0.3, 1234), "about 1,300 like them would show it"),
        (difference(0, 0, 0, 1), "p = 1.00): no difference."),
        (difference(1, np.nan, np.nan, np.nan, note="too few images"), "but too few images"),
        (difference(np.nan, np.nan, np.nan, np.nan), "isn't defined for both"),
    ],
)
def test_verdicts(found, words):
    assert words in verdict(found, "mask AP", ["old", "new"])


def test_figures_in_words():
    nan = float("nan")
    found = Estimate("AP", "", 32.55, 30, 35.84, 1, 40)
    assert between(found) == "32.5 (95 % interval 30.0 to 35.8)"
    assert between(Estimate("AP", "", 32, nan, nan, nan, 4, "too few images")) == (
        "32.0 (too few images)"
    )
    assert between(Estimate("AP", "", nan, nan, nan, nan, 0, "no objects")) == "not defined"


@pytest.mark.parametrize(
    "recorded, words",
    [
        ({"results": {"segm": {"AP": 32.0}}}, "says mask AP 32.0, but its predictions give 30.0"),
        ({"results": {"segm": {"AP": 30.01}}}, ""),
        ({"results": {"segm": {"AP": None}}}, ""),
        ({"results": {"segm": []}}, ""),
        ({"results": None}, ""),
        ({}, ""),
    ],
)
def test_predictions_that_are_not_those_of_the_results(recorded, words):
    files = SimpleNamespace(name="x", recorded=recorded)
    found = stale(SimpleNamespace(files=files, metrics={"segm": {"AP": 30.0}}))
    assert words in found
    assert bool(found) == bool(words)
    assert not stale(SimpleNamespace(files=files, metrics={"segm": {"AP": np.nan}}))


def test_what_is_missing_is_said(tmp_path):
    files = SimpleNamespace(
        name="x", folder=tmp_path, metrics=(), sampling={}, environment={"a": 1}
    )
    (tmp_path / "results.json").write_text("{}")
    assert not_shown([SimpleNamespace(files=files)]) == [
        "Not shown: curves of training of x, for metrics.json doesn't exist.",
        "Not shown: sampling report of x, for results.json doesn't hold it.",
    ]


def test_numbers_claim_two_digits():
    assert [rounded(n) for n in (7, 99, 101, 1234, 13950)] == [7, 99, 110, 1300, 14000]
    assert [p_words(p) for p in (0.0001, 0.0123, 0.5)] == ["p < 0.001", "p = 0.012", "p = 0.50"]


def test_runs_of_one_name_are_told_apart():
    runs = [SimpleNamespace(files=SimpleNamespace(name=name)) for name in ("x", "x", "y")]
    assert run_names(runs[:2]) == ["A: x", "B: x"]
    assert run_names(runs[1:]) == ["x", "y"]


def test_long_curves_keep_their_ends():
    x = np.arange(1000.0)
    kept, same = thinned(x, x, smooth=False)
    assert len(kept) == MAX_POINTS
    assert (kept[-1], same[-1]) == (999, 999)
    places, means = thinned(x, np.ones(1000), smooth=True)
    assert len(places) == MAX_POINTS
    assert np.all(means == 1)
    assert thinned(x[:5], x[:5], smooth=True)[0].tolist() == [0, 1, 2, 3, 4]


def test_spreadsheets_run_nothing():
    rows = [{"class": "=cmd()", "value": float("nan")}, {"class": 'a "b", c', "value": -1.5}]
    assert csv_text(rows) == 'class,value\n\'=cmd(),\n"a ""b"", c",-1.5\n'


@pytest.mark.parametrize(
    "record, message",
    [
        ({"file_name": "../../secret.png"}, "image 1: .* leaves the image folder"),
        ({"file_name": "/secret.png"}, "image 1: .* leaves the image folder"),
        ({}, "labels.json is no readable COCO instances file: .*`file_name`"),
    ],
)
def test_only_images_of_the_folder_are_shown(tmp_path, record, message):
    file = tmp_path / "labels.json"
    image = {"id": 1, "height": 5, "width": 5, **record}
    file.write_text(json.dumps({"images": [image], "categories": [], "annotations": []}))
    with pytest.raises(UserError, match=message):
        Pictures(SimpleNamespace(files=SimpleNamespace(annotations=file, image_dir=tmp_path)))


@pytest.fixture
def thresholds(tmp_path):
    (tmp_path / "report").mkdir()

    def write(value: float) -> str:
        run = SimpleNamespace(
            best_scores={"dog": value, "cat": None},
            files=SimpleNamespace(folder=tmp_path),
        )
        return write_thresholds(run, tmp_path / "report")

    return write


def test_thresholds_of_a_report_are_replaced_by_the_next(thresholds, tmp_path):
    assert "takes the classes' thresholds from" in thresholds(0.25)
    assert "takes the classes' thresholds from" in thresholds(0.75)
    assert (tmp_path / "thresholds.json").read_text() == '{\n "dog": 0.75,\n "cat": null\n}\n'


def test_thresholds_that_somebody_wrote_stay(thresholds, tmp_path):
    (tmp_path / "thresholds.json").write_text('{"dog": 0.9}')
    assert "was left as it is" in thresholds(0.25)
    assert "was left as it is" in thresholds(0.25)
    assert (tmp_path / "thresholds.json").read_text() == '{"dog": 0.9}'
    assert json.loads((tmp_path / "report/thresholds.json").read_text())["dog"] == 0.25


def test_thresholds_keep_the_detection_that_they_come_from(thresholds, tmp_path):
    thresholds(0.1234567)
    assert json.loads((tmp_path / "thresholds.json").read_text())["dog"] == 0.123456


def test_thresholds_are_never_half_there(thresholds, tmp_path, monkeypatch):
    def full(file, text, *rest):
        if file.parent == tmp_path:
            write(file, text[:5])
            raise OSError(28, "No space left on device")
        return write(file, text, *rest)

    thresholds(0.25)
    before, write = (tmp_path / "thresholds.json").read_text(), Path.write_text
    monkeypatch.setattr(Path, "write_text", full)
    assert "can't be written (No space left on device)" in thresholds(0.75)
    assert (tmp_path / "thresholds.json").read_text() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report", "thresholds.json"]
