"""Suppressions of a trained run, side by side: the exchanged predictor, and the rows by hand."""

from project.benchmarks.soft_nms import compare_suppressions, judged, with_suppression
from project.engine.config import load_config
from project.errors import UserError

import pytest
from detectron2.config import instantiate
from omegaconf import OmegaConf

QUICKSTART = "configs/quickstart.py"


@pytest.fixture
def quickstart(request):
    options = ["model.roi_heads.num_classes=4"]
    return load_config(request.config.rootpath / QUICKSTART, options)


def test_a_run_gets_another_suppression(quickstart):
    names = set(instantiate(quickstart.model.roi_heads.box_predictor).state_dict())
    cfg = with_suppression(quickstart, "linear", 0.4, 0.2)
    predictor = instantiate(cfg.model).roi_heads.box_predictor
    assert (predictor.soft_nms, predictor.soft_nms_sigma) == ("linear", 0.4)
    assert predictor.soft_nms_threshold == 0.2
    assert predictor.test_score_thresh == 0.05
    assert set(predictor.state_dict()) == names
    with_suppression(cfg, "hard", 0.4, 0.2)  # ours can be exchanged again


def test_a_predictor_of_another_kind():
    cfg = OmegaConf.create(
        {"model": {"roi_heads": {"box_predictor": {"_target_": "torch.nn.ReLU"}}}}
    )
    with pytest.raises(UserError, match="box_predictor is torch.nn.ReLU; soft-NMS takes the place"):
        with_suppression(cfg, "linear", 0.5, 0.3)


def square(x):
    return [[x, 0, x + 10, 0, x + 10, 10, x, 10]]


def rle(x):
    """The same square in an image of 20 x 40, whose pixels are counted column by column."""
    counts = [20 * x, *[10, 10] * 9, 10, 20 * 40 - 20 * (x + 9) - 10]
    return {"size": [20, 40], "counts": counts}


def test_rows_of_two_neighbours():
    """Hard suppression lost one of two objects, which a soft one finds: AP 0.5 and 1."""
    annotations = [
        {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": [x, 0, 10, 10], "area": 100.0}
        | {"segmentation": square(x), "iscrowd": 0}
        for i, x in enumerate((0, 20))
    ]
    truth = {
        "images": [{"id": 1, "height": 20, "width": 40, "file_name": "1.png"}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": annotations,
    }
    soft = [
        {"image_id": 1, "category_id": 1, "score": score, "bbox": [x, 0, 10, 10]}
        | {"segmentation": rle(x)}
        for score, x in ((0.9, 0), (0.5, 20))
    ]
    found = {"hard": judged(truth, soft[:1]), "linear": judged(truth, soft)}
    rows = compare_suppressions(found)
    # Recall 0.5 covers 51 of the 101 points.
    assert rows["all"]["hard"]["AP"] == pytest.approx(100 * 51 / 101, abs=0.01)
    assert rows["all"]["linear"] == {
        "AP": 100.0,
        "AP50": 100.0,
        "recall": 100.0,
        "AP - hard": "+49.5 (too few images)",
    }
    assert rows["crowding: 1-3 objects"] == rows["all"]
    assert rows["occlusion: occluded (25 % or more)"] == {"objects": 0}
