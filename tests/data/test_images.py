"""Decoded pictures kept within a bound, and pictures as planes."""

from __future__ import annotations

import pickle

from project.data.images import ImageCache, planes
from project.errors import UserError

import numpy as np
import pytest

PICTURE_BYTES = 16 * 16 * 3


class Decoder:
    """Pictures filled with the length of their name; counts the calls."""

    def __init__(self):
        self.calls = []

    def __call__(self, file_name):
        self.calls.append(file_name)
        return np.full((16, 16, 3), len(file_name), np.uint8)


def test_a_picture_is_decoded_once_and_may_be_written_into():
    cache, decode = ImageCache(1), Decoder()
    for _ in range(3):
        picture = cache.read("abc", decode)
        assert (picture == 3).all()
        picture[:] = 0
    assert decode.calls == ["abc"]


def test_the_bound_holds_and_the_first_stay():
    cache, decode = ImageCache(2.5 * PICTURE_BYTES / 2**20), Decoder()
    for _ in range(2):
        for name in ("a", "bb", "ccc"):
            assert (cache.read(name, decode) == len(name)).all()
    assert decode.calls == ["a", "bb", "ccc", "ccc"]
    assert (len(cache), cache.num_bytes) == (2, 2 * PICTURE_BYTES)


def test_no_room_keeps_nothing():
    cache, decode = ImageCache(0), Decoder()
    cache.read("a", decode)
    cache.read("a", decode)
    assert len(decode.calls) == 2
    assert len(cache) == 0


def test_copies_start_empty():
    cache = ImageCache(1)
    cache.read("a", Decoder())
    copied = pickle.loads(pickle.dumps(cache))
    assert (len(copied), copied.limit_mb) == (0, 1)


def test_a_negative_bound_is_refused():
    with pytest.raises(UserError, match="cache_mb must be at least 0, got -1"):
        ImageCache(-1)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "view",
    [np.s_[:], np.s_[:, ::-1], np.s_[::-1], np.s_[::-1, ::-1], np.s_[2:7, 1:5], np.s_[:, :, ::-1]],
)
def test_planes_of_any_view(dtype, channels, view):
    base = np.random.default_rng(0).integers(0, 256, (9, 11, channels)).astype(dtype)
    image = base[view]
    found = planes(image)
    assert found.is_contiguous()
    np.testing.assert_array_equal(found.numpy(), image.transpose(2, 0, 1))
    before = base.copy()
    found.zero_()
    np.testing.assert_array_equal(base, before)
