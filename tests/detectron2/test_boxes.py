import project  # noqa: F401  isort: skip

import numpy as np
import pytest
import torch
from detectron2.structures import (
    Boxes,
    BoxMode,
    pairwise_ioa,
    pairwise_iou,
    pairwise_point_box_distance,
)
from detectron2.structures.boxes import matched_pairwise_iou, pairwise_intersection

ARRAYS = {"rtol": 1e-6, "atol": 1e-5}


@pytest.fixture(scope="module")
def arrays(golden):
    return {k: torch.from_numpy(v) for k, v in golden.npz("boxes").items()}


@pytest.fixture
def first(arrays):
    return Boxes(arrays["in_a"].clone())


@pytest.fixture
def second(arrays):
    return Boxes(arrays["in_b"].clone())


def test_pairwise_functions_match_golden(arrays, first, second):
    results = {
        "iou": pairwise_iou(first, second),
        "ioa": pairwise_ioa(first, second),
        "intersection": pairwise_intersection(first, second),
        "matched_iou": matched_pairwise_iou(first[:9], second),
        "point_box": pairwise_point_box_distance(arrays["in_points"], second),
    }
    for name, result in results.items():
        torch.testing.assert_close(result, arrays[f"out_{name}"], equal_nan=True, **ARRAYS)


def test_methods_match_golden(arrays, first, second):
    clipped, scaled = first.clone(), first.clone()
    clipped.clip(tuple(arrays["in_clip_hw"].tolist()))
    scaled.scale(0.5, 2.0)
    results = {
        "area": first.area(),
        "clip": clipped.tensor,
        "nonempty0": first.nonempty(),
        "nonempty5": first.nonempty(5.0),
        "inside0": first.inside_box((40, 50)),
        "inside5": first.inside_box((40, 50), 5),
        "centers": first.get_centers(),
        "scale_05_2": scaled.tensor,
        "cat": Boxes.cat([first, second]).tensor,
        "index_3": first[3].tensor,
        "index_slice": first[2:5].tensor,
        "index_mask": first[first.nonempty()].tensor,
    }
    for name, result in results.items():
        torch.testing.assert_close(result, arrays[f"out_{name}"], **ARRAYS)


@pytest.mark.parametrize(
    "source, start, end, result",
    [
        ("in_xywh", "XYWH_ABS", "XYXY_ABS", "out_xyxy_from_xywh"),
        ("in_a", "XYXY_ABS", "XYWH_ABS", "out_xywh_from_xyxy"),
        ("in_rot", "XYWHA_ABS", "XYXY_ABS", "out_xyxy_from_rot"),
        ("in_xywh", "XYWH_ABS", "XYWHA_ABS", "out_rot_from_xywh"),
    ],
)
@pytest.mark.parametrize("container", ["array", "tensor"])
def test_conversion_of_many_boxes_matches_golden(arrays, source, start, end, result, container):
    boxes = arrays[source].double()
    given = boxes.numpy() if container == "array" else boxes
    before = given.copy() if container == "array" else given.clone()
    out = BoxMode.convert(given, BoxMode[start], BoxMode[end])
    assert type(out) is type(given)
    assert out.dtype == given.dtype
    assert (given == before).all()
    np.testing.assert_allclose(np.asarray(out), arrays[result].numpy(), **ARRAYS)


def test_conversion_of_one_box_keeps_its_container(golden):
    for case in golden.json("boxes_misc")["convert_single"]:
        kind = {"list": list, "tuple": tuple}[case["type"]]
        out = BoxMode.convert(kind(case["in"]), BoxMode[case["from"]], BoxMode[case["to"]])
        assert isinstance(out, kind)
        assert out == pytest.approx(kind(case["out"]), abs=1e-6)


def test_modes_and_identity_match_golden(golden):
    facts = golden.json("boxes_misc")
    assert {mode.name: int(mode) for mode in BoxMode} == facts["enum"]
    box = [1, 2, 3, 4]
    same = BoxMode.convert(box, BoxMode.XYXY_ABS, BoxMode.XYXY_ABS) is box
    assert same == facts["same_mode_returns_same_object"]
    assert list(Boxes(torch.zeros(0)).tensor.shape) == facts["empty_shape"]
    assert list(Boxes.cat([]).tensor.shape) == facts["cat_empty_shape"]


def test_error_types_match_golden(golden, first):
    def bad_clip():
        Boxes(torch.tensor([[0, 0, float("nan"), 1.0]])).clip((4, 4))

    calls = {
        "relative mode": lambda: BoxMode.convert([0, 0, 1, 1], BoxMode.XYXY_REL, BoxMode.XYXY_ABS),
        "unsupported pair": lambda: BoxMode.convert(
            [0, 0, 1, 1], BoxMode.XYXY_ABS, BoxMode.XYWHA_ABS
        ),
        "3 numbers": lambda: BoxMode.convert([0, 0, 1], BoxMode.XYXY_ABS, BoxMode.XYWH_ABS),
        "Boxes(1-d of 3)": lambda: Boxes(torch.zeros(3)),
        "index to 1-d": lambda: first[torch.tensor(2)],
        "clip non finite": bad_clip,
    }
    expected = golden.json("boxes_misc")["errors"]
    assert set(calls) == set(expected)
    for name, call in calls.items():
        with pytest.raises(Exception) as caught:
            call()
        assert type(caught.value).__name__ == expected[name], name


@pytest.mark.bundled
def test_lists_are_converted_in_double_precision():
    assert BoxMode.convert([0.1, 0.2, 1, 1], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)[:2] == [0.1, 0.2]


def test_conversion_there_and_back_is_identity():
    boxes = np.random.default_rng(0).uniform(0, 50, (7, 4))
    xyxy = BoxMode.convert(boxes, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
    back = BoxMode.convert(xyxy, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
    np.testing.assert_allclose(back, boxes, atol=1e-12)


def test_hand_worked_overlaps():
    unit, half = Boxes([[0, 0, 2, 2]]), Boxes([[1, 0, 3, 2], [5, 5, 6, 6], [1, 1, 1, 1]])
    assert pairwise_iou(unit, half).tolist() == [[pytest.approx(2 / 6), 0, 0]]
    assert pairwise_ioa(unit, half).tolist() == [[0.5, 0, 0]]
    assert pairwise_intersection(unit, half).tolist() == [[2, 0, 0]]


def test_no_boxes():
    none, some = Boxes(torch.zeros(0, 4)), Boxes(torch.rand(3, 4))
    assert pairwise_iou(none, some).shape == (0, 3)
    assert pairwise_ioa(some, none).shape == (3, 0)
    assert pairwise_point_box_distance(torch.rand(2, 2), none).shape == (2, 0, 4)
    assert none.area().shape == (0,)
    assert none.nonempty().shape == (0,)
    none.clip((3, 3))
    none.scale(2, 2)
    assert len(none) == 0
    assert len(Boxes.cat([none, some])) == 3


def test_boxes_become_float32_and_iterate_as_rows():
    boxes = Boxes(np.arange(8).reshape(2, 4))
    assert boxes.tensor.dtype == torch.float32
    assert Boxes(torch.ones(1, 4, dtype=torch.float64)).tensor.dtype == torch.float32
    assert [row.tolist() for row in boxes] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert boxes[-1].tensor.tolist() == [[4, 5, 6, 7]]
    assert boxes[torch.tensor([1, 0, 1])].tensor[:, 0].tolist() == [4, 0, 4]
    assert boxes.device == boxes.to("cpu").device == torch.device("cpu")
    with pytest.raises(AssertionError):
        matched_pairwise_iou(boxes, boxes[:1])
    with pytest.raises(AssertionError):
        Boxes.cat([boxes.tensor])


@pytest.mark.bundled
def test_scaling_leaves_the_callers_tensor_alone():
    tensor = torch.ones(1, 4)
    boxes = Boxes(tensor)
    boxes.scale(2, 3)
    assert tensor.tolist() == [[1, 1, 1, 1]]
    assert boxes.tensor.tolist() == [[2, 3, 2, 3]]


def test_inside_box_leaves_out_the_right_and_lower_border():
    boxes = Boxes(torch.tensor([[0.0, 0, 8, 5], [0, 0, 9, 5], [0, 0, 8, 6], [-1, 0, 8, 5]]))
    assert boxes.inside_box((6, 9)).tolist() == [True, False, False, False]
    assert boxes.inside_box((6, 9), 1).tolist() == [True] * 4
