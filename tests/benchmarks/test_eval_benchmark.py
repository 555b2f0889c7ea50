"""The measurements of evaluation, at a size where only their answers matter."""

from __future__ import annotations

import json

from project.benchmarks.eval import measure_eval, measure_rle
from project.benchmarks.eval_data import write_eval_files
from project.benchmarks.eval_tasks import by_ours, by_pycocotools

import pytest


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eval")
    return folder, write_eval_files(folder, 0.001)


def test_files_are_as_large_as_asked_and_kept(files):
    folder, (truth_file, results_file) = files
    truth, results = (json.loads(f.read_text()) for f in (truth_file, results_file))
    assert [len(truth["images"]), len(truth["annotations"]), len(results)] == [5, 38, 500]
    before = results_file.stat().st_mtime_ns
    assert write_eval_files(folder, 0.001) == (truth_file, results_file)
    assert results_file.stat().st_mtime_ns == before


def test_both_systems_find_the_same(files, capsys):
    ours, theirs = (way(*map(str, files[1])) for way in (by_ours, by_pycocotools))
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-9, nan_ok=True)
    assert 5 < ours["AP"] < 60


def test_both_ways_to_encode_give_the_same():
    figures = measure_rle(6, 60, 80)  # raises where they don't
    assert figures["masks"] == 6
    assert figures["ratio"] > 0


@pytest.mark.slow
def test_the_whole_measurement(files):
    figures = measure_eval(files[0], 0.001, num_masks=3)
    assert figures["segm"].keys() >= {"ours", "hotcoco", "pycocotools"}
    ours, theirs = figures["segm"]["ours"], figures["segm"]["pycocotools"]
    assert theirs["metrics"]["AP"] == pytest.approx(ours["metrics"]["AP"], abs=1e-9)
    assert figures["ratio"]["pycocotools"].keys() == {"seconds", "cpu_seconds", "peak_mb"}
