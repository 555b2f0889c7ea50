"""Refinements by name: what each leaves alone, and that the window around an object suffices."""

from project.errors import UserError
from project.modeling.postprocess.refine import REFINEMENTS, object_band, refine_mask

import numpy as np
import pytest

FAST = [name for name in REFINEMENTS if name != "pymatting"]


def square():
    """A red square of 24 pixels before noise, and a soft mask that is 2 pixels too wide."""
    image = np.random.default_rng(0).integers(90, 110, (70, 80, 3), np.uint8)
    image[20:44, 30:54, 0] = 220
    probability = np.zeros((70, 80), np.float32)
    probability[18:46, 28:56] = 0.6
    probability[22:42, 32:52] = 1
    truth = np.zeros((70, 80), bool)
    truth[20:44, 30:54] = True
    return image, probability, truth


@pytest.mark.parametrize("name", FAST)
def test_empty_stays_empty_and_full_stays_full(name):
    image = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    for value in (0.0, 1.0):
        refined = refine_mask(image, np.full((20, 30), value), name)
        assert refined.dtype == bool
        assert (refined == bool(value)).all()


@pytest.mark.parametrize("name", FAST)
def test_what_is_around_does_not_matter(name):
    image, probability, _ = square()
    refined = refine_mask(image, probability, name)
    far = np.pad(image, [(40, 30), (20, 60), (0, 0)], mode="wrap")
    found = refine_mask(far, np.pad(probability, [(40, 30), (20, 60)]), name)
    # The band depends on the object, and only for large objects on the image.
    assert (found[40:-30, 20:-60] == refined).all()


@pytest.mark.parametrize("name", ["trimap", "crf"])
def test_an_edge_of_color_is_found(name):
    image, probability, truth = square()
    before = (refine_mask(image, probability, "none") != truth).sum()
    after = (refine_mask(image, probability, name) != truth).sum()
    assert before == 28 * 28 - 24 * 24
    assert after <= 0.1 * before


def test_shape_alone():
    image, probability, _ = square()
    probability[30, 40] = probability[5, 5] = 0.0
    probability[5:7, 70:72] = 1
    full = refine_mask(image, probability, "none")
    assert full.sum() == 28 * 28 - 1 + 4
    assert refine_mask(image, probability, "holes").sum() == full.sum() + 1
    assert refine_mask(image, probability, "parts").sum() == full.sum() - 4
    assert refine_mask(image, probability, "closing")[30, 40]
    assert not refine_mask(image, probability, "opening")[5:7, 70:72].any()


def test_band_grows_with_the_object_up_to_the_image_s():
    mask = np.zeros((300, 400), bool)
    mask[:10, :10] = True
    assert object_band(mask) == 1
    mask[:100, :100] = True
    assert object_band(mask) == 4
    assert object_band(np.ones_like(mask)) == 6  # 1.2 % of 500


def test_wrong_input():
    image, probability, _ = square()
    with pytest.raises(UserError, match="unknown refinement 'crv'; did you mean 'crf'"):
        refine_mask(image, probability, "crv")
    with pytest.raises(UserError, match=r"mask of shape \(70, 79\); expected uint8"):
        refine_mask(image, probability[:, 1:], "none")
