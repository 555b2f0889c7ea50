"""Pixel values: histograms, means, brightness, sharpness, what stands out."""

from project.data.exploration.pixels import outliers, pixel_measures, summarise_pixels

import numpy as np
import pytest


def test_two_colours_by_hand():
    image = np.array([[[255, 0, 8], [0, 0, 8]]], np.uint8)
    measures = pixel_measures(image)
    assert measures.mean.tolist() == [127.5, 0, 8]
    assert measures.square.tolist() == [255**2 / 2, 0, 64]
    assert measures.brightness == pytest.approx(0.299 * 127.5 + 0.114 * 8)
    histogram = measures.histogram
    assert histogram[0, [0, 63]].tolist() == [1, 1]
    assert histogram[2, 2] == 2  # values 8 to 11
    assert histogram.sum(1).tolist() == [2, 2, 2]


def test_blur_lowers_the_sharpness_and_a_plain_image_has_none():
    import cv2

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    blurred = cv2.GaussianBlur(noise, (0, 0), 3)
    assert pixel_measures(blurred).sharpness < pixel_measures(noise).sharpness / 100
    assert pixel_measures(np.full((9, 9, 3), 77, np.uint8)).sharpness == 0


def test_all_images_together_are_one_large_image():
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((4, 5), (30, 7), (1, 1))]
    measures = [pixel_measures(image) for image in images]
    total = summarise_pixels(*(np.stack([getattr(m, f) for m in measures]) for f in (
        "histogram", "mean", "square",
    )))  # fmt: skip
    pixels = np.concatenate([image.reshape(-1, 3) for image in images])
    assert total.mean == pytest.approx(pixels.mean(0))
    assert total.std == pytest.approx(pixels.std(0))
    assert total.histogram.sum(1) == pytest.approx([100, 100, 100])


def test_no_image():
    total = summarise_pixels(np.zeros((2, 3, 64), int), np.zeros((2, 3)), np.zeros((2, 3)))
    assert np.isnan(total.mean).all()
    assert total.histogram.sum() == 0


def test_outliers_by_hand():
    # Median 10, distances 0 1 1 2 2 90: their median is 1.5, so 3.5 is reached at 7.8 from 10.
    values = [10, 9, 11, 8, 12, 100]
    assert outliers(values).tolist() == [0, 0, 0, 0, 0, 1]
    assert outliers([-v for v in values]).tolist() == [0, 0, 0, 0, 0, -1]
    assert outliers([*values, np.nan]).tolist() == [0, 0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("values", [[], [np.nan], [5, 5, 5, 9]])
def test_nothing_stands_out(values):
    assert outliers(values).tolist() == [0] * len(values)
