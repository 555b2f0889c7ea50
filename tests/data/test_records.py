"""Dataset dicts in flat arrays: what comes out is what was put in, and little is kept."""

from __future__ import annotations

import pickle
from multiprocessing.reduction import ForkingPickler

from project.data.coco_masks import Rle
from project.data.loader import build_train_loader
from project.data.record_builder import RecordsBuilder
from project.data.statistics import class_statistics

import numpy as np
import pytest
from detectron2.structures import BoxMode
from pycocotools import mask as coco_mask

TRIANGLE = [1.5, 2.25, 30.07, 2.0, 10.0, 19.99]
SQUARE = [0.0, 0.0, 4.0, 0.0, 4.0, 4.0, 0.0, 4.0]


def builder():
    made = RecordsBuilder("/pictures", labelled=True)
    made.add_image(7, "a/ä.jpg", 20, 30)
    made.add_object(70, 1, [1.5, 2.0, 28.57, 17.99], False, [TRIANGLE, SQUARE])
    made.add_object(71, 0, [0, 0, 4, 4], False, Rle((20, 30), "PPX5"))
    made.add_image(8, "b.jpg", 40, 10)
    made.add_image(9, "c.jpg", 20, 30)
    made.add_object(72, 1, [0, 0, 4, 4], True, Rle((20, 30), [5, 3, 592]))
    made.add_object(73, 1, [0, 0, 4, 4], False, [SQUARE])
    return made


def test_records_come_out_as_they_went_in():
    records = builder().build()
    assert len(records) == 3
    assert records[0] == {
        "file_name": "/pictures/a/ä.jpg",
        "height": 20,
        "width": 30,
        "image_id": 7,
        "annotations": [
            {
                "id": 70,
                "iscrowd": 0,
                "bbox": [1.5, 2.0, 28.57, 17.99],
                "bbox_mode": BoxMode.XYWH_ABS,
                "category_id": 1,
                "segmentation": [TRIANGLE, SQUARE],
            },
            {
                "id": 71,
                "iscrowd": 0,
                "bbox": [0, 0, 4, 4],
                "bbox_mode": BoxMode.XYWH_ABS,
                "category_id": 0,
                "segmentation": {"size": [20, 30], "counts": "PPX5"},
            },
        ],
    }
    assert records[1]["annotations"] == []
    crowd, single = records[-1]["annotations"]
    runs = {"size": [20, 30], "counts": [5, 3, 592]}
    assert crowd["segmentation"] == coco_mask.frPyObjects(runs, 20, 30)
    assert (crowd["iscrowd"], single["iscrowd"]) == (1, 0)
    assert single["segmentation"] == [SQUARE]
    assert list(records) == [records[i] for i in range(3)]
    with pytest.raises(IndexError):
        records[3]


def test_records_may_be_changed():
    records = builder().build()
    records[0]["annotations"][0]["segmentation"][0][0] = 99
    assert records[0]["annotations"][0]["segmentation"][0] == TRIANGLE


def test_a_part_shares_the_arrays():
    records = builder().build()
    part = records[1:]
    assert [record["image_id"] for record in part] == [8, 9]
    assert [r["image_id"] for r in records.take(np.array([True, False, True]))] == [7, 9]
    assert part.take(np.array([1]))[0] == records[2]


def test_columns_of_a_part_by_hand():
    records = builder().build()
    assert records.sizes.tolist() == [[20, 30], [40, 10], [20, 30]]
    # the crowd region of image 9 isn't counted
    assert records.category_counts(3).tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0]]
    assert records[1:].category_counts(2).tolist() == [[0, 0], [0, 1]]


def test_unlabelled_records_have_no_annotations():
    made = RecordsBuilder("root", labelled=False)
    made.add_image(1, "x.jpg", 5, 6)
    records = made.build()
    assert not records.labelled
    assert records[0] == {"file_name": "root/x.jpg", "height": 5, "width": 6, "image_id": 1}
    assert records.category_counts(2).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    "number, itemsize",
    [
        (655.35, 2),  # the largest number of hundredths in 16 bits
        (655.36, 4),
        (-0.01, 4),
        (0.001, 8),
        (1 / 3, 8),
        (1e9, 8),
    ],
)
def test_coordinates_are_packed_without_loss(number, itemsize):
    made = RecordsBuilder("")
    made.add_image(1, "x.jpg", 5, 6)
    polygon = [number, 0.1, 0.29, 0.57, 1.13, 2.01]
    made.add_object(1, 0, [0, 0, 1, 1], False, [polygon])
    records = made.build()
    assert records[0]["annotations"][0]["segmentation"] == [polygon]
    assert records._table["corners"].element_size() == itemsize


def test_every_decimal_of_a_coco_file_survives():
    numbers = [k / 100 for k in range(65536)]
    made = RecordsBuilder("")
    made.add_image(1, "x.jpg", 5, 6)
    made.add_object(1, 0, [0, 0, 1, 1], False, [numbers])
    assert made.build()[0]["annotations"][0]["segmentation"] == [numbers]


def test_chunks_of_another_kind_are_widened(monkeypatch):
    monkeypatch.setattr("project.data.record_builder._CHUNK", 6)
    made = RecordsBuilder("")
    made.add_image(1, "x.jpg", 5, 6)
    polygons = [TRIANGLE, SQUARE, [1 / 3] * 6, [-1.5] * 6]
    for i, polygon in enumerate(polygons, 1):
        made.add_object(i, 0, [0, 0, 1, 1], False, [polygon])
    assert [a["segmentation"][0] for a in made.build()[0]["annotations"]] == polygons


def test_other_processes_share_the_arrays():
    made = builder()
    made.add_object(74, 1, [0, 0, 4, 4], False, [SQUARE * 20_000])
    records = made.build()
    assert records.num_bytes > 300_000
    assert len(ForkingPickler.dumps(records)) < 20_000  # handles of shared memory
    assert list(pickle.loads(pickle.dumps(records))) == list(records)


class Passing:
    def __call__(self, record):
        return {**record, "noise": np.random.uniform()}


@pytest.mark.parametrize("grouping", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
def test_the_loader_gives_the_same_as_from_a_list(grouping, workers):
    flat = builder().build()
    settings = {"mapper": Passing(), "total_batch_size": 2, "aspect_ratio_grouping": grouping}
    ours = iter(build_train_loader(flat, num_workers=workers, **settings))
    theirs = iter(build_train_loader(list(flat), **settings))
    for _ in range(4):
        assert next(ours) == next(theirs)


def test_statistics_are_those_of_the_dicts(tiny_root):
    from project.data.catalog import subset_dicts

    dicts = subset_dicts("tiny", "train", tiny_root)
    flat = class_statistics(dicts)
    plain = class_statistics(list(dicts), dicts.class_names)
    assert flat.class_names == plain.class_names
    np.testing.assert_array_equal(flat.counts, plain.counts)
    assert flat.counts.sum() > 12
    part = dicts[2:5]
    assert part.class_names == dicts.class_names
    np.testing.assert_array_equal(class_statistics(part).counts, flat.counts[2:5])
