"""Trimaps by hand; alpha and foreground colour of drawn images whose truth is known."""

import sys

from project.errors import UserError
from project.modeling.postprocess.matting import (
    METHODS,
    default_band,
    estimate_foreground,
    refine_alpha,
    trimap,
)

import cv2
import numpy as np
import pytest

FRONT, BACK = np.float32([200, 80, 60]), np.float32([30, 120, 180])


def drawn(radius=30, size=(120, 140)):
    """A disc with a true alpha, its image, and the mask as a coarse grid has it."""
    fine = np.zeros((size[0] * 8, size[1] * 8), np.uint8)
    cv2.circle(fine, (size[1] * 4, size[0] * 4), radius * 8, 255, -1)
    alpha = cv2.resize(fine, size[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    noise = np.random.default_rng(0).normal(0, 3, (*size, 3))
    image = alpha[..., None] * FRONT + (1 - alpha[..., None]) * BACK + noise
    image = image.clip(0, 255).round().astype(np.uint8)
    grid = cv2.resize(alpha, (14, 12), interpolation=cv2.INTER_AREA)
    return image, alpha, cv2.resize(grid, size[::-1], interpolation=cv2.INTER_LINEAR)


def test_trimap_by_hand():
    mask = np.zeros((1, 9), bool)
    mask[0, 4:] = True  # the edge lies between pixels 3 and 4
    assert trimap(mask, 0, 0).tolist() == [[0, 0, 0, 0, 255, 255, 255, 255, 255]]
    assert trimap(mask, 2, 1).tolist() == [[0, 0, 0, 128, 128, 128, 255, 255, 255]]
    assert trimap(mask, 0, 9).tolist() == [[128, 128, 128, 128, 255, 255, 255, 255, 255]]


def test_trimap_of_a_probability():
    probability = np.array([[0.0, 0.05, 0.1, 0.2, 0.49, 0.5, 0.8, 0.9, 0.95, 1.0]])
    expected = [0, 0, 0, 128, 128, 128, 128, 255, 255, 255]
    assert trimap(probability, 0, 0).tolist() == [expected]
    assert trimap(probability, 0, 0, sure=(0.45, 0.55)).tolist() == [
        [0, 0, 0, 0, 128, 128, 255, 255, 255, 255]
    ]


def test_trimap_without_an_edge():
    for value in (False, True):
        assert (trimap(np.full((3, 4), value), 5, 5) == 255 * value).all()
    assert trimap(np.zeros((0, 3), bool), 1, 1).shape == (0, 3)


def test_alpha_of_a_disc_is_found_again():
    image, alpha, coarse = drawn()
    before = np.abs(coarse - alpha)
    found = refine_alpha(image, coarse, "trimap")
    assert found.dtype == np.float32
    after = np.abs(found - alpha)
    # Noise of 3 levels moves a pixel's place between colours 200 levels apart by about 0.015.
    assert before.mean() > 0.03
    assert after.mean() < 0.003
    assert after.max() < 0.15
    assert ((found >= 0.5) != (alpha >= 0.5)).mean() < 0.001


def test_a_hard_mask_gets_soft_edges():
    image, alpha, _ = drawn()
    found = refine_alpha(image, cv2.erode(np.uint8(alpha > 0.5), np.ones((3, 3))) > 0)
    assert np.abs(found - alpha).mean() < 0.003


def test_colors_that_tell_nothing_leave_the_model_s_word():
    probability = drawn()[2]
    image = np.full((*probability.shape, 3), 90, np.uint8)
    found = refine_alpha(image, probability, "trimap", band=4)
    # What is outside of the band and surer than 0.1 and 0.9 becomes 0 and 1; two pixels smooth.
    assert np.abs(found - probability).max() < 0.15


def test_guided_alpha_follows_the_image():
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, 20:] = 255
    probability = np.zeros((40, 40), np.float32)
    probability[:, 18:] = 1
    found = refine_alpha(image, probability, "guided", band=4, epsilon=1e-4)
    assert found[20, 25] > 0.98
    assert found[20, 18] < 0.45  # the model said 1, the colour says 0
    with_more = refine_alpha(image, probability, "guided", band=4, epsilon=10.0)
    assert with_more[20, 18] > found[20, 18]


@pytest.mark.parametrize("method", ["none", "guided", "trimap"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_empty_and_full_masks_stay(method, value):
    image = np.random.default_rng(0).integers(0, 256, (12, 15, 3), np.uint8)
    found = refine_alpha(image, np.full((12, 15), value), method)
    assert (found == value).all()


@pytest.mark.parametrize("method", ["guided", "trimap"])
def test_work_in_a_window_is_work_on_the_image(method):
    image, _, coarse = drawn()
    found = refine_alpha(image, coarse, method, band=3)
    margin = [(40, 50), (60, 30), (0, 0)]
    larger = np.pad(image, margin, mode="edge")
    alpha = refine_alpha(larger, np.pad(coarse, margin[:2]), method, band=3)
    np.testing.assert_allclose(alpha[40:-50, 60:-30], found, atol=1e-5)
    assert (refine_alpha(image, coarse, "none") == coarse).all()


def test_default_band():
    assert default_band(480, 640) == 10  # 1.2 % of 800
    assert default_band(20, 30) == 2


def test_foreground_is_freed_of_the_background():
    image, alpha, _ = drawn()
    found = estimate_foreground(image, alpha)
    assert found.shape == image.shape
    assert found.dtype == np.float32
    edge = (alpha > 0.1) & (alpha < 0.9)
    before, after = (np.abs(c[edge] - FRONT).mean() for c in (image.astype(float), found))
    assert before > 40
    assert after < 4
    # Composed over its own background the image comes back.
    again = alpha[..., None] * found + (1 - alpha[..., None]) * BACK
    assert np.abs(again - image)[alpha > 0].mean() < 4


def test_foreground_where_all_is_object_is_the_image():
    image = np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)
    found = estimate_foreground(image, np.ones((30, 40)))
    np.testing.assert_allclose(found, image, atol=0.01)  # grey levels: float32 sums of a window
    as_float = estimate_foreground(image / np.float32(255), np.ones((30, 40)))
    np.testing.assert_allclose(255 * as_float, found, atol=0.01)
    assert np.isfinite(estimate_foreground(image, np.zeros((30, 40)))).all()
    assert estimate_foreground(image[:0], np.zeros((0, 40))).shape == (0, 40, 3)


def test_wrong_input():
    image, alpha, _ = drawn()
    with pytest.raises(UserError, match="unknown alpha method 'trimp'; did you mean 'trimap'"):
        refine_alpha(image, alpha, "trimp")
    with pytest.raises(UserError, match="image is float32 of shape"):
        refine_alpha(np.float32(image), alpha)
    with pytest.raises(UserError, match=r"the probability of shape \(119, 140\)"):
        refine_alpha(image, alpha[1:])
    with pytest.raises(UserError, match="band is 0; expected at least 1"):
        refine_alpha(image, alpha, band=0)
    with pytest.raises(UserError, match="unknown foreground method 'mll'"):
        estimate_foreground(image, alpha, "mll")
    with pytest.raises(UserError, match=r"alpha \(119, 140\); expected"):
        estimate_foreground(image, alpha[1:])


def test_pymatting_missing_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymatting", None)  # what `import` takes for missing
    image, alpha, _ = drawn()
    remedy = r"PyMatting is not installed; run: pip install -e '\.\[matting\]'"
    with pytest.raises(UserError, match=remedy):
        refine_alpha(image, alpha, "pymatting")
    with pytest.raises(UserError, match=remedy):
        estimate_foreground(image, alpha, "ml")


@pytest.mark.slow
def test_pymatting_finds_the_disc_too():
    pytest.importorskip("pymatting")
    image, alpha, coarse = drawn()
    assert np.abs(refine_alpha(image, coarse, "pymatting") - alpha).mean() < 0.003
    found, ours = (estimate_foreground(image, alpha, method) for method in ("ml", "blur"))
    seen = alpha > 0.1
    # The design's promise for blur fusion, against the better estimate: 0.005 of the range, and
    # here the noise's share of what is left to either.
    assert np.abs(found - ours)[seen].mean() < 255 * 0.01
    assert list(METHODS) == ["none", "guided", "trimap", "pymatting"]
