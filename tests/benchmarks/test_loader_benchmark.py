"""The ordinary mapper that ours is measured against gives the same, and differences are seen."""

from __future__ import annotations

from project.benchmarks.loader import AUGMENTATIONS, _loader_row, _mapper_row, differences
from project.benchmarks.plain_mapper import PlainMapper
from project.data.catalog import subset_dicts
from project.data.mapper import InstanceMapper

import pytest
from detectron2.data import transforms as T

# pycocotools 2.0.11 under numpy 2.4
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def records(tiny_root):
    return list(subset_dicts("tiny", "train", tiny_root, filter_empty=True))[:4]


@pytest.mark.parametrize("size", AUGMENTATIONS)
def test_plain_and_ours_agree(records, size):
    plain = PlainMapper(augmentations=AUGMENTATIONS[size]())
    ours = InstanceMapper(True, augmentations=AUGMENTATIONS[size]())
    found = differences(plain, ours, records)
    assert found["grey_levels"] <= 1
    assert found["mask_pixels"] <= 1e-5
    assert found["box_pixels"] <= 1


def test_differences_are_seen(records):
    plain = PlainMapper(augmentations=[])
    darker = InstanceMapper(True, augmentations=[T.BlendTransform(0, 0.2, 0.8)])
    assert differences(plain, darker, records)["grey_levels"] > 10
    mirrored = InstanceMapper(True, augmentations=[T.RandomFlip(1.0)])
    found = differences(plain, mirrored, records)
    assert found["mask_pixels"] > 0.1
    assert found["box_pixels"] > 10


def test_a_row_holds_every_way(records):
    row = _mapper_row(records[:2], "256x256", "bitmask", rounds=1)
    assert {"plain", "ours", "ours, cached"} <= set(row["images_per_second"])
    assert row["ratio"]["plain"] == 1
    assert row["grey_levels"] <= 1


def test_loaders_are_measured_as_they_are_used(records):
    row = _loader_row(records, "256x256", "bitmask", num_workers=0, rounds=1)
    assert {"plain", "ours", "ours, cached"} <= set(row["images_per_second"])
    assert all(rate > 0 for rate in row["images_per_second"].values())
    assert (row["workers"], row["ratio"]["plain"]) == (0, 1)
