"""Boxes against anchors, input size and pyramid, by hand and against Detectron2's own."""

from project.data.exploration.fit import (
    AnchorGrid,
    Detector,
    InputSize,
    best_anchors,
    boxes_at_input,
    fit_to_model,
    input_sizes,
    pyramid_levels,
    recall,
    vanishing,
)

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.structures import Boxes, pairwise_iou

SQUARE = AnchorGrid((np.array([[-8.0, -8, 8, 8]]),), (8,))


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (427, 640), (333, 1500), (37, 23)])
@pytest.mark.parametrize("short, longest", [(800, 1333), (600, 1000), (64, 100)])
def test_input_sizes_are_those_of_the_resize(size, short, longest):
    pixels = np.zeros((*size, 3), np.uint8)
    resize = T.ResizeShortestEdge([short, short], longest)
    resized = resize.get_transform(pixels).apply_image(pixels)
    ours = input_sizes(np.array([size]), InputSize(short, longest))
    assert tuple(ours[0].tolist()) == resized.shape[:2]


def test_without_a_resize_images_stay_as_they_are():
    assert input_sizes(np.array([[3, 4]]), InputSize(0, 0)).tolist() == [[3, 4]]


def test_boxes_follow_their_image():
    boxes = boxes_at_input([[10, 20, 30, 40]], [[100, 200]], [[200, 300]])
    assert boxes.tolist() == [[15, 40, 45, 80]]


@pytest.mark.parametrize(
    "box, iou",
    [
        ([8, 8, 24, 24], 1),  # the centre (16, 16) is a cell
        ([8, 8, 24, 16], 0.5 / (1 + 0)),  # half of the anchor, wholly inside of it
        ([10, 8, 26, 24], 14 / 18),  # two pixels off the cell
        ([0, 0, 64, 64], 256 / 4096),
        ([5, 5, 5, 9], 0),  # no extent
    ],
)
def test_the_best_square_by_hand(box, iou):
    found, level = best_anchors([box], [[64, 64]], SQUARE)
    assert found.tolist() == pytest.approx([iou], abs=1e-12)
    assert level.tolist() == [0 if iou else -1]


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_no_anchor_of_the_whole_grid_is_better(offset):
    sizes, ratios, strides = [[16, 24], [32], [64]], [0.5, 1.0, 2.0], [4, 8, 16]
    generator = DefaultAnchorGenerator(
        sizes=sizes, aspect_ratios=ratios, strides=strides, offset=offset
    )
    height, width = 96, 128
    maps = [torch.zeros(1, 1, height // s, width // s) for s in strides]
    everything = [boxes.tensor for boxes in generator(maps)]
    cells = generator([torch.zeros(1, 1, 1, 1)] * 3)
    grid = AnchorGrid(
        tuple(b.tensor.double().numpy() - offset * s for b, s in zip(cells, strides, strict=True)),
        tuple(strides),
        offset,
    )
    rng = np.random.default_rng(0)
    low = rng.uniform(0, [width - 2, height - 2], (200, 2))
    high = low + rng.uniform(1, [width, height], (200, 2))
    boxes = np.concatenate([low, np.minimum(high, [width, height])], axis=1)
    ours, levels = best_anchors(boxes, np.tile([height, width], (200, 1)), grid)
    theirs = pairwise_iou(
        Boxes(torch.tensor(boxes, dtype=torch.float32)), Boxes(torch.cat(everything))
    )
    assert ours == pytest.approx(theirs.max(1).values.numpy(), abs=1e-5)
    starts = np.cumsum([0, *(len(level) for level in everything)])
    spans = zip(starts[:-1], starts[1:], strict=True)
    by_level = np.stack([theirs[:, a:b].max(1).values for a, b in spans], axis=1)
    assert by_level[np.arange(200), levels] == pytest.approx(ours, abs=1e-5)


def test_levels_by_the_paper():
    sides = np.array([1, 111, 112, 223, 224, 447, 448, 5000])
    boxes = np.stack([0 * sides, 0 * sides, sides, sides], axis=1)
    assert pyramid_levels(boxes, (2, 3, 4, 5)).tolist() == [2, 2, 3, 3, 4, 4, 5, 5]
    assert pyramid_levels([[0, 0, 0, 0]], (2, 3)).tolist() == [2]


def test_vanishing_boxes_are_small_both_ways():
    boxes = [[0, 0, 3, 3], [0, 0, 3, 9], [0, 0, 4, 4]]
    assert vanishing(boxes, 4).tolist() == [True, False, False]


def test_recall_is_percent():
    assert recall(np.array([0.5, 0.49, 1, 0])) == 50
    assert np.isnan(recall(np.zeros(0)))


def test_the_fit_scales_boxes_to_the_input():
    # 50 x 100 becomes 100 x 200: a box of 8 x 8 at (4, 4) becomes 16 x 16 around (16, 16).
    detector = Detector("d", InputSize(100, 1000), SQUARE, (3, 4))
    fit = fit_to_model(
        np.array([[4.0, 4, 12, 12], [0, 0, 2, 2]]),
        np.array([0, 0]),
        np.array([[50, 100]]),
        detector,
    )
    assert fit.iou.tolist() == pytest.approx([1, 16 / 256])
    assert fit.vanishes.tolist() == [False, True]
    assert fit.roi_level.tolist() == [3, 3]
    assert fit.median_scale == 2


def test_no_boxes():
    detector = Detector("d", InputSize(100, 1000), SQUARE, (3, 4))
    fit = fit_to_model(np.zeros((0, 4)), np.zeros(0, np.int64), np.array([[50, 100]]), detector)
    assert fit.iou.shape == fit.roi_level.shape == (0,)
