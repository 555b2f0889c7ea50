"""Masks as windows: the pixels of whole-picture masks, drawn many at once."""

from __future__ import annotations

from project.data.patches import NOTHING, Patch, draw_polygons, tight, union

import numpy as np
import pytest
from detectron2.structures import polygons_to_bitmask

SIZE = (60, 80)


def whole(patch, size=SIZE):
    mask = np.zeros(size, bool)
    mask[patch.top : patch.bottom, patch.left : patch.right] = patch.pixels
    return mask


def reference(polygon, size=SIZE):
    return polygons_to_bitmask([polygon.reshape(-1)], *size)


def square(x, y, side):
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]], float)


def test_windows_by_hand():
    small, large = draw_polygons([square(5, 10, 3), square(20, 20, 30)], *SIZE)
    assert (small.top, small.left) == (10, 5)
    assert (large.top, large.left) == (20, 20)
    assert [whole(p).sum() for p in (small, large)] == [9, 900]
    assert small.pixels.size <= 16  # a column and a row more at most
    mask = whole(large)
    assert mask[20:50, 20:50].all()


def random_polygons(rng, number):
    for _ in range(number):
        centre, radius = rng.uniform(-0.1, 1.1, 2) * SIZE[::-1], rng.uniform(1, 50)
        points = centre + rng.uniform(-radius, radius, (rng.integers(3, 20), 2))
        inside = np.clip(points, 0, SIZE[::-1])
        yield [points, inside, inside.round(2), inside.round(1), inside.round()][rng.integers(5)]


def test_pixels_are_those_of_whole_pictures():
    rng = np.random.default_rng(0)
    wrong = pixels = 0
    for _ in range(40):
        polygons = list(random_polygons(rng, rng.integers(1, 12)))
        for polygon, patch in zip(polygons, draw_polygons(polygons, *SIZE), strict=True):
            expected = reference(polygon)
            wrong += (whole(patch) ^ expected).sum()
            pixels += expected.sum()
    assert pixels > 50_000
    # Ties of rounding, where an edge passes exactly through a border of fifths.
    assert wrong <= 3


def test_neighbours_dont_touch_one_another():
    polygons = [square(0, 0, 60), square(20, 0, 60), square(0.2, 0.2, 0.4), square(79, 59, 1)]
    alone = [draw_polygons([polygon], *SIZE)[0] for polygon in polygons]
    for one, other in zip(alone, draw_polygons(polygons, *SIZE), strict=True):
        np.testing.assert_array_equal(whole(one), whole(other))
    assert [whole(p).sum() for p in alone] == [3600, 3600, whole(alone[2]).sum(), 1]


@pytest.mark.parametrize(
    "polygon",
    [square(-20, -20, 200), square(70, 50, 40), square(200, 200, 5), square(-30, 5, 10)],
)
def test_polygons_beyond_the_frame(polygon):
    (patch,) = draw_polygons([polygon], *SIZE)
    np.testing.assert_array_equal(whole(patch), reference(polygon))


def test_nothing_to_draw():
    assert draw_polygons([], *SIZE) == []
    assert tight(Patch(np.zeros((4, 5), bool), 3, 3)) is NOTHING
    assert union([]).pixels.size == 0


def test_union_covers_overlaps_once():
    parts = [Patch(np.ones((3, 4), bool), 2, 1), Patch(np.ones((2, 2), bool), 4, 4)]
    both = union(parts)
    assert (both.top, both.left, both.bottom, both.right) == (2, 1, 6, 6)
    np.testing.assert_array_equal(whole(both), whole(parts[0]) | whole(parts[1]))
    assert both.pixels.sum() == 12 + 4 - 1


def test_tight_by_hand():
    pixels = np.zeros((6, 7), bool)
    pixels[2, 3] = pixels[4, 5] = True
    found = tight(Patch(pixels, 10, 20))
    assert (found.top, found.left, found.bottom, found.right) == (12, 23, 15, 26)
    assert found.pixels.tolist() == [[True, False, False], [False] * 3, [False, False, True]]
