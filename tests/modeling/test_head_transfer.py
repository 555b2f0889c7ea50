"""Rows of class-dependent layers, found by name: small layers whose rows are numbered."""

from project.modeling.head_transfer import (
    match_classes,
    num_source_classes,
    pair_heads,
    transfer_heads,
)

import numpy as np
import pytest
import torch

SOURCE = ["person", "hot dog", "tv"]


@pytest.mark.parametrize(
    "classes, places",
    [
        (["tv", "person"], [2, 0]),
        (["Hot_Dog", "hotdog", "HOT DOG", "dog"], [1, 1, 1, None]),
        (["television", "people"], [None, None]),  # synonyms aren't guessed
        ([], []),
    ],
)
def test_classes_are_matched_by_name(classes, places):
    assert match_classes(classes, SOURCE) == places


def test_a_loose_match_must_be_the_only_one():
    source = ["hotdog", "hot dog", "Cat"]
    assert match_classes(["hot dog", "HotDog", "cat"], source) == [1, None, 2]


def test_heads_are_told_by_their_names():
    model = {"roi.box_predictor.cls_score.weight": 0, "rpn.anchor_deltas.bias": 0}
    model |= {"sem_seg_head.predictor.weight": 0, "roi.mask_head.predictor.bias": 0}
    state = {f"module.{key}": 0 for key in model}
    del state["module.roi.mask_head.predictor.bias"]
    key = "roi.box_predictor.cls_score.weight"
    expected = {key: f"module.{key}", "roi.mask_head.predictor.bias": None}
    assert pair_heads(state, model) == expected
    short = {"box_predictor.cls_score.weight": 0, "predictor.bias": 0}
    assert pair_heads(short, model)[key] is None
    assert pair_heads(short, model, by_suffix=True) == {
        key: "box_predictor.cls_score.weight",
        "roi.mask_head.predictor.bias": None,  # a predictor of what, nobody knows
    }


def heads(num_classes: int, boxes: int, masks: int, start: float, step: float) -> dict:
    """Layers whose rows hold start, start + step, ..., score and bias alike."""

    def rows(n: int) -> torch.Tensor:
        return start + step * torch.arange(n, dtype=torch.float32)

    sizes = {"b.cls_score": num_classes + 1, "b.bbox_pred": 4 * boxes, "mask_head.predictor": masks}
    state = {}
    for layer, n in sizes.items():
        tail = (2, 1, 1) if "mask" in layer else (2,)
        state[f"{layer}.weight"] = rows(n).view(-1, *[1] * len(tail)).expand(n, *tail).clone()
        state[f"{layer}.bias"] = rows(n)
    return state


def transfer(state: dict, model: dict, rows: list, num_source: int | None) -> dict[str, str]:
    pairs = pair_heads(state, model)
    done = transfer_heads(state, model, pairs, rows, num_source)
    for key in state:  # the loader takes them as they are
        assert state[key].shape == model[key].shape
    return done


def bias(state: dict, layer: str) -> list[float]:
    found = state[f"{layer}.bias"].tolist()
    weight = state[f"{layer}.weight"]
    assert (weight.flatten(1)[:, 0].tolist(), weight.flatten(1)[:, 1].tolist()) == (found, found)
    return found


def test_rows_of_the_classes_and_of_the_background():
    state, model = heads(3, 3, 3, 0.0, 1.0), heads(2, 2, 2, -1.0, 0.0)
    before = {key: value.clone() for key, value in model.items()}
    assert set(transfer(state, model, [2, None], 3).values()) == {"by name"}
    assert bias(state, "b.cls_score") == [2, -1, 3]  # the background is the last of four
    assert bias(state, "b.bbox_pred") == [8, 9, 10, 11, -1, -1, -1, -1]
    assert bias(state, "mask_head.predictor") == [2, -1]
    assert all(torch.equal(before[key], model[key]) for key in model)


def test_other_order_and_arrays():
    model = heads(2, 2, 2, -1.0, 0.0)
    state = {key: value.numpy() for key, value in heads(2, 2, 2, 0.0, 1.0).items()}
    assert isinstance(state["b.bbox_pred.bias"], np.ndarray)
    transfer(state, model, [1, 0], 2)
    assert bias(state, "b.cls_score") == [1, 0, 2]
    assert bias(state, "b.bbox_pred") == [4, 5, 6, 7, 0, 1, 2, 3]


def test_one_class_of_three():
    state, model = heads(3, 3, 3, 0.0, 1.0), heads(1, 1, 1, -1.0, 0.0)
    transfer(state, model, [1], 3)
    assert bias(state, "b.cls_score") == [1, 3]
    assert bias(state, "b.bbox_pred") == [4, 5, 6, 7]
    assert bias(state, "mask_head.predictor") == [1]


@pytest.mark.parametrize("num_source, rows", [(3, [1, None]), (1, [0, None])])
def test_agnostic_layers_are_kept_whole(num_source, rows):
    state, model = heads(num_source, 1, 1, 5.0, 1.0), heads(2, 1, 1, -1.0, 0.0)
    done = transfer(state, model, rows, num_source)
    assert done["b.bbox_pred"] == done["mask_head.predictor"] == "shared by all classes"
    assert bias(state, "b.bbox_pred") == [5, 6, 7, 8]
    assert bias(state, "mask_head.predictor") == [5]
    assert done["b.cls_score"] == "by name"


def test_agnostic_layers_serve_every_class():
    state, model = heads(3, 1, 1, 5.0, 1.0), heads(2, 2, 2, -1.0, 0.0)
    transfer(state, model, [None, None], 3)
    assert bias(state, "b.bbox_pred") == [5, 6, 7, 8] * 2
    assert bias(state, "mask_head.predictor") == [5, 5]


def test_what_does_not_fit_starts_fresh():
    state, model = heads(3, 3, 3, 0.0, 1.0), heads(2, 1, 2, -1.0, 0.0)
    state["mask_head.predictor.weight"] = torch.zeros(3, 7, 1, 1)  # other features
    state["mask_head.predictor.bias"] = torch.zeros(5)  # neither one nor three classes
    done = transfer(state, model, [0, 1], 3)
    assert done["b.bbox_pred"] == done["mask_head.predictor"] == "fresh"
    assert set(state) == {"b.cls_score.weight", "b.cls_score.bias"}


def test_unknown_classes_leave_nothing():
    state = heads(3, 3, 3, 0.0, 1.0) | {"other": torch.zeros(1)}
    model = heads(2, 2, 2, -1.0, 0.0) | {"other": torch.zeros(1)}
    assert set(transfer(state, model, [None, None], None).values()) == {"fresh"}
    assert list(state) == ["other"]


def test_the_number_of_classes_is_that_of_the_scores():
    state = heads(3, 1, 1, 0.0, 1.0)
    assert num_source_classes(state, pair_heads(state, state)) == 3
    assert num_source_classes({}, {"b.cls_score.weight": None}) is None
    two = {f"{k}.cls_score.bias": torch.zeros(n) for k, n in enumerate((4, 5))}
    with pytest.raises(ValueError, match=r"different numbers of classes: \[3, 4\]"):
        num_source_classes(two, pair_heads(two, two))
