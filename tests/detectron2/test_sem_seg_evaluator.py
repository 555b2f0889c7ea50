"""SemSegEvaluator against the golden figures and by hand (contract 13.2)."""

from __future__ import annotations

import itertools
import json
import math

import project  # noqa: F401

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator
from PIL import Image

_numbers = itertools.count()


@pytest.fixture
def register(tmp_path):
    """``register(label_maps, classes, **metadata)`` → dataset name; images im0.jpg, im1.jpg, ..."""
    names = []

    def make(label_maps, classes, **metadata):
        name = f"sem_seg_evaluator_{next(_numbers)}"
        records = []
        for i, labels in enumerate(label_maps):
            file = tmp_path / f"{name}_{i}.png"
            Image.fromarray(np.asarray(labels, dtype=np.uint8)).save(file)
            records.append({"file_name": f"im{i}.jpg", "sem_seg_file_name": str(file)})
        DatasetCatalog.register(name, lambda: records)
        metadata = {"ignore_label": 255, **metadata}
        MetadataCatalog.get(name).set(stuff_classes=list(classes), **metadata)
        names.append(name)
        return name

    yield make
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.pop(name, None)


def scores_of(labels, classes):
    """[K, H, W] scores whose argmax is the label map."""
    labels = torch.as_tensor(np.asarray(labels, dtype=np.int64))
    return torch.nn.functional.one_hot(labels, classes).permute(2, 0, 1).float()


def feed(evaluator, predictions, classes):
    evaluator.reset()
    for i, labels in enumerate(predictions):
        output = {"sem_seg": scores_of(labels, classes)}
        evaluator.process([{"file_name": f"im{i}.jpg"}], [output])
    return evaluator


@pytest.mark.parametrize("case", ["golden_sem", "golden_sem_map"])
def test_golden_results(golden, register, tmp_path, case):
    figures, arrays = golden.json("sem_seg_eval"), golden.npz("sem_seg_eval")
    results, classes = figures["results"], figures["stuff_classes"]
    mapping = {10: 0, 20: 1, 30: 2, 40: 3, 50: 4}
    metadata = {"stuff_dataset_id_to_contiguous_id": mapping} if case.endswith("map") else {}
    metadata["ignore_label"] = figures["ignore_label"]
    name = register([arrays[f"gt{i}"] for i in range(3)], classes, **metadata)
    folder = tmp_path / "out"
    evaluator = SemSegEvaluator(name, False, str(folder))
    found = feed(evaluator, [arrays[f"argmax{i}"] for i in range(3)], len(classes)).evaluate()
    assert list(found) == ["sem_seg"]
    assert list(found["sem_seg"]) == list(results[case])
    for key, value in results[case].items():
        value = math.nan if value is None else value
        assert found["sem_seg"][key] == pytest.approx(value, rel=1e-9, nan_ok=True), key
    assert sorted(file.name for file in folder.iterdir()) == results[case + "_files"]
    written = json.loads((folder / "sem_seg_predictions.json").read_text())
    assert written[0] == results[case + "_json_first"]
    categories = [record["category_id"] for record in written]
    assert categories == results[case + "_json_categories"]


def test_by_hand(register):
    """Two of three labelled pixels of class 0 hit; the ignored pixel counts nowhere."""
    name = register([[[0, 0, 0, 1, 255]]], ["sky", "road", "unseen"])
    results = feed(SemSegEvaluator(name, False), [[[0, 0, 1, 1, 0]]], 3).evaluate()["sem_seg"]
    assert results["IoU-sky"] == pytest.approx(100 * 2 / 3)
    assert results["IoU-road"] == pytest.approx(100 * 1 / 2)
    assert math.isnan(results["IoU-unseen"])
    assert math.isnan(results["ACC-unseen"])
    assert results["mIoU"] == pytest.approx((200 / 3 + 50) / 2)
    assert results["fwIoU"] == pytest.approx((3 * 200 / 3 + 50) / 4)
    assert results["ACC-sky"] == pytest.approx(200 / 3)
    assert results["ACC-road"] == pytest.approx(100)
    assert results["mACC"] == pytest.approx((200 / 3 + 100) / 2)
    assert results["pACC"] == pytest.approx(75)


def test_perfect_prediction(register):
    labels = (np.arange(400).reshape(20, 20) // 130).astype(np.uint8)
    name = register([labels], "abcd")
    results = feed(SemSegEvaluator(name, False), [labels], 4).evaluate()["sem_seg"]
    values = [v for key, v in results.items() if not key.endswith("-d")]
    assert values == pytest.approx([100.0] * len(values))


def test_image_order_does_not_matter_and_reset_forgets(register):
    maps = [np.eye(6, dtype=np.uint8), np.ones((4, 5), dtype=np.uint8)]
    name = register(maps, "ab")
    evaluator = SemSegEvaluator(name, False)
    guesses = [np.zeros((6, 6)), np.tri(4, 5)]
    first = feed(evaluator, guesses, 2).evaluate()
    evaluator.reset()
    for i in (1, 0):
        output = {"sem_seg": scores_of(guesses[i], 2)}
        evaluator.process([{"file_name": f"im{i}.jpg"}], [output])
    assert evaluator.evaluate() == first


def test_other_ignore_label_and_loader(register):
    name = register([[[0, 1, 7]]], "ab", ignore_label=255)
    asked = []

    def load(path, dtype):
        asked.append(dtype)
        return np.array(Image.open(path), dtype=dtype)

    evaluator = SemSegEvaluator(name, False, ignore_label=7, sem_seg_loading_fn=load)
    results = feed(evaluator, [[[0, 1, 1]]], 2).evaluate()["sem_seg"]
    assert results["mIoU"] == pytest.approx(100.0)
    assert asked == [int]


@pytest.mark.bundled  # upstream doesn't notice
def test_labels_outside_the_classes(register):
    name = register([[[0, 1, 9]]], "ab")
    with pytest.raises(AssertionError, match=r"outside 0\.\.1"):
        feed(SemSegEvaluator(name, False), [[[0, 1, 1]]], 2)


def test_number_of_classes_must_agree(register):
    name = register([[[0, 1]]], "ab")
    with pytest.raises(AssertionError):
        SemSegEvaluator(name, False, num_classes=3)


@pytest.mark.bundled
def test_nothing_processed_is_nan(register):
    evaluator = SemSegEvaluator(register([[[0, 1]]], "ab"), False)
    evaluator.reset()
    results = evaluator.evaluate()["sem_seg"]
    assert all(math.isnan(value) for value in results.values())


def test_too_many_classes_for_boundaries(register):
    """Label differences are uint8, so 255 classes are too many."""
    names = [str(i) for i in range(255)]
    name = register([[[0, 1], [2, 254]]], names, ignore_label=-1)
    results = feed(SemSegEvaluator(name, False), [[[0, 1], [2, 254]]], 255).evaluate()["sem_seg"]
    assert results["mIoU"] == pytest.approx(100.0)
    assert not [key for key in results if "Boundary" in key]


def test_width_of_a_boundary_is_rounded(register):
    """48 x 64 pixels: 2 % of the diagonal of 80 are 1.6, so a boundary is 2 pixels wide."""
    truth, guess = (np.arange(64) >= border for border in (32, 34))
    name = register([np.tile(truth, (48, 1))], "ab")
    results = feed(SemSegEvaluator(name, False), [np.tile(guess, (48, 1))], 2).evaluate()
    # Frames of 48 x 32 and of 48 x 30 pixels, which share all but their left sides.
    true, found = 48 * 32 - 44 * 28, 48 * 30 - 44 * 26
    shared = 4 * 30 + 2 * 44
    iou = shared / (true + found - shared)
    assert results["sem_seg"]["BoundaryIoU-b"] == pytest.approx(100 * iou)
