import sys

import project  # noqa: F401  isort: skip

import pytest
import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import (
    ROIPooler,
    assign_boxes_to_levels,
    convert_boxes_to_pooler_format,
)
from detectron2.structures import Boxes

SCALES = (1 / 4, 1 / 8, 1 / 16, 1 / 32)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
CASES = {
    "v2_7_s0": {"output_size": 7, "sampling_ratio": 0, "pooler_type": "ROIAlignV2"},
    "v2_14_s2": {"output_size": 14, "sampling_ratio": 2, "pooler_type": "ROIAlignV2"},
    "v1_7_s0": {"output_size": 7, "sampling_ratio": 0, "pooler_type": "ROIAlign"},
    "roipool_7": {"output_size": 7, "sampling_ratio": 0, "pooler_type": "ROIPool"},
    "canon": {
        "output_size": (5, 5),
        "sampling_ratio": 0,
        "pooler_type": "ROIAlignV2",
        "canonical_box_size": 112,
        "canonical_level": 3,
    },
}


@pytest.fixture(scope="module")
def arrays(golden):
    return {k: torch.from_numpy(v) for k, v in golden.npz("roi_pooler").items()}


@pytest.fixture(scope="module")
def features(arrays):
    return [arrays[f"in_f{k}"] for k in range(4)]


@pytest.fixture(scope="module")
def boxes(arrays):
    return [Boxes(arrays["in_b0"]), Boxes(arrays["in_b1"])]


@pytest.mark.parametrize("case", CASES)
def test_pooled_features_match_golden(arrays, features, boxes, case):
    out = ROIPooler(scales=SCALES, **CASES[case])(features, boxes)
    torch.testing.assert_close(out, arrays[f"out_{case}"], **CLOSE)


def test_levels_match_golden(arrays, boxes):
    levels = assign_boxes_to_levels(boxes, 2, 5, 224, 4)
    assert levels.dtype == torch.int64
    assert torch.equal(levels, arrays["out_levels_224_4"])


def test_one_level_and_no_boxes_match_golden(arrays, features, boxes):
    single = ROIPooler((4, 6), (1 / 8,), 0, "ROIAlignV2")
    torch.testing.assert_close(single([features[1]], boxes), arrays["out_single_level"], **CLOSE)
    none = [Boxes(torch.zeros(0, 4))] * 2
    shape = ROIPooler(7, SCALES, 0, "ROIAlignV2")(features, none).shape
    assert list(shape) == arrays["out_empty_shape"].tolist()
    assert single([features[1]], none).shape == (0, 3, 4, 6)


def test_error_types_match_golden(golden, features, boxes):
    pooler = ROIPooler(7, SCALES, 0, "ROIAlign")
    calls = {
        "bad type": lambda: ROIPooler(7, SCALES, 0, "X"),
        "stride not pow2": lambda: ROIPooler(7, (1 / 6,), 0, "ROIAlign"),
        "gap in pyramid": lambda: ROIPooler(7, (1 / 4, 1 / 16), 0, "ROIAlign"),
        "wrong number of features": lambda: pooler(features[:2], boxes),
        "tuple features": lambda: pooler(tuple(features), boxes),
        "batch mismatch": lambda: pooler(features, boxes[:1]),
    }
    expected = golden.json("roi_pooler_errors")
    assert set(calls) == set(expected)
    for name, call in calls.items():
        with pytest.raises(Exception) as caught:
            call()
        assert type(caught.value).__name__ == expected[name], name


def test_pooler_format():
    rows = convert_boxes_to_pooler_format(
        [Boxes([[1, 2, 3, 4]]), Boxes(torch.zeros(0, 4)), Boxes([[5, 6, 7, 8], [0, 0, 1, 1]])]
    )
    assert rows.tolist() == [[0, 1, 2, 3, 4], [2, 5, 6, 7, 8], [2, 0, 0, 1, 1]]


def test_levels_by_hand():
    sides = torch.tensor([0.0, 10, 111, 112, 223, 224, 448, 5000])
    square = torch.stack([torch.zeros(8), torch.zeros(8), sides, sides], 1)
    levels = assign_boxes_to_levels([Boxes(square[:3]), Boxes(square[3:])], 2, 5, 224, 4)
    assert levels.tolist() == [0, 0, 0, 1, 1, 2, 3, 3]


@pytest.mark.parametrize("kind", ["ROIAlignV2", "ROIAlign"])
def test_a_pyramid_equals_its_levels_one_by_one(features, boxes, kind):
    """Each box pooled from its own level alone, and the gradients of all levels."""
    maps = [f.clone().requires_grad_() for f in features]
    out = ROIPooler(5, SCALES, 2, kind)(maps, boxes)
    alone = [f.clone().requires_grad_() for f in features]
    rows = convert_boxes_to_pooler_format(boxes)
    wanted = torch.stack(
        [
            ROIAlign(5, SCALES[level], 2, aligned=kind == "ROIAlignV2")(alone[level], row[None])[0]
            for row, level in zip(rows, assign_boxes_to_levels(boxes, 2, 5, 224, 4), strict=True)
        ]
    )
    torch.testing.assert_close(out, wanted)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
    (out * weights).sum().backward()
    (wanted * weights).sum().backward()
    for ours, theirs in zip(maps, alone, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.bundled
@pytest.mark.parametrize("case", CASES)
def test_the_way_of_a_gpu_gives_the_same(arrays, features, boxes, case, monkeypatch):
    """Every level pools every box, those of other levels moved off the map; here on the CPU."""
    from torchvision.ops import roi_align

    module = sys.modules[ROIAlign.__module__]
    monkeypatch.setattr(module, "roi_align", roi_align)  # what a GPU runs
    pooler = ROIPooler(scales=SCALES, **CASES[case])
    levels = assign_boxes_to_levels(boxes, 2, 5, pooler.canonical_box_size, pooler.canonical_level)
    rois = convert_boxes_to_pooler_format(boxes)
    out = pooler._pool_each_level(features, rois, levels)
    torch.testing.assert_close(out, arrays[f"out_{case}"], **CLOSE)


def test_images_do_not_mix(features, boxes):
    pooler = ROIPooler(3, SCALES, 0, "ROIAlignV2")
    both = pooler(features, boxes)
    apart = [pooler([f[i : i + 1] for f in features], boxes[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(both, torch.cat(apart))


def test_an_image_without_boxes_takes_no_row(features, boxes):
    pooler = ROIPooler(3, SCALES, 0, "ROIAlignV2")
    out = pooler(features, [Boxes(torch.zeros(0, 4)), boxes[1]])
    torch.testing.assert_close(out, pooler(features, boxes)[len(boxes[0]) :])


def test_scales_may_be_a_list_config(features, boxes):
    from omegaconf import OmegaConf

    scales = OmegaConf.create([1 / 4, 1 / 8, 1 / 16, 1 / 32])
    size = OmegaConf.create([3, 3])
    pooler = ROIPooler(output_size=size, scales=scales, sampling_ratio=0, pooler_type="ROIAlignV2")
    assert pooler(features, boxes).shape == (23, 3, 3, 3)


@pytest.mark.bundled
@pytest.mark.parametrize("kind", ["ROIAlignV2", "ROIPool"])
def test_outputs_of_a_pyramid_need_not_be_square(features, boxes, kind):
    assert ROIPooler((2, 3), SCALES, 0, kind)(features, boxes).shape == (23, 3, 2, 3)


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_gpu_equals_golden(arrays, features, boxes, case):
    pooler = ROIPooler(scales=SCALES, **CASES[case])
    out = pooler([f.cuda() for f in features], [b.to("cuda") for b in boxes])
    torch.testing.assert_close(out.cpu(), arrays[f"out_{case}"], rtol=1e-3, atol=1e-3)
