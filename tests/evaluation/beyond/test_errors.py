"""TIDE: types and oracles worked out by hand from the paper, and against hotcoco."""

from __future__ import annotations

import json

from project.evaluation.errors import (
    LABELS,
    SPECIAL,
    TYPES,
    ErrorTypes,
    errors,
    label_detections,
    oracle_ap,
)
from project.evaluation.image_masks import image_masks

import numpy as np
import pytest


def records_of(scene):
    types = ErrorTypes()
    for image in image_masks(scene.annotations, scene.results):
        types.update(image)
    return types.records()


def table_of(scene) -> dict:
    return errors(records_of(scene), [c["name"] for c in scene.annotations["categories"]])


def labels_of(scene) -> list[tuple[float, str, int]]:
    """(score, label, id of the object it is about, 0 for none), by falling score."""
    found = records_of(scene)
    about = [int(found.object_ids[a]) if a >= 0 else 0 for a in found.about]
    labels = [LABELS[i] for i in found.labels]
    return sorted(zip(found.scores.tolist(), labels, about, strict=True), reverse=True)


CAT, DOG = (0, 0, 10, 10), (15, 0, 25, 10)


def test_every_type_by_hand(scene):
    made = scene()
    cat, dog = made.object(0, CAT), made.object(1, DOG)
    made.detect(0, 0.9, CAT)
    made.detect(0, 0.8, (0, 0, 10, 8))  # IoU 0.8 with a cat that is taken
    made.detect(0, 0.7, (0, 0, 10, 3))  # IoU 0.3 with the cat
    made.detect(0, 0.6, (15, 0, 25, 9))  # IoU 0.9 with the dog
    made.detect(0, 0.5, (15, 0, 25, 3))  # IoU 0.3 with the dog
    made.detect(0, 0.4, (0, 15, 5, 20))  # nothing there
    assert labels_of(made) == [
        (0.9, "true", cat),
        (0.8, "dupe", cat),
        (0.7, "loc", cat),
        (0.6, "cls", dog),
        (0.5, "both", dog),
        (0.4, "bkg", 0),
    ]
    found = records_of(made)
    assert found.undetected.tolist() == [False, True]
    assert not found.missed.any()  # the dog was seen, under a wrong name
    assert found.rows.tolist() == [0, 1, 2, 3, 4, 5]


def labels(iou, classes, object_classes, in_crowd=None) -> list[str]:
    iou, classes = np.array(iou, float), np.array(classes)
    in_crowd = np.zeros(len(iou)) if in_crowd is None else np.array(in_crowd)
    found, _ = label_detections(iou, classes, np.array(object_classes), in_crowd)
    return [LABELS[i] for i in found]


def test_bounds():
    assert labels([[0.5]], [0], [0]) == ["true"]
    assert labels([[0.9], [0.51]], [0, 0], [0]) == ["true", "dupe"]
    assert labels([[0.9], [0.5]], [0, 0], [0]) == ["true", "loc"]
    assert labels([[0.1]], [0], [0]) == ["loc"]
    assert labels([[0.09]], [0], [0]) == ["bkg"]
    assert labels([[0.5]], [1], [0]) == ["cls"]
    assert labels([[0.49]], [1], [0]) == ["both"]
    assert labels([[0.1]], [1], [0]) == ["bkg"]


def test_the_order_of_rules():
    assert labels([[0.3, 0.8]], [0], [0, 1]) == ["loc"]  # not cls
    assert labels([[0.9, 0.0], [0.6, 0.7]], [0, 0], [0, 1]) == ["true", "cls"]  # not dupe
    assert labels([[0.05, 0.3]], [0], [0, 1]) == ["both"]  # not bkg


def test_what_lies_in_a_crowd_is_ignored():
    assert labels([[0.3], [0.9]], [0, 0], [0], [0.5, 1.0]) == ["ignored", "true"]


def test_a_crowd_of_another_class_excuses_nothing(scene):
    made = scene()
    made.object(1, (0, 0, 30, 20), crowd=1)
    made.detect(0, 0.9, CAT)
    made.detect(1, 0.8, CAT)
    assert labels_of(made) == [(0.9, "bkg", 0), (0.8, "ignored", 0)]


def only(table, **gains):
    """The dAP of a table is that of ``gains``, and 0 for the types not named."""
    expected = {name: gains.get(name, 0.0) for name in TYPES + SPECIAL}
    assert table["dap"] == pytest.approx(expected)


def test_a_better_mask_gains(scene):
    made = scene()
    made.object(0, CAT)
    made.object(0, DOG)
    made.detect(0, 0.9, CAT)
    made.detect(0, 0.8, (0, 15, 5, 20))
    made.detect(0, 0.7, (15, 0, 25, 3))
    table = table_of(made)
    # True, false, false of two objects: precision 1 at the 51 recalls up to 0.5.
    assert table["ap"] == pytest.approx(100 * 51 / 101)
    # Repaired: true, false, true: 2/3 at the 50 other recalls. Both found: 1 at all of them.
    only(table, loc=100 * 50 * 2 / 3 / 101, fn=100 * 50 / 101)
    assert table["counts"] == {"cls": 0, "loc": 1, "both": 0, "dupe": 0, "bkg": 1, "miss": 0}


def test_the_right_class_gains(scene):
    made = scene()
    made.object(0, CAT)
    made.object(1, DOG)
    made.detect(0, 0.9, CAT)
    made.detect(0, 0.8, DOG)
    table = table_of(made)
    assert table["ap"] == 50
    assert table["dap"]["cls"] == 50
    assert table["dap"]["miss"] == 0
    # Nothing but the dog was to be found, and nothing was detected as one: it leaves the mean.
    assert table["dap"]["fn"] == 50
    assert table["classes"]["dog"]["dap"]["cls"] == 100
    assert table["classes"]["dog"]["counts"]["cls"] == 0  # counted where it was detected: as a cat
    assert table["classes"]["cat"]["counts"]["cls"] == 1


def test_background_off_gains(scene):
    made = scene()
    made.object(0, CAT)
    made.detect(0, 0.9, (15, 0, 20, 5))
    made.detect(0, 0.8, CAT)
    table = table_of(made)
    assert table["ap"] == pytest.approx(50)
    only(table, bkg=50, fp=50)
    assert np.isnan(table["classes"]["dog"]["ap"])
    assert np.isnan(table["classes"]["dog"]["dap"]["bkg"])


def test_duplicates_off_gain(scene):
    made = scene()
    made.object(0, CAT)
    made.object(0, DOG)
    made.detect(0, 0.9, CAT)
    made.detect(0, 0.8, (0, 0, 10, 9))
    made.detect(0, 0.7, DOG)
    # True, false, true of two: 2/3 instead of 1 at 50 recalls.
    only(table_of(made), dupe=100 * 50 / 3 / 101, fp=100 * 50 / 3 / 101)


def test_wrong_in_both_ways_off_gains(scene):
    made = scene()
    made.object(0, CAT)
    made.object(1, DOG)
    made.detect(0, 0.9, (15, 0, 25, 3))
    made.detect(0, 0.8, CAT)
    made.detect(1, 0.5, DOG)
    only(table_of(made), both=25, fp=25)


def test_no_misses_gain(scene):
    made = scene()
    made.object(0, CAT)
    made.object(0, DOG)
    made.detect(0, 0.9, CAT)
    only(table_of(made), miss=100 * 50 / 101, fn=100 * 50 / 101)


@pytest.mark.parametrize("name, k, near", [("cls", 1, DOG), ("loc", 0, (15, 0, 25, 4))])
def test_of_two_repairs_of_an_object_the_higher_score_stays(scene, name, k, near):
    made = scene()
    made.object(0, DOG)
    made.detect(k, 0.9, near)
    made.detect(k, 0.8, near)
    made.detect(0, 0.7, CAT)
    found = records_of(made)
    # True, false of one object; the second repair is dropped, or it would be a third detection.
    assert oracle_ap(found, 2, name)[0] == 1
    made.object(0, CAT)
    # True, true of two.
    assert oracle_ap(records_of(made), 2, name)[0] == 1


def test_a_repair_that_doubles_a_match_drops_the_lower_score(scene):
    made = scene()
    made.object(1, DOG)
    made.detect(0, 0.9, DOG)  # taken for a cat
    made.detect(1, 0.6, CAT)
    made.detect(1, 0.3, DOG)
    table = table_of(made)
    # Before: false, true. Then the repaired one is true at 0.9, and its double at 0.3 goes.
    assert table["ap"] == pytest.approx(50)
    assert table["dap"]["cls"] == pytest.approx(50)
    # With the scores the other way round, the repaired one goes.
    made.results[0]["score"], made.results[2]["score"] = 0.3, 0.9
    table = table_of(made)
    assert table["ap"] == 100
    assert table["dap"]["cls"] == 0


def test_a_class_with_nothing_left_to_ask_for(scene):
    made = scene()
    made.object(0, CAT)
    made.object(1, DOG)
    made.detect(0, 0.9, CAT)
    assert oracle_ap(records_of(made), 2, "miss") == pytest.approx([1, np.nan], nan_ok=True)
    made.detect(1, 0.9, (0, 15, 5, 20))  # a false dog
    assert oracle_ap(records_of(made), 2, "miss").tolist() == [1, 0]


@pytest.mark.parametrize("seed", range(3))
def test_equals_hotcoco(random_scene, tmp_path, seed):
    from hotcoco import COCO, COCOeval

    made = random_scene(seed)
    (tmp_path / "truth.json").write_text(json.dumps(made.annotations))
    (tmp_path / "found.json").write_text(json.dumps(made.results))
    truth = COCO(str(tmp_path / "truth.json"))
    evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / "found.json")), "segm")
    evaluation.evaluate()
    expected = evaluation.tide_errors()
    table = table_of(made)
    assert table["ap"] == pytest.approx(100 * expected["ap_base"])
    assert table["counts"] == {n.lower(): count for n, count in expected["counts"].items()}
    assert min(table["counts"].values()) > 0
    # The repairs of these two differ where objects are aimed at more than once (see the module).
    for name in set(TYPES + SPECIAL) - {"cls", "loc"}:
        key = {"fp": "FP", "fn": "FN"}.get(name, name.title())
        assert table["dap"][name] == pytest.approx(100 * expected["delta_ap"][key], abs=1e-9)


@pytest.mark.parametrize("images", [0, 2])
def test_nothing_there(scene, images):
    table = table_of(scene(images=images))
    assert np.isnan(table["ap"])
    assert np.isnan(list(table["dap"].values())).all()
    assert set(table["counts"].values()) == {0}


def test_no_detections(scene):
    made = scene()
    made.object(0, CAT)
    table = table_of(made)
    assert table["ap"] == 0
    assert table["counts"]["miss"] == 1
    assert table["dap"]["cls"] == 0
    assert np.isnan(table["dap"]["fn"])  # nothing found, nothing to ask for
