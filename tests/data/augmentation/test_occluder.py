"""Random occluders: sizes, fills, determinism."""

from __future__ import annotations

from project.data.augmentation import RandomOccluder
from project.data.occlusion import Occlusion, hidden_pixels
from project.errors import UserError

import numpy as np
import pytest
from detectron2.data import transforms as T

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def occluded(seed=0, image=IMAGE, **options):
    np.random.seed(seed)
    aug_input = T.AugInput(image)
    transforms = RandomOccluder(**options)(aug_input)
    return aug_input.image, transforms.transforms


@pytest.mark.parametrize("fill", ["flat", "noise", "stripes", "blur"])
def test_each_fill_changes_its_patch_alone(fill):
    for seed in range(6):
        image, patches = occluded(seed, fills=[fill])
        hidden, least = hidden_pixels(patches)
        assert least == 0.1
        changed = (image != IMAGE).any(2)
        assert not changed[~hidden].any()
        assert changed[hidden].mean() > 0.9
        assert image.dtype == np.uint8


def test_sizes_and_numbers_are_within_their_ranges():
    numbers, shapes = set(), set()
    for seed in range(40):
        _, patches = occluded(seed, max_patches=3, size=(0.25, 0.5))
        numbers.add(len(patches))
        for patch in patches:
            assert isinstance(patch, Occlusion)
            height, width = patch.shape.shape
            assert 10 <= height <= 20
            assert 15 <= width <= 30
            shapes.add(bool(patch.shape.all()))
    assert numbers == {1, 2, 3}
    assert shapes == {True, False}


def test_a_patch_as_large_as_the_picture_hides_it():
    for seed in range(8):
        image, patches = occluded(seed, max_patches=1, size=(1, 1), fills=["flat"])
        if patches[0].shape.all():
            assert len(np.unique(image.reshape(-1, 3), axis=0)) == 1
            return
    pytest.fail("no rectangle in eight draws")


def test_an_ellipse_has_the_area_of_one():
    areas = [p.shape.mean() for seed in range(20) for p in occluded(seed, size=(0.5, 0.5))[1]]
    round_ones = [area for area in areas if area < 1]
    assert round_ones
    assert np.allclose(round_ones, np.pi / 4, atol=0.03)


def test_tiny_pictures_and_floats():
    image, _ = occluded(image=np.zeros((1, 2, 3), np.float32))
    assert (image.shape, image.dtype) == ((1, 2, 3), np.float32)


def test_the_seed_decides_where():
    assert (occluded(3)[0] == occluded(3)[0]).all()
    assert (occluded(3)[0] != occluded(4)[0]).any()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"max_patches": 0}, "max_patches must be at least 1"),
        ({"size": (0.5, 0.1)}, "size must be 0 < lowest <= highest <= 1"),
        ({"size": (0.5, 1.1)}, "size must be"),
        ({"fills": ["flatt"]}, "unknown fill 'flatt'; did you mean 'flat'"),
        ({"fills": []}, "unknown fill ''"),
        ({"min_visible": 2}, "min_visible must be 0 to 1"),
    ],
)
def test_occluders_that_can_not_be(options, message):
    with pytest.raises(UserError, match=message):
        RandomOccluder(**options)
