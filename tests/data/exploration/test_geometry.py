"""Boxes: sizes, shapes, places."""

from project.data.exploration.objects import (
    aspect_ratios,
    frame_contacts,
    image_shares,
    position_map,
    size_classes,
)

import numpy as np
import pytest

SIZE = np.array([[100, 200]])


def test_size_classes_change_at_32_and_96_squared():
    assert size_classes(np.array([0, 1023.9, 1024, 9215.9, 9216])).tolist() == [0, 0, 1, 1, 2]


def test_image_shares_are_percent():
    assert image_shares(np.array([200.0]), SIZE).tolist() == [1]


def test_aspect_ratio_is_width_over_height():
    ratios = aspect_ratios(np.array([[10, 40], [40, 10], [0, 5]]))
    assert ratios[:2].tolist() == [4, 0.25]
    assert np.isnan(ratios[2])


@pytest.mark.parametrize(
    "box, sides",
    [
        ([5, 5, 9, 9], [False] * 4),
        ([1, 5, 9, 9], [True, False, False, False]),
        ([5, 0.5, 9, 9], [False, True, False, False]),
        ([5, 5, 199, 99.5], [False, False, True, True]),
        ([1.1, 1.1, 198.9, 98.9], [False] * 4),
    ],
)
def test_frame_contacts(box, sides):
    assert frame_contacts(np.array([box]), SIZE).tolist() == [sides]


def test_position_map_by_hand():
    # The left half of the image; then the middle of the first cell of a 2x2 grid, a quarter of it.
    half = position_map(np.array([[0.0, 0, 100, 100]]), SIZE, grid=2)
    assert half.tolist() == [[1, 0], [1, 0]]
    quarter = position_map(np.array([[25.0, 12.5, 75, 37.5]]), SIZE, grid=2)
    assert quarter.tolist() == [[0.25, 0], [0, 0]]
    both = position_map(np.array([[0.0, 0, 100, 100], [25, 12.5, 75, 37.5]]), SIZE[[0, 0]], grid=2)
    assert both.tolist() == [[0.625, 0], [0.5, 0]]


def test_position_map_keeps_all_area():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 90, (50, 2))
    boxes = np.concatenate([low, low + rng.uniform(0, 10, (50, 2))], axis=1)
    sizes = np.full((50, 2), 100)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).mean() / 100**2
    assert position_map(boxes, sizes, grid=7).mean() == pytest.approx(area)


def test_no_boxes():
    none = np.zeros((0, 4))
    assert position_map(none, np.zeros((0, 2)), grid=3).tolist() == np.zeros((3, 3)).tolist()
    assert frame_contacts(none, np.zeros((0, 2))).shape == (0, 4)
    assert aspect_ratios(np.zeros((0, 2))).shape == (0,)
