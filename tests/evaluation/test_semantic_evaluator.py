"""SemanticEvaluator: by hand, against torchmetrics, against flattening; files and processes."""

from __future__ import annotations

import itertools
import json
import math

from project.data.semantic_labels import paint
from project.errors import UserError
from project.evaluation.image_masks import image_masks, pixels
from project.evaluation.overlap import PixelOverlap
from project.evaluation.semantic import RESULTS_FILE, SemanticEvaluator

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.utils import comm
from pycocotools import mask as coco_mask

_numbers = itertools.count()
HEIGHT, WIDTH = 4, 6
NAMES = ("cake", "dog")


def rle(rows):
    encoded = coco_mask.encode(np.asfortranarray(np.array(rows, np.uint8)))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def document(maps, crowds=()):
    """A COCO dictionary of label maps [H, W]; 0 and 1 are objects of the two classes."""
    annotations = []
    for image, labels in enumerate(maps, 1):
        crowd = [(1, crowds[image - 1])] if image <= len(crowds) else []
        masks = [(k, labels == k, 0) for k in (0, 1)] + [(k, m, 1) for k, m in crowd]
        for k, mask, iscrowd in masks:
            if mask.any():
                row = {"id": len(annotations) + 1, "image_id": image, "category_id": 5 + 2 * k}
                row |= {"bbox": [0, 0, 1, 1], "area": int(mask.sum()), "iscrowd": iscrowd}
                annotations.append(row | {"segmentation": rle(mask)})
    return {
        "images": [
            {"id": i, "height": labels.shape[0], "width": labels.shape[1], "file_name": f"{i}.jpg"}
            for i, labels in enumerate(maps, 1)
        ],
        "categories": [{"id": 5 + 2 * k, "name": name} for k, name in enumerate(NAMES)],
        "annotations": annotations,
    }


@pytest.fixture
def register(tmp_path):
    names = []

    def make(content):
        name = f"semantic_evaluator_{next(_numbers)}"
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(content))
        register_coco_instances(name, {}, str(file), "images")
        names.append(name)
        return name

    yield make
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.pop(name, None)


def outputs(maps, certainty=0.8):
    """Probabilities whose argmax is each of ``maps``."""
    for image, labels in enumerate(maps, 1):
        hot = torch.nn.functional.one_hot(torch.tensor(labels), 3).permute(2, 0, 1).float()
        yield {"image_id": image}, {"sem_seg": hot * certainty + (1 - certainty) / 3}


def feed(evaluator, pairs):
    evaluator.reset()
    for image, output in pairs:
        evaluator.process([image], [output])
    return evaluator


def judge(name, maps, output_dir=None):
    found = feed(SemanticEvaluator(name, False, output_dir), outputs(maps)).evaluate()
    return found["sem_seg"]


def random_maps(seed, number=4, size=(30, 40)):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 3, (number, size[0] // 5, size[1] // 5))
    return list(small.repeat(5, 1).repeat(5, 2))


TRUTH = np.array([[0, 0, 2, 2, 1, 1]] * 2 + [[2] * 6] * 2)
FOUND = np.array([[0, 2, 2, 2, 1, 1]] * 2 + [[2, 2, 2, 1, 1, 1]] + [[2] * 6])


def test_by_hand(register):
    metrics = judge(register(document([TRUTH])), [FOUND])
    assert metrics["IoU-cake"] == pytest.approx(100 * 2 / 4)
    assert metrics["Dice-cake"] == pytest.approx(100 * 4 / 6)
    assert metrics["ImageDice-cake"] == pytest.approx(100 * 4 / 6)
    assert metrics["IoU-dog"] == pytest.approx(100 * 4 / 7)
    assert metrics["mIoU"] == pytest.approx(50 * (2 / 4 + 4 / 7))
    assert metrics["mDice"] == pytest.approx(50 * (4 / 6 + 8 / 11))
    assert metrics["pACC"] == pytest.approx(100 * 19 / 24)
    # In so small an image all pixels are boundary.
    assert metrics["BoundaryIoU-dog"] == metrics["IoU-dog"]
    expected = ["mIoU", "mDice", "mBoundaryIoU", "pACC"]
    kinds = ("IoU", "Dice", "BoundaryIoU", "ImageDice")
    assert list(metrics) == expected + [f"{kind}-{name}" for name in NAMES for kind in kinds]


def test_image_dice_is_a_mean_over_images_that_have_the_class(register):
    nothing = np.full((HEIGHT, WIDTH), 2)
    cake = np.where(TRUTH == 0, 0, 2)
    # Right; 4 of 6 with 2 missed; only in truth; only in the prediction; in neither.
    truth = [cake, cake, cake, nothing, nothing]
    found = [cake, np.where(FOUND == 0, 0, 2), nothing, cake, nothing]
    metrics = judge(register(document(truth)), found)
    assert metrics["ImageDice-cake"] == pytest.approx((100 + 100 * 4 / 6 + 0 + 0) / 4)
    assert metrics["IoU-cake"] == pytest.approx(100 * 6 / 16)
    for metric in ("ImageDice-dog", "IoU-dog", "Dice-dog", "BoundaryIoU-dog"):
        assert math.isnan(metrics[metric]), metric
    assert metrics["mIoU"] == metrics["IoU-cake"]


def test_crowds_do_not_count(register):
    crowd = np.zeros((HEIGHT, WIDTH), bool)
    crowd[2:, 3:] = True  # where FOUND has a dog that isn't there
    crowd[0, 0] = True  # lies under the cake, which counts
    metrics = judge(register(document([TRUTH], [crowd])), [FOUND])
    assert metrics["IoU-dog"] == metrics["ImageDice-dog"] == 100
    assert metrics["IoU-cake"] == pytest.approx(50)
    assert metrics["pACC"] == pytest.approx(100 * 16 / 18)


def test_equals_torchmetrics(register):
    from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex
    from torchmetrics.segmentation import DiceScore

    truth, found = random_maps(1), random_maps(2)
    metrics = judge(register(document(truth)), found)
    both = torch.tensor(np.array(found)), torch.tensor(np.array(truth))
    iou = MulticlassJaccardIndex(3, average=None)(*both)
    pooled = DiceScore(3, average=None, input_format="index", aggregation_level="global")(*both)
    for k, name in enumerate(NAMES):
        assert metrics[f"IoU-{name}"] == pytest.approx(100 * iou[k].item(), abs=1e-4)
        assert metrics[f"Dice-{name}"] == pytest.approx(100 * pooled[k].item(), abs=1e-4)
        by_image = [
            DiceScore(3, average=None, input_format="index", aggregation_level="global")(
                both[0][i : i + 1], both[1][i : i + 1]
            )[k].item()
            for i in range(len(truth))
        ]
        assert metrics[f"ImageDice-{name}"] == pytest.approx(100 * np.mean(by_image), abs=1e-4)
    accuracy = MulticlassAccuracy(3, average="micro")(*both)
    assert metrics["pACC"] == pytest.approx(100 * accuracy.item(), abs=1e-4)


def test_the_file_is_that_of_detections_and_flattens_to_the_same_map(register, tmp_path):
    truth, found = random_maps(3), random_maps(4)
    content = document(truth)
    metrics = judge(register(content), found, str(tmp_path / "out"))
    written = json.loads((tmp_path / "out" / RESULTS_FILE).read_text())
    assert len(written) == sum(len(np.unique(x[x < 2])) for x in found)
    first = written[0]
    assert first["image_id"] == 1
    assert first["category_id"] == 5
    cake = paint([pixels(first["segmentation"])], [1], found[0].shape, 0)
    np.testing.assert_array_equal(cake == 1, found[0] == 0)
    rows, columns = np.nonzero(found[0] == 0)
    low, high = (columns.min(), rows.min()), (columns.max() + 1, rows.max() + 1)
    assert first["bbox"] == [*low, high[0] - low[0], high[1] - low[1]]
    assert first["score"] == pytest.approx(0.8 + 0.2 / 3)
    flattened = PixelOverlap(2)
    for image in image_masks(content, written):
        flattened.update(image)
    result = flattened.result(NAMES)
    assert result["mean"]["iou"] == metrics["mIoU"]
    assert result["mean"]["boundary_iou"] == metrics["mBoundaryIoU"]
    assert result["pixel_accuracy"] == metrics["pACC"]
    np.testing.assert_array_equal(
        flattened.image_dice(), [metrics[f"ImageDice-{name}"] for name in NAMES]
    )


def test_processes_count_together(register, tmp_path, monkeypatch):
    name = register(document(random_maps(5)))
    pairs = list(outputs(random_maps(6)))
    expected = feed(SemanticEvaluator(name, False), pairs).evaluate()["sem_seg"]
    monkeypatch.setattr(comm, "synchronize", lambda: None)
    told = []
    for rank in (1, 0):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        monkeypatch.setattr(comm, "is_main_process", lambda rank=rank: rank == 0)
        monkeypatch.setattr(comm, "gather", lambda data: told.append(data) or told)
        found = feed(SemanticEvaluator(name, True, str(tmp_path)), pairs[rank::2]).evaluate()
    assert found["sem_seg"] == pytest.approx(expected)
    written = json.loads((tmp_path / RESULTS_FILE).read_text())
    ranks = [(r["image_id"] - 1) % 2 for r in written]
    assert ranks == sorted(ranks)
    assert [f.name for f in tmp_path.glob(f"{RESULTS_FILE}*")] == [RESULTS_FILE]


def test_a_second_round_forgets_the_first(register):
    evaluator = SemanticEvaluator(register(document([TRUTH])), False)
    first = feed(evaluator, outputs([FOUND])).evaluate()
    assert feed(evaluator, outputs([TRUTH])).evaluate()["sem_seg"]["mIoU"] == 100
    assert feed(evaluator, outputs([FOUND])).evaluate() == first


def test_nothing_to_judge(register, tmp_path):
    content = document([TRUTH])
    evaluator = SemanticEvaluator(register(content), False, str(tmp_path / "none"))
    assert feed(evaluator, []).evaluate() == {}
    del content["annotations"]
    evaluator = SemanticEvaluator(register(content), False, str(tmp_path / "bare"))
    assert feed(evaluator, outputs([FOUND])).evaluate() == {}
    sizes = [len(json.loads((tmp_path / n / RESULTS_FILE).read_text())) for n in ("none", "bare")]
    assert sizes == [0, 2]


def test_without_objects_everything_is_nan_but_the_accuracy(register):
    nothing = np.full((HEIGHT, WIDTH), 2)
    metrics = judge(register(document([nothing])), [nothing])
    assert metrics.pop("pACC") == 100
    assert all(math.isnan(value) for value in metrics.values())


def test_mistakes_are_told(register, tmp_path):
    evaluator = SemanticEvaluator(register(document([TRUTH])), False, str(tmp_path / "out"))
    evaluator.reset()
    with pytest.raises(UserError, match="gives \\['instances'\\] and no sem_seg; instances are"):
        evaluator.process([{"image_id": 1}], [{"instances": None}])
    with pytest.raises(UserError, match="has no image 9, which was predicted"):
        evaluator.process([{"image_id": 9}], [{"sem_seg": torch.zeros(3, HEIGHT, WIDTH)}])
    with pytest.raises(UserError, match=r"map of \(2, 4, 6\), and \(3, 4, 6\) is needed"):
        evaluator.process([{"image_id": 1}], [{"sem_seg": torch.zeros(2, HEIGHT, WIDTH)}])
    MetadataCatalog.get("semantic_bare").set(thing_classes=["cake"])
    with pytest.raises(UserError, match="has no json_file"):
        SemanticEvaluator("semantic_bare")
    MetadataCatalog.pop("semantic_bare")
