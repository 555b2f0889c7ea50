"""The guided filter beside a loop over windows, written from the paper's equations."""

from project.errors import UserError
from project.modeling.postprocess.guided_filter import guided_filter

import numpy as np
import pytest


def windows(shape, radius):
    for y in range(shape[0]):
        for x in range(shape[1]):
            yield (
                (y, x),
                (
                    slice(max(y - radius, 0), y + radius + 1),
                    slice(max(x - radius, 0), x + radius + 1),
                ),
            )


def by_windows(guide, source, radius, epsilon, weight=None):
    """Ridge regression in each window, then the mean of all windows' predictions of a pixel."""
    guide = guide.reshape(*source.shape, -1).astype(float)
    weight = np.ones_like(source) if weight is None else weight
    total, number = np.zeros(source.shape), np.zeros(source.shape)
    for _, at in windows(source.shape, radius):
        w = weight[at].ravel().astype(float)
        if not w.sum():
            continue
        w = w / w.sum()
        colors, values = guide[at].reshape(len(w), -1), source[at].ravel().astype(float)
        centre, mean = w @ colors, w @ values
        around = colors - centre
        covariance = (around * w[:, None]).T @ around + epsilon * np.eye(colors.shape[1])
        slope = np.linalg.solve(covariance, (around * w[:, None]).T @ (values - mean))
        total[at] += mean + (guide[at] - centre) @ slope
        number[at] += 1
    return total / np.maximum(number, 1)


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_the_paper(channels, weighted):
    rng = np.random.default_rng(0)
    guide = rng.random((9, 12, *channels)).astype(np.float32)
    source = rng.random((9, 12)).astype(np.float32)
    weight = None
    if weighted:
        weight = (rng.random((9, 12)) * (rng.random((9, 12)) < 0.4)).astype(np.float32)
        weight[:7, :7] = 0  # whole windows without weight
    found = guided_filter(guide, source, 2, 0.01, weight)
    assert found.dtype == np.float32
    # float32 sums against float64: the inverse of a 3 x 3 covariance near epsilon costs digits.
    np.testing.assert_allclose(found, by_windows(guide, source, 2, 0.01, weight), atol=2e-4)


def box_mean(values, radius):
    result = np.empty(values.shape)
    for (y, x), at in windows(values.shape, radius):
        result[y, x] = values[at].mean()
    return result


@pytest.mark.parametrize("channels", [(), (3,)])
def test_a_constant_guide_gives_the_mean_of_box_means(channels):
    source = np.random.default_rng(1).random((8, 10)).astype(np.float32)
    guide = np.full((8, 10, *channels), 0.3, np.float32)
    expected = box_mean(box_mean(source, 3), 3)
    np.testing.assert_allclose(guided_filter(guide, source, 3, 1e-3), expected, atol=1e-5)


def test_an_edge_of_the_guide_stays_sharp():
    guide = np.zeros((20, 20), np.uint8)
    guide[:, 10:] = 255
    source = guide / np.float32(255)
    found = guided_filter(guide, source, 4, 1e-4)
    np.testing.assert_allclose(found, source, atol=1e-3)
    assert np.abs(guided_filter(guide, source, 4, 10.0) - source).max() > 0.3


def test_uint8_counts_as_0_to_1_and_empty_stays_empty():
    rng = np.random.default_rng(2)
    guide, source = rng.integers(0, 256, (6, 7, 3), np.uint8), rng.random((6, 7), np.float32)
    as_float = guided_filter(guide / np.float32(255), source, 1, 0.01)
    np.testing.assert_allclose(guided_filter(guide, source, 1, 0.01), as_float, atol=1e-6)
    assert guided_filter(np.zeros((0, 4)), np.zeros((0, 4)), 1, 0.1).shape == (0, 4)
    no_weight = guided_filter(guide, source, 1, 0.01, np.zeros((6, 7)))
    assert (no_weight == 0).all()


def test_wrong_input():
    flat = np.zeros((4, 5), np.float32)
    with pytest.raises(UserError, match=r"guide has the shape \(4, 5, 2\)"):
        guided_filter(np.zeros((4, 5, 2)), flat, 1, 0.1)
    with pytest.raises(UserError, match=r"weight has the shape \(5, 4\); expected \(4, 5\)"):
        guided_filter(flat, flat, 1, 0.1, flat.T)
    for radius, epsilon in ((0, 0.1), (1.5, 0.1), (1, 0.0)):
        with pytest.raises(UserError, match="expected whole pixels from 1 on, and above 0"):
            guided_filter(flat, flat, radius, epsilon)
