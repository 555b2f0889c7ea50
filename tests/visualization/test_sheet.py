"""Legends, pairs and contact sheets: sizes, colours, order."""

from project.visualization.palette import class_color
from project.visualization.sheet import MAX_SHEET_WIDTH, contact_sheet, draw_legend, side_by_side

import numpy as np
import pytest


def flat(height: int, width: int, value: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def has_color(picture: np.ndarray, color) -> bool:
    return bool((picture == np.array(color)).all(-1).any())


def test_the_legend_shows_each_class_once_in_order():
    legend = draw_legend([(3, "person"), (0, "cake"), (3, "person")], 400, 14)
    assert legend.shape[1] == 400
    first = [np.flatnonzero((legend == class_color(i)).all(-1).any(0)).min() for i in (0, 3)]
    assert first[0] < first[1]
    assert not has_color(legend, class_color(1))


def test_a_long_legend_breaks_into_rows():
    classes = [(i, f"class number {i}") for i in range(20)]
    wide, narrow = draw_legend(classes, 4000, 14), draw_legend(classes, 300, 14)
    assert narrow.shape[0] > 5 * wide.shape[0] / 2
    assert all(has_color(narrow, class_color(i)) for i in range(20))


def test_no_classes_no_legend():
    assert draw_legend([], 100, 14).shape == (0, 100, 3)


def test_pictures_stand_side_by_side_unchanged():
    left, right = flat(50, 90, 10), flat(50, 90, 20)
    page = side_by_side([("Labels", left), ("Predictions", right)], "a.jpg", [(1, "car")])
    assert page.shape[1] > 180
    rows = np.flatnonzero((page[:, 0] == 10).all(-1))
    assert len(rows) == 50
    assert (page[rows[0] : rows[-1] + 1, :90] == 10).all()
    assert (page[rows[0] : rows[-1] + 1, -90:] == 20).all()
    assert has_color(page, class_color(1))


def test_long_headings_are_shortened_to_the_picture():
    page = side_by_side([("x" * 500, flat(50, 90, 10))], "n" * 500 + ".jpg")
    assert page.shape[1] == 90


def test_the_sheet_is_filled_row_by_row():
    pictures = [flat(40, 60, value) for value in (10, 20, 30, 40, 50)]
    sheet = contact_sheet(pictures, columns=3)
    places = [np.argwhere((sheet == value).all(-1)) for value in (10, 20, 30, 40, 50)]
    assert [len(p) for p in places] == [40 * 60] * 5
    corners = [tuple(p.min(0)) for p in places]
    assert corners[0][0] == corners[1][0] == corners[2][0] < corners[3][0] == corners[4][0]
    assert corners[0][1] == corners[3][1] < corners[1][1] == corners[4][1] < corners[2][1]


def test_the_sheet_chooses_columns_and_stays_within_its_width():
    tall = contact_sheet([flat(900, 1000, 1)] * 8)
    pairs = contact_sheet([flat(500, 1600, 1)] * 8)
    for sheet, columns in ((tall, 4), (pairs, 2)):
        assert sheet.shape[1] <= MAX_SHEET_WIDTH + 10
        dark = (sheet[sheet.shape[0] // (2 * 8 // columns), :] == 1).all(-1)
        assert np.count_nonzero(np.diff(dark.astype(int)) == 1) == columns


def test_one_upright_picture_does_not_blow_up_the_sheet():
    wide = [flat(100, 200, 1)] * 4
    sheet = contact_sheet([*wide, flat(2000, 200, 2)], columns=5)
    assert sheet.shape[0] < 200


def test_impossible_sheets_are_refused():
    with pytest.raises(ValueError, match="at least one picture"):
        contact_sheet([])
    with pytest.raises(ValueError, match="at least one column, got 0"):
        contact_sheet([flat(5, 5, 0)], columns=0)
