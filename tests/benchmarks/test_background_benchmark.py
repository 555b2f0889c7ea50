"""The truth that people cut out of scenes are judged by."""

from project.benchmarks.background import alpha_errors, draw_samples, measure_background
from project.errors import UserError

import numpy as np
import pytest


@pytest.fixture(scope="module")
def samples():
    return draw_samples(2, seed=1)


def test_the_truth_over_the_old_background_is_the_image(samples):
    for sample in samples:
        alpha = sample.alpha[..., None]
        for grey in (0, 255):
            truth = sample.truth((grey,) * 3)
            assert np.array_equal(truth[sample.alpha == 1], sample.image[sample.alpha == 1])
            assert (truth[sample.alpha == 0] == grey).all()
        # (I over black) + (1 - alpha) B is the image again
        again = sample.truth((0, 0, 0)) + (1 - alpha) * sample.behind
        assert np.abs(again - sample.image).max() <= 8  # grain makes dark pixels darker than black


def test_errors_by_hand(samples):
    sample = samples[0]
    assert alpha_errors(sample.alpha, sample) == {"sad": 0, "mse": 0, "gradient": 0}
    assert alpha_errors(0 * sample.alpha, sample)["sad"] == pytest.approx(
        sample.alpha.sum(), rel=1e-5
    )


def test_rows(samples):
    made = measure_background(2, methods=["none", "trimap"], seed=1)
    names = [(row["start"], row["refine"]) for row in made["rows"]]
    assert names == [("true mask", "none"), ("true mask", "trimap"), ("true alpha", "none")]
    best = made["rows"][-1]
    assert best["sad"] == 0
    assert best["color-blur"] < best["color-none"] < made["rows"][0]["color-none"]
    with pytest.raises(UserError, match="0 images"):
        measure_background(0)
