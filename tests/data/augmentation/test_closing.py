"""Augmentation that ends at a position of the run."""

from __future__ import annotations

from project.data.augmentation import CopyPaste, UntilPosition
from project.data.mapper import InstanceMapper
from project.errors import UserError

import numpy as np
import pytest
from detectron2.data import transforms as T
from PIL import Image


@pytest.fixture
def record(tmp_path):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    return {"file_name": str(tmp_path / "a.png"), "image_id": 1, "annotations": []}


def brighter(by):
    return T.BlendTransform(255, by / 255, 1)


def grey(record, **options):
    steps = UntilPosition([brighter(100), brighter(20)], 8, **options)
    mapper = InstanceMapper(True, augmentations=[brighter(10), steps])
    return int(mapper(record)["image"][0, 0, 0])


def test_it_acts_before_the_position_only(record):
    assert [grey(record | {"position": p}) for p in (0, 7, 8, 9)] == [130, 130, 10, 10]


def test_another_list_takes_over(record):
    light = [brighter(1)]
    shown = [grey(record | {"position": p}, otherwise=light) for p in (7, 8)]
    assert shown == [130, 11]


def test_transforms_of_the_list_reach_the_labels(record):
    steps = [UntilPosition([T.Resize((8, 6))], 2)]
    sizes = [
        InstanceMapper(True, augmentations=steps)(record | {"position": p})["instances"].image_size
        for p in (1, 2)
    ]
    assert sizes == [(8, 6), (4, 4)]


def test_the_position_stays_in_the_sample(record):
    mapper = InstanceMapper(True, augmentations=[])
    assert mapper(record | {"position": 5})["position"] == 5


def test_a_sample_without_position_is_refused(record):
    with pytest.raises(UserError, match="until position 8 needs the sample's position"):
        grey(record)
    with pytest.raises(UserError, match="needs the sample's position"):
        UntilPosition([], 8)(T.AugInput(np.zeros((2, 2, 3), np.uint8)))


@pytest.mark.parametrize("until", [0.9, -1, "9", True])
def test_a_share_of_the_run_is_no_position(until):
    with pytest.raises(UserError, match="UntilPosition: until=.* must be a whole number"):
        UntilPosition([], until)
    with pytest.raises(UserError, match="CopyPaste: until=.* must be a whole number"):
        CopyPaste(until=until)
