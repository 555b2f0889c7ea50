"""The measurements of annotation files, at a size where only their answers matter."""

from __future__ import annotations

import json

from project.benchmarks import coco_scale
from project.benchmarks.coco_scale import CLASSES, write_coco_file
from project.benchmarks.data import measure_data
from project.benchmarks.data_tasks import (
    build_whole_subset,
    choose_with_ours,
    choose_with_pycocotools,
    explore_labels,
    keep_flat,
)
from project.data.coco_file import read_coco_file
from project.data.selection import select_labels

import pytest


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scale")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coco_scale, "NUM_SCENES", 4)
        file, name = write_coco_file(folder, 50, 600)
    return folder, file, name


def test_the_file_is_clean_and_as_large_as_asked(small):
    _, file, _ = small
    read = read_coco_file(file)
    assert (len(read.images), len(read.annotations)) == (50, 600)
    labels = select_labels(read, CLASSES)
    assert not labels.left_out
    assert not labels.repaired
    assert 600 * 400 < file.stat().st_size < 600 * 800  # as COCO's 490 MB for 860,000


def test_a_written_file_is_kept(small):
    folder, file, _ = small
    before = file.stat().st_mtime_ns
    assert write_coco_file(folder, 50, 600)[0] == file
    assert file.stat().st_mtime_ns == before


def test_both_ways_count_the_same(small):
    _, file, _ = small
    ours, theirs = choose_with_ours(str(file)), choose_with_pycocotools(str(file))
    assert ours["counts"] == theirs["counts"]
    document = json.loads(file.read_text())
    people = [a["image_id"] for a in document["annotations"] if a["category_id"] == 4]
    assert ours["counts"]["person"] == [len(people), len(set(people))]
    assert len(people) > 100


def test_flat_records_are_smaller_than_the_file(small):
    folder, file, name = small
    assert keep_flat(str(folder), name)["size_mb"] <= file.stat().st_size / 2**20


def test_all_of_the_file_is_built_and_explored(small):
    folder, file, name = small
    document = json.loads(file.read_text())
    built = build_whole_subset(str(folder), name)
    assert built["annotations"] == 600
    assert built["images"] == len({a["image_id"] for a in document["annotations"]})
    assert (folder / f"{name}_whole" / "manifest.json").is_file()
    objects = [a for a in document["annotations"] if not a["iscrowd"]]
    assert explore_labels(str(folder), name)["objects"] == len(objects)
    assert json.loads((folder / name / "numbers.json").read_text())["objects"] == len(objects)


@pytest.mark.slow
def test_the_whole_measurement(small):
    folder, _, _ = small
    figures = measure_data(folder, 50, 600)
    ours, theirs, ratio = (figures["choose"][k] for k in ("ours", "pycocotools", "ratio"))
    for key in ("seconds", "peak_mb"):
        assert ratio[key] == pytest.approx(theirs[key] / ours[key], abs=0.01)
    # 600 objects as Python dicts take more than as flat arrays, and than as pickled bytes.
    assert [figures["whole"][task]["peak_mb"] > 0 for task in ("build", "explore")] == [True] * 2
    dicts = figures["keep"]["dicts"]
    assert dicts["plain_mb"] >= dicts["pickled_mb"] >= figures["keep"]["flat"]["size_mb"]
