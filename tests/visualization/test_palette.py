"""Class colours: stable, distinct for every kind of colour vision, readable text on them."""

import itertools

from project.visualization.palette import (
    DEFICIENCIES,
    NUM_COLORS,
    class_color,
    color_distance,
    text_color,
)

import numpy as np
import pytest


def test_the_first_colours_never_change():
    assert [class_color(i) for i in range(4)] == [
        (213, 94, 0),
        (0, 114, 178),
        (240, 228, 66),
        (204, 121, 167),
    ]


def test_all_colours_differ_and_repeat_after_the_last():
    colors = [class_color(i) for i in range(NUM_COLORS)]
    assert len(set(colors)) == NUM_COLORS
    assert class_color(NUM_COLORS + 3) == class_color(3)
    assert all(isinstance(v, int) and 0 <= v <= 255 for color in colors for v in color)


@pytest.mark.parametrize("vision", [None, *DEFICIENCIES])
@pytest.mark.parametrize("count, least", [(4, 20), (7, 16), (20, 14), (80, 5)])
def test_colours_stay_apart_under_every_colour_vision(vision, count, least):
    colors = np.array([class_color(i) for i in range(count)])
    pairs = np.array(list(itertools.combinations(range(count), 2)))
    distances = color_distance(colors[pairs[:, 0]], colors[pairs[:, 1]], vision)
    assert distances.min() >= least


def test_distances_are_those_of_cielab():
    assert color_distance((0, 0, 0), (255, 255, 255)) == pytest.approx(100, abs=0.1)
    # sRGB red is L 53.24, a 80.09, b 67.20.
    assert color_distance((255, 0, 0), (0, 0, 0)) == pytest.approx(117.33, abs=0.1)


def test_red_and_green_of_one_lightness_come_together_for_deuteranopes():
    red, green = (180, 60, 40), (100, 110, 20)
    assert color_distance(red, green, "deuteranopia") < 0.35 * color_distance(red, green)


def test_text_is_dark_on_light_and_light_on_dark():
    assert text_color((240, 228, 66)) == (16, 16, 16)
    assert text_color((0, 60, 120)) == (255, 255, 255)
