"""Heads of 80 classes in a model of a few: logits of the model equal the source's rows."""

import logging
import pickle
from pathlib import Path

from project.data.coco_classes import COCO_CLASSES
from project.engine.config import load_config
from project.engine.pretrained import load_pretrained
from project.errors import UserError

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import instantiate
from fvcore.common import checkpoint as fvcore
from torch import nn

QUICKSTART = Path(__file__).resolve().parents[2] / "configs/quickstart.py"
CLASSES = ["cake", "car", "unicorn", "Person"]


def model_of(num_classes: int, seed: int, *, agnostic: bool = False) -> nn.Module:
    """A Mask R-CNN of quickstart's kind; its last layers are far from zero."""
    cfg = load_config(QUICKSTART).model
    cfg.roi_heads.num_classes = num_classes
    cfg.backbone.bottom_up.widths = [4, 6, 8, 10]
    cfg.roi_heads.box_head.fc_dims = [8]
    cfg.roi_heads.box_predictor.input_shape.channels = 8
    cfg.roi_heads.box_predictor.cls_agnostic_bbox_reg = agnostic
    cfg.roi_heads.mask_head.conv_dims = [6, 6]
    torch.manual_seed(seed)
    model = instantiate(cfg).eval()
    for layer in layers(model):
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    return model


def layers(model: nn.Module) -> list[nn.Module]:
    heads = model.roi_heads
    return [heads.box_predictor.cls_score, heads.box_predictor.bbox_pred, heads.mask_head.predictor]


@torch.no_grad()
def logits(model: nn.Module) -> tuple[torch.Tensor, ...]:
    """Scores [5, K + 1], deltas [5, K, 4] and mask logits [5, K, 2, 2] of the same features."""
    generator = torch.Generator().manual_seed(1)
    scores, deltas = model.roi_heads.box_predictor(torch.randn(5, 8, generator=generator))
    features = torch.randn(5, 6, 2, 2, generator=generator)
    return scores, deltas.view(5, -1, 4), model.roi_heads.mask_head.predictor(features)


@pytest.fixture(scope="module")
def coco_model() -> nn.Module:
    return model_of(80, seed=0)


def saved(model: nn.Module, folder: Path, **extra) -> str:
    DetectionCheckpointer(model, str(folder)).save("source", **extra)
    return str(folder / "source.pth")


def load(model: nn.Module, weights: str, classes: list[str], source: list[str] | None = None):
    checkpointer = DetectionCheckpointer(model)
    transfer = load_pretrained(checkpointer, weights, classes, source)
    assert "_load_model" not in vars(checkpointer)
    return transfer


def test_cocos_classes():
    assert len(set(COCO_CLASSES)) == 80
    assert [COCO_CLASSES.index(n) for n in ("person", "car", "dog", "cake", "toothbrush")] == [
        0,
        2,
        16,
        55,
        79,
    ]


@pytest.mark.parametrize("kind", ["pth", "pkl", "wrapped"])
def test_a_coco_model_is_cut_to_the_chosen_classes(coco_model, tmp_path, kind, caplog):
    caplog.set_level(logging.INFO)
    weights = saved(coco_model, tmp_path)
    if kind == "pkl":
        weights = str(tmp_path / "model_final.pkl")
        state = {key: value.numpy() for key, value in coco_model.state_dict().items()}
        Path(weights).write_bytes(pickle.dumps({"model": state, "__author__": "somebody"}))
    elif kind == "wrapped":
        weights = str(tmp_path / "wrapped.pth")
        torch.save({f"module.{k}": v for k, v in coco_model.state_dict().items()}, weights)
    model = model_of(4, seed=1)
    fresh = logits(model)
    transfer = load(model, weights, CLASSES)
    scores, boxes, masks = logits(model)
    rows = [55, 2, 0]
    expected = logits(coco_model)
    torch.testing.assert_close(scores[:, [0, 1, 3, 4]], expected[0][:, [*rows, 80]])
    torch.testing.assert_close(boxes[:, [0, 1, 3]], expected[1][:, rows])
    torch.testing.assert_close(masks[:, [0, 1, 3]], expected[2][:, rows])
    for ours, before in zip((scores, boxes, masks), fresh, strict=True):
        torch.testing.assert_close(ours[:, 2], before[:, 2])
    # All else is the source's, and nothing was skipped or missed.
    mine = model.state_dict()
    for key, value in coco_model.state_dict().items():
        assert mine[key].shape != value.shape or torch.equal(mine[key], value), key
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]

    assert transfer.kept == {"cake": ("cake", 55), "car": ("car", 2), "Person": ("person", 0)}
    assert transfer.fresh == ["unicorn"]
    assert len(transfer.cut) == 77
    assert "dog" in transfer.cut
    assert set(transfer.layers.values()) == {"by name"}
    assert transfer.as_dict()["layers"] == transfer.layers
    assert "(classes named by COCO, as there are 80)" in caplog.text
    assert "cake     cake (row 55)" in caplog.text
    assert "unicorn  nothing: starts fresh" in caplog.text
    assert "77 of 80 classes of the weights are cut" in caplog.text


def test_the_checkpoint_tells_its_classes(tmp_path):
    source = model_of(3, seed=0)
    weights = saved(source, tmp_path, classes=["dog", "cake", "car"])
    model = model_of(3, seed=1)
    transfer = load(model, weights, ["cake", "car", "dog"])
    assert (transfer.fresh, transfer.cut) == ([], [])
    for ours, theirs, places in zip(
        logits(model), logits(source), ([1, 2, 0, 3], [1, 2, 0], [1, 2, 0]), strict=True
    ):
        torch.testing.assert_close(ours, theirs[:, places])


def test_the_user_tells_its_classes(tmp_path):
    source, model = model_of(3, seed=0), model_of(1, seed=1)
    weights = saved(source, tmp_path, classes=["a", "b", "c"])
    transfer = load(model, weights, ["cake"], ["dog", "car", "cake"])
    assert transfer.kept == {"cake": ("cake", 2)}
    torch.testing.assert_close(logits(model)[0], logits(source)[0][:, [2, 3]])
    torch.testing.assert_close(logits(model)[2], logits(source)[2][:, [2]])
    with pytest.raises(UserError, match=r"init_classes names 2 classes and .*pth has 3"):
        load(model, weights, ["cake"], ["dog", "car"])


def test_class_agnostic_boxes(tmp_path):
    source, model = model_of(80, seed=0, agnostic=True), model_of(2, seed=1, agnostic=True)
    transfer = load(model, saved(source, tmp_path), ["dog", "cat"])
    assert transfer.layers["roi_heads.box_predictor.bbox_pred"] == "shared by all classes"
    torch.testing.assert_close(logits(model)[1], logits(source)[1])
    torch.testing.assert_close(logits(model)[0], logits(source)[0][:, [16, 15, 80]])


def test_nobody_tells_the_classes(tmp_path, caplog):
    source = model_of(3, seed=0)
    weights = saved(source, tmp_path, classes=7)  # whatever another project means by it
    model = model_of(2, seed=1)
    before = logits(model)
    transfer = load(model, weights, ["dog", "cat"])
    assert (transfer.kept, transfer.fresh) == ({}, ["dog", "cat"])
    assert all(map(torch.equal, logits(model), before))
    assert "name them in their order with train.init_classes" in caplog.text
    # As many as the model has: taken as they stand, which is said.
    same = model_of(3, seed=1)
    transfer = load(same, weights, ["dog", "cat", "cow"])
    assert all(map(torch.equal, logits(same), logits(source)))
    assert transfer.named_by == "the model, as there are as many"
    assert "taken for the model's own" in caplog.text


def test_heads_of_another_width(coco_model, tmp_path):
    state = coco_model.state_dict()
    for key in ("box_predictor.cls_score", "box_predictor.bbox_pred", "mask_head.predictor"):
        state[f"roi_heads.{key}.weight"] = state[f"roi_heads.{key}.weight"][:, :3]
    file = tmp_path / "narrow.pth"
    torch.save(state, file)
    model = model_of(2, seed=1)
    before = logits(model)
    transfer = load(model, str(file), ["dog", "cat"])
    assert (transfer.kept, transfer.fresh) == ({}, ["dog", "cat"])
    assert len(transfer.cut) == 80
    assert all(map(torch.equal, logits(model), before))  # biases too


def test_under_the_plain_checkpointer(coco_model, tmp_path):
    model = model_of(1, seed=1)
    load_pretrained(fvcore.Checkpointer(model), saved(coco_model, tmp_path), ["hot_dog"])
    row = COCO_CLASSES.index("hot dog")
    torch.testing.assert_close(logits(model)[0], logits(coco_model)[0][:, [row, 80]])


def test_a_backbone_alone(tmp_path):
    model = model_of(2, seed=1)
    before = logits(model)
    conv = model.backbone.bottom_up.stem.conv1.weight
    blobs = {"conv1_w": np.full(conv.shape, 7.0, np.float32)}
    file = tmp_path / "R-50.pkl"
    file.write_bytes(pickle.dumps({"blobs": blobs}))
    transfer = load(model, str(file), ["dog", "cat"])
    assert (conv == 7).all()
    assert transfer.num_source is None
    assert transfer.fresh == ["dog", "cat"]
    assert set(transfer.layers.values()) == {"fresh"}
    assert all(map(torch.equal, logits(model), before))
    assert "cut" not in transfer.table()


def test_no_weights():
    model = model_of(2, seed=1)
    before = logits(model)
    assert load(model, "", ["dog", "cat"]) is None
    assert all(map(torch.equal, logits(model), before))


def test_a_file_that_is_missing_leaves_the_checkpointer_as_it_was(tmp_path):
    checkpointer = DetectionCheckpointer(model_of(2, seed=1))
    with pytest.raises(AssertionError):
        load_pretrained(checkpointer, str(tmp_path / "none.pth"), ["dog", "cat"])
    assert "_load_model" not in vars(checkpointer)


def test_norms_of_another_kind_are_told(tmp_path, caplog):
    file = tmp_path / "R-50.pkl"
    file.write_bytes(pickle.dumps({"res2_0_branch2a_bn_s": np.ones(4, np.float32)}))
    load(model_of(2, seed=1), str(file), ["dog", "cat"])
    assert "the statistics of batch norm are folded into these weights" in caplog.text
