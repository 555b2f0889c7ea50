"""Text of any script, and labels that don't cover each other."""

import itertools

from project.visualization.labels import (
    draw_plate,
    place_labels,
    plate_size,
    printable,
    text_coverage,
)

import numpy as np
import pytest


def rectangles(corners, sizes):
    return [
        (x, y, x + w, y + h)
        for corner, (h, w) in zip(corners, sizes, strict=True)
        if corner is not None
        for x, y in [corner]
    ]


def overlap(a, b) -> float:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def test_a_label_stands_above_its_box():
    assert place_labels([(50, 60, 150, 160)], [(15, 40)], (300, 300)) == [(50, 45)]


def test_a_label_stays_inside_the_image():
    ((x, y),) = place_labels([(-20, -10, 400, 320)], [(15, 40)], (300, 300))
    assert 0 <= x <= 260
    assert 0 <= y <= 285


def test_labels_of_boxes_at_one_place_do_not_cover_each_other():
    boxes, sizes = [(50, 60, 150, 160)] * 6, [(15, 60)] * 6
    corners = place_labels(boxes, sizes, (300, 300))
    assert None not in corners
    assert all(overlap(a, b) == 0 for a, b in itertools.combinations(rectangles(corners, sizes), 2))


def test_crowded_labels_never_overlap_and_the_first_are_served_first():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 200, (80, 2))
    boxes = np.concatenate([low, low + rng.uniform(60, 100, (80, 2))], axis=1)
    sizes = [(12, 40)] * 80
    corners = place_labels(boxes, sizes, (300, 300))
    placed = rectangles(corners, sizes)
    assert 20 < len(placed) < 80
    assert corners[0] is not None
    assert all(overlap(a, b) == 0 for a, b in itertools.combinations(placed, 2))
    assert all(min(box) >= 0 and max(box) <= 300 for box in placed)


def test_a_label_avoids_small_objects():
    # The place above the first box is full of a small object; the next best is inside.
    boxes = [(50, 60, 150, 160), (52, 46, 62, 58)]
    corner = place_labels(boxes, [(15, 40), (15, 40)], (300, 300))[0]
    assert overlap((*corner, corner[0] + 40, corner[1] + 15), boxes[1]) == 0


def test_a_label_that_would_hide_its_object_is_left_out():
    # The object fills an image that is hardly larger than the label.
    assert place_labels([(0, 0, 40, 16)], [(15, 40)], (16, 40)) == [None]


def test_no_labels():
    assert place_labels([], [], (10, 10)) == []


@pytest.mark.parametrize(
    "name, shown",
    [
        ("dog", "dog"),
        ("Žluťoučký kůň", "Žluťoučký kůň"),
        ("a\nb\x00c", "a·b·c"),
        ("\ud800x", "·x"),
        ("ab\u202ecd", "ab·cd"),
        ("x" * 40, "x" * 31 + "…"),
        ("", ""),
    ],
)
def test_names_are_made_printable(name, shown):
    assert printable(name) == shown
    assert text_coverage(shown, 13).dtype == np.uint8


def test_accents_and_other_scripts_leave_their_own_ink():
    words = ["kun", "kůň", "пёс", "σκύλος", "犬"]  # the font lacks the last: a box
    drawings = [text_coverage(word, 20) for word in words]
    assert all(d.max() > 200 for d in drawings)
    assert len({d.tobytes() for d in drawings}) == len(words)
    assert len({d.shape[0] for d in drawings}) == 1


def test_a_plate_is_cut_at_the_border_of_the_image():
    image = np.full((20, 30, 3), 200, np.uint8)
    height, width = plate_size("person 0.97", 13)
    assert width > 30
    draw_plate(image, "person 0.97", 13, 10, 12, (0, 114, 178), (255, 255, 255))
    assert (image[:12] == 200).all()
    assert (image[:, :10] == 200).all()
    assert tuple(image[12, 10]) == (0, 114, 178)
    draw_plate(image, "dog", 13, 40, 40, (0, 0, 0), (255, 255, 255))  # wholly outside
