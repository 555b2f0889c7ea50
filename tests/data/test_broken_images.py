"""Broken images in training: named, counted and skipped, or fatal."""

from __future__ import annotations

import logging
from itertools import islice

from project.data.loader import build_train_loader
from project.data.mapper import InstanceMapper
from project.errors import UserError, from_worker

import numpy as np
import pytest
from detectron2.data import build_detection_test_loader
from detectron2.data import transforms as T
from PIL import Image


@pytest.fixture
def records(tmp_path):
    """Four images; number 1 is cut off and number 2 has another size than its record."""
    found = []
    for i in range(4):
        path = tmp_path / f"{i}.jpg"
        Image.fromarray(np.full((20, 30, 3), 60 * i, np.uint8)).save(path)
        record = {"file_name": str(path), "image_id": i, "height": 20, "width": 30}
        found.append({**record, "annotations": []})
    data = (tmp_path / "1.jpg").read_bytes()
    (tmp_path / "1.jpg").write_bytes(data[:-30])
    found[2]["height"] = 21
    return found


def loader(records, **options):
    mapper = InstanceMapper(True, augmentations=[T.RandomFlip()])
    settings = {"mapper": mapper, "total_batch_size": 4, "seed": 1, **options}
    return build_train_loader(records, **settings)


def drawn(loader, number=3):
    return [[r["image_id"] for r in batch] for batch in islice(loader, number)]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_next_whole_image_takes_the_place(records, num_workers, caplog):
    with caplog.at_level(logging.WARNING):
        made = loader(records, num_workers=num_workers)
        batches = drawn(made)
    # every pass of four draws holds 0 and 3, and 3 twice more for 1 and 2
    assert [sorted(batch) for batch in batches] == [[0, 3, 3, 3]] * 3
    named = [r.message for r in caplog.records if "skipped, another image" in r.message]
    assert len(named) == 2
    assert any("1.jpg (image id 1) can't be read" in message for message in named)
    assert any("2.jpg (image id 2) is 20 by 30 pixels" in message for message in named)
    counts = made.broken_images.counts
    # image 1 is replaced by 2, which is broken too
    assert [counts[records[i]["file_name"]] for i in (0, 1, 2, 3)] == [0, 3, 6, 0]


def test_skipping_keeps_one_seed_one_run(records):
    assert drawn(loader(records)) == drawn(loader(records))
    assert all("skipped_images" not in r for batch in islice(loader(records), 2) for r in batch)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_fatal_names_the_image_in_one_line(records, num_workers):
    made = loader(records[1:2], num_workers=num_workers, on_broken_image="fatal")
    with pytest.raises(UserError, match=r"^image .*1\.jpg \(image id 1\) can't be read: .*$"):
        drawn(made)


def test_a_dataset_without_any_whole_image_is_refused(records):
    with pytest.raises(UserError, match=r"none of the 2 images can be used; image .*[12]\.jpg"):
        drawn(loader(records[1:3]))


def test_unknown_policies_are_refused(records):
    with pytest.raises(UserError, match="unknown on_broken_image 'ignore'"):
        loader(records, on_broken_image="ignore")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_evaluation_names_the_broken_image(records, num_workers):
    mapper = InstanceMapper(False, augmentations=[])
    made = build_detection_test_loader(records, mapper=mapper, num_workers=num_workers)
    with pytest.raises(UserError) as caught:
        list(made)
    message = str(from_worker(caught.value))
    assert message.startswith(f"image {records[1]['file_name']} (image id 1) can't be read")
