"""Blur and JPEG: hand-worked kernels, kept sums, ranges, determinism."""

from __future__ import annotations

import math

from project.data.augmentation import GaussianBlur, JpegCompression, MotionBlur
from project.data.augmentation.degradation import (
    gaussian_blur,
    jpeg_compression,
    line_kernel,
    motion_blur,
)
from project.errors import UserError

import numpy as np
import pytest
from detectron2.data import transforms as T

IMAGE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
AUGMENTATIONS = [GaussianBlur((1, 3)), MotionBlur((3, 9)), JpegCompression((5, 60))]


def degraded(augmentation, image=IMAGE, seed=0):
    np.random.seed(seed)
    aug_input = T.AugInput(image)
    augmentation(aug_input)
    return aug_input.image


def roughness(image):
    return float(np.abs(np.diff(image.astype(float), axis=1)).mean())


def test_a_line_of_one_pixel_changes_nothing():
    assert line_kernel(1, 0.3).tolist() == [[1]]
    np.testing.assert_array_equal(motion_blur(IMAGE, 1, 0.3), IMAGE)


def test_a_level_line_by_hand():
    # 25 points from -1 to 1, each shared by its two neighbours: the ends get
    # sum(k / 12 for k in 0..12) = 6.5, the middle what is left: 12
    kernel = line_kernel(3, 0)
    np.testing.assert_allclose(kernel[1], np.array([6.5, 12, 6.5]) / 25)
    assert not kernel[[0, 2]].any()
    np.testing.assert_allclose(line_kernel(3, math.pi / 2), kernel.T, atol=1e-12)


@pytest.mark.parametrize("length", [1.0, 2.3, 4.0, 8.5])
@pytest.mark.parametrize("angle", [0.0, 0.7, 1.6, 3.1])
def test_kernels_sum_to_one_and_are_symmetric(length, angle):
    kernel = line_kernel(length, angle)
    assert kernel.shape[0] == kernel.shape[1] == 2 * math.ceil((length - 1) / 2) + 1
    assert kernel.sum() == pytest.approx(1)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-12)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_flat_pictures_stay_and_rough_ones_become_smoother(augmentation):
    flat = np.full((24, 32, 3), 120, np.uint8)
    np.testing.assert_array_equal(degraded(augmentation, flat), flat)
    result = degraded(augmentation)
    assert (result.shape, result.dtype) == (IMAGE.shape, np.uint8)
    assert roughness(result) < 0.97 * roughness(IMAGE)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_mirrored_views_and_floats_are_taken_and_labels_stay(augmentation):
    view = IMAGE[:, ::-1]
    np.testing.assert_array_equal(degraded(augmentation, view), degraded(augmentation, view.copy()))
    assert degraded(augmentation, IMAGE.astype(np.float32)).dtype == np.float32
    mask = np.eye(24, 32, dtype=np.uint8)
    transform = augmentation.get_transform(IMAGE)
    np.testing.assert_array_equal(transform.apply_segmentation(mask), mask)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_the_seed_decides_what_is_lost(augmentation):
    assert (degraded(augmentation, seed=1) == degraded(augmentation, seed=1)).all()
    assert (degraded(augmentation, seed=1) != degraded(augmentation, seed=2)).any()


def test_one_channel_is_enough_for_a_blur():
    grey = IMAGE[..., :1]
    assert gaussian_blur(grey, 1.0).shape == grey.shape
    np.testing.assert_array_equal(motion_blur(grey, 4, 1)[..., 0], motion_blur(IMAGE, 4, 1)[..., 0])


def test_jpeg_takes_the_channels_for_what_they_are():
    rgb = jpeg_compression(IMAGE, 30, is_rgb=True)
    bgr = jpeg_compression(IMAGE[..., ::-1], 30, is_rgb=False)
    np.testing.assert_array_equal(rgb, bgr[..., ::-1])
    assert (rgb != jpeg_compression(IMAGE, 30, is_rgb=False)).any()


def test_lower_quality_loses_more():
    loss = [
        np.abs(jpeg_compression(IMAGE, q, is_rgb=False).astype(int) - IMAGE).mean()
        for q in (95, 50, 10)
    ]
    assert loss == sorted(loss)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: GaussianBlur((2, 1)), "sigma must be two ascending numbers from 0.01 to 100"),
        (lambda: MotionBlur((0.5, 3)), "length must be two ascending numbers from 1 to 1000"),
        (lambda: JpegCompression((30, 101)), "quality must be .* from 1 to 100, got"),
        (lambda: JpegCompression((30,)), "quality must be two"),
        (lambda: JpegCompression(image_format="HSV"), "unknown image_format 'HSV'"),
    ],
)
def test_wrong_ranges_are_told(make, message):
    with pytest.raises(UserError, match=message):
        make()
