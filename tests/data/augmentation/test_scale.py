"""Large-scale jitter: sizes, places, labels, and what it equals at scale one."""

from __future__ import annotations

from project.data.augmentation import LargeScaleJitter
from project.errors import UserError

import numpy as np
import pytest
from detectron2.data import transforms as T

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def jitter(size, scale, image=IMAGE, seed=0, **options):
    np.random.seed(seed)
    aug_input = T.AugInput(image)
    transforms = LargeScaleJitter(size, scale, **options)(aug_input)
    return aug_input.image, transforms


def test_scale_one_is_a_plain_resize_into_the_frame():
    image, transforms = jitter((40, 60), (1, 1))
    np.testing.assert_array_equal(image, T.ResizeTransform(20, 30, 40, 60).apply_image(IMAGE))
    assert len(transforms.transforms) == 1
    wide, _ = jitter((10, 30), (1, 1), pad_value=7.0)  # 10 x 15 fit in, the rest is filled
    np.testing.assert_array_equal(
        wide[:, :15], T.ResizeTransform(20, 30, 10, 15).apply_image(IMAGE)
    )
    assert (wide[:, 15:] == 7).all()


def test_small_pictures_are_those_of_detectron2():
    np.random.seed(4)
    aug_input = T.AugInput(IMAGE)
    T.AugmentationList([T.ResizeScale(0.2, 1.0, 40, 40), T.FixedSizeCrop((40, 40))])(aug_input)
    np.testing.assert_array_equal(jitter((40, 40), (0.2, 1.0), seed=4)[0], aug_input.image)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", [(20, 30, 3), (90, 7, 3), (3, 400, 3)])
def test_the_size_is_always_the_same(shape, seed):
    image = np.zeros(shape, np.uint8)
    assert jitter((24, 32), (0.1, 2.0), image, seed)[0].shape == (24, 32, 3)


def test_points_and_masks_follow_the_pixels():
    image = np.zeros((20, 30, 3), np.uint8)
    image[8:12, 10:20] = 255
    for seed in range(20):
        shown, transforms = jitter((40, 60), (0.5, 2.0), image, seed, pad_value=0)
        mask = transforms.apply_segmentation((image[..., 0] > 0).astype(np.uint8))
        assert mask.shape == (40, 60)
        # nearest pixels against smooth ones: they differ along the outline alone
        assert np.logical_xor(mask == 1, shown[..., 0] > 127).sum() <= 60
        corners = np.array([[10, 8], [20, 8], [20, 12], [10, 12]], float)
        parts = transforms.apply_polygons([corners])
        box = np.concatenate(parts) if parts else np.zeros((0, 2))
        rows, columns = np.nonzero(mask == 1)
        if len(rows) and len(box):
            assert np.abs(box.min(0) - [columns.min(), rows.min()]).max() <= 1.5
            assert np.abs(box.max(0) - [columns.max() + 1, rows.max() + 1]).max() <= 1.5


def test_windows_come_from_anywhere():
    corners = set()
    for seed in range(60):
        _, transforms = jitter((20, 30), (2, 2), seed=seed)
        crop = transforms.transforms[1]
        corners.add((crop.y0 < 10, crop.x0 < 15))
        assert 0 <= crop.y0 <= 20
        assert 0 <= crop.x0 <= 30
    assert len(corners) == 4


def test_the_seed_decides():
    first, again, other = (jitter((16, 16), (0.1, 2.0), seed=s)[0] for s in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (((16,), (0.1, 2)), "size must be a height and a width, got"),
        (((0, 16), (0.1, 2)), "size must be"),
        (((16, 16), (0, 2)), "scale must be 0 < lowest <= highest, got"),
        (((16, 16), (2, 1)), "scale must be"),
    ],
)
def test_mistakes_are_told(arguments, message):
    with pytest.raises(UserError, match=message):
        LargeScaleJitter(*arguments)
