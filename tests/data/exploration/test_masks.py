"""One mask's structure, and how masks share pixels, by hand."""

from project.data.coco_masks import Rle
from project.data.exploration.masks import (
    CroppedMask,
    boundary_length,
    complexity,
    crop,
    num_vertices,
    parts_and_holes,
    pixel_claims,
    rasterise,
    small_mask,
)

import numpy as np
import pytest

SQUARE = [[2, 1, 6, 1, 6, 4, 2, 4]]  # x 2..6, y 1..4: 12 pixels


def picture(*rows: str) -> np.ndarray:
    return np.array([[c == "#" for c in row] for row in rows])


def test_polygons_are_filled():
    mask = rasterise(SQUARE, 10, 20)
    assert (mask.x, mask.y, mask.pixels.shape) == (2, 1, (3, 4))
    assert mask.pixels.all()


def test_run_lengths_go_down_the_columns():
    mask = rasterise(Rle((2, 3), [1, 2, 3]), 2, 3)
    assert mask.pixels.tolist() == [[False, True], [True, False]]
    assert (mask.x, mask.y) == (0, 0)


def test_both_kinds_agree_with_pycocotools():
    from pycocotools import mask as coco_mask

    outline = [[3.3, 2.1, 17.8, 4.4, 12.2, 18.9, 4.5, 11.1]]
    bitmap = coco_mask.decode(coco_mask.frPyObjects(outline, 20, 20))[..., 0].astype(bool)
    flat = bitmap.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    for mask in (outline, Rle((20, 20), runs)):
        piece = rasterise(mask, 20, 20)
        whole = np.zeros((20, 20), bool)
        whole[piece.window] = piece.pixels
        assert (whole == bitmap).all()


def test_an_outline_there_and_back_holds_nothing():
    assert rasterise([[5, 1, 5, 6, 5, 1]], 10, 10) is None
    assert crop(np.zeros((3, 3), bool)) is None


@pytest.mark.parametrize(
    "rows, expected",
    [
        (["#"], (1, 0)),
        (["#.#"], (2, 0)),
        (["#.", ".#"], (1, 0)),  # corners hold a part together
        (["###", "#.#", "###"], (1, 1)),
        (["##.", "#.#", "###"], (1, 1)),  # a hole isn't open at a corner
        (["###", "#.#", "#.#"], (1, 0)),
        (["#####", "#.#.#", "#####", ".....", "#####"], (2, 2)),
    ],
)
def test_parts_and_holes(rows, expected):
    assert parts_and_holes(picture(*rows)) == expected


def test_vertices_and_boundary():
    pixels = np.ones((3, 4), bool)
    assert num_vertices(SQUARE) == 4
    assert boundary_length(SQUARE, pixels) == 14
    triangle = [[0, 0, 3, 0, 3, 4]]
    assert boundary_length(triangle + SQUARE, pixels) == 12 + 14
    rle = Rle((3, 4), [0, 12])
    assert num_vertices(rle) == 0
    assert boundary_length(rle, pixels) == pytest.approx(14 * np.pi / 4)


def test_the_boundary_of_a_disc_comes_out_right_from_its_pixels():
    rows, columns = np.mgrid[:201, :201]
    disc = (rows - 100) ** 2 + (columns - 100) ** 2 <= 80**2
    length = boundary_length(Rle((201, 201), []), disc)
    assert length == pytest.approx(2 * np.pi * 80, rel=0.01)
    assert complexity(length, disc.sum()) == pytest.approx(1, rel=0.02)


def test_complexity():
    assert complexity(4, 1) == pytest.approx(4 / np.pi)
    assert np.isnan(complexity(4, 0))


def test_small_masks_keep_the_share_of_each_cell():
    assert small_mask(picture("##", "..")).mean() == 0.5
    assert small_mask(picture("##", ".."), 2).tolist() == [[1, 1], [0, 0]]
    assert small_mask(picture("###...", "###..."), 1).tolist() == [[0.5]]
    # Three pixels on two cells: the middle one belongs half to each.
    assert small_mask(picture("#.."), 2)[0] == pytest.approx([2 / 3, 0])
    assert small_mask(picture(".#."), 2)[0] == pytest.approx([1 / 3, 1 / 3])


def test_claims_by_hand():
    # 4 by 5 pixels.  a a . . .    a: an L of class 0, its box 2x2, one pixel not its own
    #                  a b b . .    b: 3 pixels of class 1, one of them in a's box
    #                  . . b . c    c: class 0, shares nothing; crowd: all of the last row, and c
    a = CroppedMask(picture("##", "#."), 0, 0)
    b = CroppedMask(picture("##", ".#"), 1, 1)
    c = CroppedMask(picture("#"), 4, 2)
    crowd = CroppedMask(picture("....#", "#####"), 0, 2)
    claims = pixel_claims([a, b, c], [0, 1, 0], [crowd], (4, 5), 3)
    assert claims.class_pixels.tolist() == [4, 3, 0]
    assert claims.shared == 0
    assert claims.crowd == 5
    assert claims.background == 20 - 7 - 5
    assert claims.overlap.tolist() == [0, 0, 0]
    assert claims.cover.tolist() == [25, 0, 0]


def test_pixels_of_two_objects_of_a_class_count_once():
    a = CroppedMask(picture("###"), 0, 0)
    b = CroppedMask(picture("##"), 2, 0)
    claims = pixel_claims([a, b], [0, 0], [], (1, 5), 1)
    assert claims.class_pixels.tolist() == [4]
    assert claims.shared == 1
    assert claims.overlap == pytest.approx([100 / 3, 50])
    assert claims.cover.tolist() == [0, 0]


def test_an_image_without_masks_is_background():
    claims = pixel_claims([], [], [], (4, 5), 2)
    assert (claims.background, claims.crowd, claims.shared) == (20, 0, 0)
    assert claims.class_pixels.tolist() == [0, 0]
    assert claims.cover.shape == (0,)
