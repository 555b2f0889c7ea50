"""Objects before they become tensors: drawing, hiding, dropping."""

from __future__ import annotations

from project.data.instances import as_instances
from project.data.objects import Objects
from project.data.patches import Patch

import numpy as np
import torch
from detectron2.structures import PolygonMasks

SIZE = (4, 6)


def square(y, x, h, w):
    return [np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], np.float64)]


def objects(*masks):
    return Objects(list(masks), np.arange(len(masks)), SIZE)


def hidden(*windows):
    pixels = np.zeros(SIZE, bool)
    for rows, columns in windows:
        pixels[rows, columns] = True
    return pixels


def areas(found):
    return [int(patch.pixels.sum()) for patch in found.drawn().masks]


def test_what_is_hidden_leaves_mask_and_box():
    # 2 x 4 pixels at rows 1-2, columns 1-4; columns 3 and on are hidden
    seen = objects(square(1, 1, 2, 4)).without(hidden((slice(None), slice(3, None))), 0.5)
    patch = seen.masks[0]
    assert (patch.top, patch.left, patch.pixels.tolist()) == (1, 1, [[True, True]] * 2)
    assert as_instances(seen).gt_boxes.tensor.tolist() == [[1, 1, 3, 3]]


def test_too_little_left_is_dropped():
    three_of_four = hidden((slice(None), slice(0, 3)))
    both = objects(square(0, 0, 1, 4), square(1, 0, 1, 4))
    assert areas(both.without(three_of_four, 0.25)) == [1, 1]
    assert areas(both.without(three_of_four, 0.26)) == []
    everything = np.ones(SIZE, bool)
    assert areas(both.without(everything, 0.0)) == []


def test_only_those_that_are_hit_can_be_dropped():
    both = objects(square(0, 0, 1, 1), square(2, 0, 2, 2))
    seen = both.without(hidden((slice(2, 4), slice(0, 1)), (slice(2, 3), slice(1, 2))), 0.5)
    assert seen.classes.tolist() == [0]
    assert areas(seen) == [1]


def test_polygons_stay_where_nothing_is_hit():
    both = objects(square(0, 0, 1, 1), square(2, 0, 2, 2))
    elsewhere = hidden((slice(None), slice(4, None)))
    assert both.without(elsewhere, 1.0) is both
    assert isinstance(as_instances(both, "polygon").gt_masks, PolygonMasks)
    seen = both.without(hidden((slice(0, 4), slice(1, 2))), 0.0)
    assert isinstance(seen.masks[0], Patch)
    assert as_instances(seen, "polygon").gt_masks.tensor.shape == (2, *SIZE)


def test_masks_are_the_same_drawn_first_or_last():
    some = objects(square(0.4, 1.3, 2, 3), Patch(np.ones((2, 2), bool), 2, 0))
    first, last = as_instances(some.drawn()), as_instances(some)
    assert torch.equal(first.gt_masks.tensor, last.gt_masks.tensor)


def test_no_objects():
    nothing = objects().without(np.ones(SIZE, bool), 0.5)
    assert nothing.masks == []
    assert len(as_instances(nothing.drawn())) == 0


def test_objects_outside_the_picture_are_neither_hit_nor_kept():
    outside = objects(square(0, 10, 2, 2), square(0, 0, 2, 2))
    seen = outside.without(hidden((0, 0)), 0.1)
    assert as_instances(seen).gt_classes.tolist() == [1]
