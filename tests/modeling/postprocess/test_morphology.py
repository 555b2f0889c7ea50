"""Opening, closing, holes and parts on masks small enough to check by eye."""

from project.errors import UserError
from project.modeling.postprocess.morphology import (
    close_mask,
    disc,
    fill_holes,
    open_mask,
    remove_small_parts,
)

import numpy as np
import pytest


def mask_of(*rows: str) -> np.ndarray:
    return np.array([[sign == "#" for sign in row] for row in rows])


def shown(mask: np.ndarray) -> list[str]:
    assert mask.dtype == bool
    return ["".join(".#"[int(v)] for v in row) for row in mask]


def test_disc():
    assert disc(0).tolist() == [[1]]
    assert disc(1).tolist() == [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    assert disc(2).sum() == 13  # 1 + 3 + 5 + 3 + 1


def test_opening_takes_hairs_and_keeps_what_the_edge_cuts():
    mask = mask_of("##....", "##....", "##..#.", "##....", "######", "##....", "##....")
    # A cross fits in the two columns at the left because what lies beyond the image is unknown.
    assert shown(open_mask(mask, 1)) == [
        "##....",
        "##....",
        "##....",
        "##....",
        "###...",
        "##....",
        "##....",
    ]


def test_closing_fills_cracks_only():
    mask = mask_of(".......", ".##.##.", ".##.##.", ".##.##.", ".......")
    closed = close_mask(mask, 1)
    assert closed[mask].all()
    assert closed[2, 3]
    assert not closed[0].any()
    assert not closed[:, 0].any()


def test_opening_and_closing_are_idempotent():
    mask = np.random.default_rng(0).random((30, 40)) < 0.6
    for radius in (1, 2):
        opened, closed = open_mask(mask, radius), close_mask(mask, radius)
        assert (opened <= mask).all()
        assert (closed >= mask).all()
        assert (open_mask(opened, radius) == opened).all()
        assert (close_mask(closed, radius) == closed).all()


def test_holes_by_area_and_not_at_the_edge():
    mask = mask_of("#.#####", "###...#", "#.#...#", "#######", "#######")
    assert shown(fill_holes(mask)) == ["#.#####", *4 * ["#######"]]
    assert shown(fill_holes(mask, 5)) == ["#.#####", "###...#", "###...#", "#######", "#######"]


def test_a_diagonal_gap_does_not_open_a_hole():
    mask = mask_of("###.", "#.#.", "###.", "...#")
    assert fill_holes(mask)[1, 1]
    diagonal = mask_of(".#.", "#.#", ".#.")  # closed for 8-connected masks
    assert fill_holes(diagonal)[1, 1]


def test_full_mask_is_no_hole_and_empty_mask_no_part():
    full, empty = np.ones((4, 5), bool), np.zeros((4, 5), bool)
    for mask in (full, empty):
        for tidy in (fill_holes, remove_small_parts):
            assert (tidy(mask) == mask).all()
        assert (open_mask(close_mask(mask, 1), 1) == mask).all()
    nothing = np.zeros((0, 0), bool)
    for tidy in (fill_holes, remove_small_parts):
        assert tidy(nothing).shape == (0, 0)
    assert open_mask(close_mask(nothing, 1), 1).shape == (0, 0)


def test_small_parts():
    mask = mask_of("##...#", "##....", ".....#", "..#..#", "......")
    assert remove_small_parts(mask, 2).sum() == 6
    assert remove_small_parts(mask, min_share=0.5).sum() == 6
    assert remove_small_parts(mask, min_share=0.51).sum() == 4
    assert shown(remove_small_parts(mask, 3))[:3] == ["##....", "##....", "......"]
    assert not remove_small_parts(mask, 5).any()
    diagonal = mask_of("#..", ".#.", "..#")
    assert remove_small_parts(diagonal, 3).sum() == 3


def test_nothing_changes_its_input():
    mask = np.random.default_rng(1).random((12, 9)) < 0.5
    before = mask.copy()
    for result in (
        open_mask(mask, 0),
        close_mask(mask, 0),
        fill_holes(mask, 0),
        remove_small_parts(mask),
    ):
        assert (result == mask).all()
        result[:] = True
        assert (mask == before).all()


def test_wrong_input():
    with pytest.raises(UserError, match=r"shape \(1, 2, 3\); expected \(height, width\)"):
        fill_holes(np.zeros((1, 2, 3), bool))
    with pytest.raises(UserError, match="radius is -1; expected whole pixels"):
        open_mask(np.zeros((2, 2), bool), -1)
