"""The refinement benchmark on a drawn dataset of two images: cases, figures, pictures, errors."""

import importlib.util
import json

from project.benchmarks.refine import judge, measure_refinements
from project.benchmarks.refine_cases import (
    Case,
    Dataset,
    cases_of_results,
    coarse_cases,
    coarsen,
)
from project.benchmarks.refine_pictures import MISSING, TOO_MUCH, draw_errors
from project.errors import UserError

import cv2
import numpy as np
import pytest

COLORS = {1: (220, 60, 60), 2: (60, 80, 230)}


def rectangle(x, y, width, height):
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two images of 60 x 80, each with a square of class 1 and an upright one of class 2."""
    folder = tmp_path_factory.mktemp("drawn")
    annotations = []
    for image_id in (1, 2):
        image = np.random.default_rng(image_id).integers(120, 130, (60, 80, 3), np.uint8)
        for k, (x, y, width, height) in {1: (8, 10, 40, 40), 2: (56, 5, 15, 50)}.items():
            image[y : y + height, x : x + width] = COLORS[k]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": k,
                    "bbox": [x, y, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "segmentation": rectangle(x, y, width, height),
                }
            )
        assert cv2.imwrite(str(folder / f"{image_id}.png"), image[..., ::-1])
    document = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 60, "width": 80} for i in (1, 2)],
        "categories": [{"id": 1, "name": "square"}, {"id": 2, "name": "tall"}],
        "annotations": annotations,
    }
    (folder / "labels.json").write_text(json.dumps(document))
    return Dataset(folder / "labels.json", folder)


def detection(image_id, category_id, box, score=0.9):
    from pycocotools import mask as coco_mask

    rle = coco_mask.frPyObjects(rectangle(*box), 60, 80)[0]
    rle["counts"] = rle["counts"].decode()
    entry = {"image_id": image_id, "category_id": category_id, "bbox": list(box), "score": score}
    return {**entry, "segmentation": rle}


RESULTS = [
    detection(1, 1, (8, 10, 44, 40)),  # 4 columns too many: IoU 10 / 11
    detection(1, 1, (8, 10, 40, 30), score=0.3),  # too unsure
    detection(1, 2, (10, 10, 40, 40)),  # of the wrong class
    detection(2, 2, (56, 5, 15, 25)),  # IoU 0.5
]


def test_masks_of_results(dataset):
    first, second = cases_of_results(dataset, RESULTS)
    assert first.image.shape == (60, 80, 3)
    assert first.image[20, 20].tolist() == list(COLORS[1])
    (case,) = first.cases
    assert case.name == "square"
    assert case.probability.sum() == 1760
    assert case.truth.sum() == 1600
    assert [c.name for c in second.cases] == ["tall"]
    assert judge(case.probability >= 0.5, case)[0] == pytest.approx(10 / 11)


def test_masks_by_class(dataset):
    images = [list(i.cases) for i in cases_of_results(dataset, RESULTS, per="class")]
    assert [[c.name for c in cases] for cases in images] == [["square", "tall"]] * 2
    ious = [[judge(c.probability >= 0.5, c)[0] for c in cases] for cases in images]
    # The wrong class covers 40 x 40 pixels of nothing tall.
    assert ious == [[pytest.approx(10 / 11), 0.0], [0.0, pytest.approx(0.5)]]
    with_unsure = cases_of_results(dataset, RESULTS[1:2], per="class", min_score=0.3)
    assert next(iter(next(with_unsure).cases)).probability.sum() == 1200


def test_a_part_of_the_images(dataset):
    (only,) = cases_of_results(dataset, RESULTS, num_images=1)
    assert only.image_id == 1
    with pytest.raises(UserError, match="0 images; expected at least 1"):
        coarse_cases(dataset, num_images=0)


def test_images_outside_of_the_folder_are_not_read(dataset, tmp_path):
    document = json.loads(dataset.annotations.read_text())
    document["images"][1]["file_name"] = "../secret.png"
    (tmp_path / "labels.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match="labels.json, image 2: .* leaves the image folder"):
        coarse_cases(Dataset(tmp_path / "labels.json", dataset.image_dir))


def test_coarse_masks():
    mask = np.zeros((40, 50), bool)
    mask[4:32, 6:48] = True
    mask[4, 6] = False
    assert coarsen(mask).shape == mask.shape
    assert ((coarsen(mask) >= 0.5) == mask).sum() >= mask.size - 1
    # One cell: the mask's share of the box in its middle, halved towards each side of the box.
    one = coarsen(mask, 1)
    assert one.max() == pytest.approx(1175 / 1176 * (1 - 1 / 56) * (1 - 1 / 84), abs=1 / 255)
    assert one[18, 6] == pytest.approx(0.5, abs=0.02)
    assert one[4, 27] == pytest.approx(0.5, abs=0.02)
    small = np.eye(5, dtype=bool)  # smaller than the grid: nothing is lost
    assert ((coarsen(small) >= 0.5) == small).all()


def test_judge_by_hand():
    truth = np.zeros((20, 20), bool)
    truth[5:15, 5:15] = True
    mask = truth.copy()
    mask[9:11, 9:11] = False  # a hole of 4 in 100
    case = Case("x", np.float32(mask), truth)
    # The band is a pixel wide: 36 pixels of the outline, and the 8 + 4 around the hole less its
    # own 4; the corners beside the hole touch it diagonally.
    assert judge(mask, case) == (0.96, 36 / 48)
    counts = np.ones_like(truth)
    counts[9:11, 9:11] = False
    assert judge(mask, Case("x", case.probability, truth, counts))[0] == 1
    assert judge(np.zeros_like(truth), case) == (0, 0)


def test_figures_and_pictures(dataset, tmp_path):
    images = cases_of_results(dataset, RESULTS)
    figures = measure_refinements(images, ["crf", "holes", "crf"], pictures=tmp_path)
    assert (figures["images"], figures["masks"]) == (2, 2)
    table = figures["refinements"]
    assert list(table) == ["none", "crf", "holes"]
    assert table["none"]["IoU"] == pytest.approx(100 * (10 / 11 + 0.5) / 2, abs=0.01)
    assert "change" not in table["none"]
    assert table["holes"]["change"]["IoU"]["difference"] == 0
    assert table["holes"]["better"] == table["holes"]["worse"] == 0
    gain = table["crf"]["IoU"] - table["none"]["IoU"]
    assert table["crf"]["change"]["IoU"]["difference"] == pytest.approx(gain, abs=0.02)
    assert table["crf"]["change"]["IoU"]["low"] is None  # two images give no interval
    assert table["none"]["by_size"]["small"]["masks"] == 1  # 15 x 50 pixels
    assert table["none"]["by_size"]["medium"]["IoU"] == pytest.approx(90.91)
    assert table["crf"]["ms_per_image"] > 0
    picture = cv2.imread(str(tmp_path / "refinements.png"))
    assert picture.shape[1] > 3 * 260
    assert list(tmp_path.iterdir()) == [tmp_path / "refinements.png"]


def test_coarse_truth_is_measured_without_a_model(dataset):
    figures = measure_refinements(coarse_cases(dataset, grid=28), ["none"])
    assert figures["masks"] == 4
    assert figures["refinements"]["none"]["IoU"] > 95


def test_errors_are_colored():
    image = np.full((1, 4, 3), 100, np.uint8)
    mask, truth = np.array([[1, 1, 0, 0]], bool), np.array([[1, 0, 1, 0]], bool)
    right, too_much, missing, background = draw_errors(image, mask, truth)[0].astype(float)
    assert right.tolist() == [100] * 3
    np.testing.assert_allclose(too_much, 25 + 0.75 * np.array(TOO_MUCH), atol=0.51)
    np.testing.assert_allclose(missing, 25 + 0.75 * np.array(MISSING), atol=0.51)
    assert background.min() > 190


def test_mistakes(dataset, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="unknown refinement 'crv'; did you mean 'crf'"):
        measure_refinements([], ["crv"])
    with pytest.raises(UserError, match="no mask to refine"):
        measure_refinements(cases_of_results(dataset, RESULTS[1:3]))
    with pytest.raises(UserError, match="unknown unit 'pixel'"):
        cases_of_results(dataset, RESULTS, per="pixel")
    with pytest.raises(UserError, match="grid is 0"):
        coarse_cases(dataset, grid=0)
    with pytest.raises(UserError, match=r"COCO results file .*none.json doesn't exist"):
        cases_of_results(dataset, tmp_path / "none.json")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("project.benchmarks.refine.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[matting\]'"):
        measure_refinements([], ["pymatting"])


def test_the_tool(dataset, load_tool, tmp_path, capsys):
    tool = load_tool("tools/benchmark.py")
    results, output = tmp_path / "results.json", tmp_path / "figures.json"
    results.write_text(json.dumps(RESULTS))
    coco = ["--coco", str(dataset.annotations), str(dataset.image_dir)]
    few = ["--methods", "holes", "--output", str(output)]
    assert tool.main(["refine", "--results", str(results), *coco, *few]) == 0
    assert json.loads(output.read_text())["masks"] == 2
    assert tool.main(["refine", "--grid", "7", *coco, *few]) == 0
    assert json.loads(output.read_text())["masks"] == 4
    assert tool.main(["refine", "--per", "class", *coco]) == 2
    assert "give --run or --results with it" in capsys.readouterr().err
