"""The dense CRF beside the formulas, pixel by pixel in plain Python."""

import math
from dataclasses import replace

from project.errors import UserError
from project.modeling.postprocess.crf import (
    MAX_EXACT_PIXELS,
    CrfSettings,
    crf_probability,
    dense_crf,
)

import numpy as np
import pytest
import torch

# Weights low enough that labels stay undecided: a saturated softmax would hide a wrong kernel.
MILD = CrfSettings(
    smooth_weight=0.7,
    smooth_sigma=1.5,
    color_weight=1.1,
    color_sigma=4.0,
    color_range=40.0,
    radius=None,
    iterations=4,
)
MILD_PLAIN = replace(MILD, smooth_weight=0.06, color_weight=0.09, normalization="none")


def problem(labels=3, height=7, width=9, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.random((labels, height, width)) + 0.05
    return p / p.sum(0), rng.integers(0, 256, (3, height, width)).astype(float)


def brute_force(p, image, s: CrfSettings):
    """Mean field by Krähenbühl and Koltun's algorithm 1: N^2 pairs, and Potts' sum as it stands."""
    labels, height, width = p.shape
    places = [(y, x) for y in range(height) for x in range(width)]
    kernels = []
    for weight, sigma, color_range in (
        (s.smooth_weight, s.smooth_sigma, None),
        (s.color_weight, s.color_sigma, s.color_range),
    ):
        k = np.zeros((len(places), len(places)))
        for i, (y, x) in enumerate(places):
            for j, (v, u) in enumerate(places):
                near = s.radius is None or max(abs(y - v), abs(x - u)) <= s.radius
                if i != j and near:
                    power = ((y - v) ** 2 + (x - u) ** 2) / (2 * sigma**2)
                    if color_range:
                        c = image[:, y, x] - image[:, v, u]
                        power += (c @ c) / (2 * color_range**2)
                    k[i, j] = math.exp(-power)
        if s.normalization == "symmetric":
            sums = k.sum(1)
            k = k / np.sqrt(np.outer(sums, sums))
        kernels.append(weight * k)
    unary = -np.log(p.reshape(labels, -1))
    q = np.exp(-unary) / np.exp(-unary).sum(0)
    for _ in range(s.iterations):
        message = np.stack([sum(k @ q[a] for k in kernels) for a in range(labels)])
        others = np.stack([sum(message[b] for b in range(labels) if b != a) for a in range(labels)])
        q = np.exp(-unary - others)
        q /= q.sum(0)
    return q.reshape(p.shape)


@pytest.mark.parametrize("settings", [MILD, MILD_PLAIN], ids=["symmetric", "none"])
@pytest.mark.parametrize("radius", [None, 2, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_within_1e_4_of_brute_force(settings, radius, dtype):
    p, image = problem()
    settings = replace(settings, radius=radius)
    expected = brute_force(p, image, settings)
    assert np.abs(expected - p).max() > 0.02  # it does something
    assert expected.max() < 0.995  # and decides nothing
    found = dense_crf(torch.tensor(p, dtype=dtype), torch.tensor(image, dtype=dtype), settings)
    assert found.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    np.testing.assert_allclose(found.numpy(), expected, atol=tolerance)


@pytest.mark.parametrize("settings", [MILD, MILD_PLAIN], ids=["symmetric", "none"])
def test_a_window_over_the_whole_image_is_exact(settings):
    p, image = (torch.tensor(a) for a in problem(2, 12, 5, seed=1))
    whole = dense_crf(p, image, settings)
    torch.testing.assert_close(dense_crf(p, image, replace(settings, radius=11)), whole)
    less = dense_crf(p, image, replace(settings, radius=1))
    assert (less - whole).abs().max() > 1e-3


@pytest.mark.parametrize("radius", [None, 3])
def test_without_pairs_the_model_keeps_its_word(radius):
    p, image = (torch.tensor(a) for a in problem())
    none = CrfSettings(smooth_weight=0, color_weight=0, radius=radius)
    torch.testing.assert_close(dense_crf(p, image, none), p)
    torch.testing.assert_close(dense_crf(p, image, replace(MILD, radius=radius, iterations=0)), p)


@pytest.mark.parametrize("radius", [None, 2])
def test_order_of_labels_and_flips_do_not_matter(radius):
    p, image = (torch.tensor(a) for a in problem(seed=2))
    settings = replace(MILD, radius=radius)
    q = dense_crf(p, image, settings)
    torch.testing.assert_close(q.sum(0), torch.ones_like(q[0]))
    torch.testing.assert_close(dense_crf(p[[2, 0, 1]], image, settings), q[[2, 0, 1]])
    torch.testing.assert_close(dense_crf(p.flip(2), image.flip(2), settings), q.flip(2))
    torch.testing.assert_close(dense_crf(p.mT, image.mT, settings), q.mT)


def test_an_edge_moves_to_where_the_color_changes():
    image = np.zeros((24, 30, 3), np.uint8)
    image[:, 15:] = (200, 180, 40)
    probability = np.zeros((24, 30), np.float32)
    probability[:, 17:] = 1  # two columns too few
    refined = crf_probability(image, probability, CrfSettings(color_weight=6)) >= 0.5
    assert (refined == (image[..., 0] > 0)).all()
    kept = crf_probability(image, probability, CrfSettings(smooth_weight=0, color_weight=0))
    np.testing.assert_allclose(np.unique(kept), [0.1, 0.9], atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 4), (1, 1), (1, 5)])
def test_tiny_images(shape):
    p = torch.full((2, *shape), 0.5)
    for radius in (None, 3):
        q = dense_crf(p, torch.zeros(3, *shape), CrfSettings(radius=radius))
        torch.testing.assert_close(q, p)


def test_a_pixel_that_nothing_resembles_is_let_alone():
    p, image = (torch.tensor(a) for a in problem(2, 3, 3))
    image[:] = 0
    image[:, 1, 1] = 1e4
    settings = CrfSettings(smooth_weight=0, radius=None)
    q = dense_crf(p, image, settings)
    torch.testing.assert_close(q[:, 1, 1], p[:, 1, 1])
    assert torch.isfinite(q).all()


def test_empty_and_full_masks_stay():
    image = np.random.default_rng(0).integers(0, 256, (9, 8, 3), np.uint8)
    for value in (0, 1):
        refined = crf_probability(image, np.full((9, 8), bool(value))) >= 0.5
        assert (refined == value).all()


def test_wrong_input():
    p, image = torch.full((2, 4, 4), 0.5), torch.zeros(3, 4, 4)
    with pytest.raises(UserError, match=r"image of shape \(3, 4, 5\); expected \(labels, height"):
        dense_crf(p, torch.zeros(3, 4, 5))
    side = math.isqrt(MAX_EXACT_PIXELS) + 1
    with pytest.raises(UserError, match="don't fit into memory; give a radius"):
        dense_crf(torch.ones(1, side, side), torch.zeros(3, side, side), MILD)
    with pytest.raises(UserError, match="unknown normalization 'pre'"):
        CrfSettings(normalization="pre")
    with pytest.raises(UserError, match="color_range 0: expected numbers above 0"):
        CrfSettings(color_range=0)
    with pytest.raises(UserError, match="radius 0; expected at least 0, and at least 1 or None"):
        CrfSettings(radius=0)
    with pytest.raises(UserError, match="certainty is 0.5"):
        crf_probability(image.permute(1, 2, 0).numpy(), np.zeros((4, 4)), certainty=0.5)


@pytest.mark.gpu
def test_equal_on_a_gpu():
    p, image = (torch.tensor(a, dtype=torch.float32) for a in problem(4, 40, 50))
    for radius in (None, 3):
        settings = replace(MILD, radius=radius)
        found = dense_crf(p.cuda(), image.cuda(), settings)
        torch.testing.assert_close(found.cpu(), dense_crf(p, image, settings), atol=1e-4, rtol=0)
