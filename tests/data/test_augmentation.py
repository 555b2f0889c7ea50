"""Colour jitter: ranges, channel order, determinism."""

from __future__ import annotations

from project.data.augmentation import ColorJitter, adjust_color
from project.errors import UserError

import numpy as np
import pytest
from detectron2.data import transforms as T

IMAGE = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
LUMA = (0.299, 0.587, 0.114)


def jittered(image, seed=0, **options):
    np.random.seed(seed)
    aug_input = T.AugInput(image)
    ColorJitter(**options)(aug_input)
    return aug_input.image


def test_no_amount_changes_nothing():
    np.testing.assert_array_equal(jittered(IMAGE, brightness=0, contrast=0, saturation=0), IMAGE)


def test_factors_by_hand():
    image = np.array([[[100, 100, 100], [200, 100, 0]]], np.uint8)
    dark = adjust_color(image, (0.5, 1, 1), LUMA)
    assert dark.tolist() == [[[50, 50, 50], [100, 50, 0]]]
    flat = adjust_color(image, (1, 0, 1), LUMA)
    assert (flat == 100).all()
    gray = adjust_color(image, (1, 1, 0), LUMA)  # 200 * 0.299 + 100 * 0.587 = 118.5
    assert gray[0, 0].tolist() == [100, 100, 100]
    assert gray[0, 1].tolist() == [118, 118, 118]
    assert adjust_color(image, (2, 1, 1), LUMA).max() == 255


def test_bgr_is_rgb_turned_round():
    rgb = jittered(IMAGE, seed=3, saturation=0.9, image_format="RGB")
    bgr = jittered(IMAGE[..., ::-1].copy(), seed=3, saturation=0.9, image_format="BGR")
    np.testing.assert_array_equal(bgr[..., ::-1], rgb)
    assert (rgb != IMAGE).any()


def test_the_seed_decides():
    assert (jittered(IMAGE, seed=1) == jittered(IMAGE, seed=1)).all()
    assert (jittered(IMAGE, seed=1) != jittered(IMAGE, seed=2)).any()


@pytest.mark.parametrize("options", [{"contrast": 1.5}, {"brightness": -0.1}])
def test_amounts_outside_zero_to_one_are_refused(options):
    with pytest.raises(UserError, match="amounts must be 0 to 1"):
        ColorJitter(**options)


def test_unknown_channel_order_is_refused():
    with pytest.raises(UserError, match="image_format 'HSV'"):
        ColorJitter(image_format="HSV")
