"""utils.events: the storage of scalars and its writers (contract 14.5)."""

from __future__ import annotations

import json
import logging

import project  # noqa: F401

import numpy as np
import pytest
import torch
from detectron2.utils.events import (
    CommonMetricPrinter,
    EventStorage,
    JSONWriter,
    TensorboardXWriter,
    get_event_storage,
    has_event_storage,
)


@pytest.fixture(scope="module")
def expected(golden):
    return golden.json("engine")


@pytest.fixture
def golden_storage():
    """The storage that the golden figures were made with, still open."""
    with EventStorage(10) as storage:
        for k in range(30):
            storage.iter = 10 + k
            storage.put_scalar("a", float((k * 7) % 11))
            storage.put_scalar("b", float(k), smoothing_hint=False)
            if k % 5 == 0:
                storage.put_scalars(c=float(k), d=1.0)
            with storage.name_scope("s"):
                storage.put_scalar("e", 2.0)
        storage.put_scalar("late", 4.0, cur_iter=3)
        yield storage


def as_lists(scalars):
    return {name: list(pair) for name, pair in scalars.items()}


def test_latest_and_smoothed_values(golden_storage, expected):
    want = expected["event_storage"]
    # The figure shows upstream's live dict after a rejected put of "a": it was 29 * 7 % 11 before.
    assert as_lists(golden_storage.latest()) == {**want["latest"], "a": [5.0, 39]}
    assert as_lists(golden_storage.latest_with_smoothing_hint(20)) == want["smoothed_20"]
    assert as_lists(golden_storage.latest_with_smoothing_hint(5)) == want["smoothed_5"]


def test_samples_of_a_window_of_iterations(golden_storage, expected):
    for name, count in expected["event_storage"]["count"].items():
        assert golden_storage.count_samples(name, 20) == count


def test_open_storage_is_found_and_misuse_is_told(golden_storage, expected):
    want = expected["event_storage"]
    assert has_event_storage() is want["has"]
    assert get_event_storage() is golden_storage
    assert (want["missing history"], want["hint change"]) == ("KeyError", "AssertionError")
    with pytest.raises(KeyError):
        golden_storage.history("zz")
    with pytest.raises(AssertionError):
        golden_storage.put_scalar("a", 1.0, smoothing_hint=False)
    assert golden_storage.history("c").values()[:2] == [(0.0, 10), (5.0, 15)]
    assert set(golden_storage.histories()) == {"a", "b", "c", "d", "s/e", "late"}


def test_no_storage_outside(expected):
    assert not has_event_storage()
    assert expected["event_storage"]["outside"] == "AssertionError"
    with pytest.raises(AssertionError):
        get_event_storage()


def test_storages_nest_and_step():
    with EventStorage(3) as outer:
        with EventStorage() as inner:
            assert get_event_storage() is inner
            inner.step()
            assert inner.iter == inner.iteration == 1
        assert get_event_storage() is outer
        assert outer.iter == 3
        assert outer.latest() == {}


@pytest.mark.bundled  # upstream keeps the prefix after an exception
def test_name_scope_is_undone_after_an_exception():
    with EventStorage() as storage:
        with pytest.raises(ValueError, match="inside"), storage.name_scope("scope"):
            raise ValueError("inside")
        storage.put_scalar("x", 1.0)
        assert set(storage.latest()) == {"x"}


@pytest.mark.bundled
def test_scalars_may_be_tensors():
    with EventStorage() as storage:
        storage.put_scalar("x", torch.tensor([2.5], requires_grad=True))
        assert storage.latest() == {"x": (2.5, 0)}


@pytest.mark.gpu
@pytest.mark.bundled
def test_device_scalars_keep_order_and_values():
    with EventStorage() as storage:
        value = torch.zeros((), device="cuda")
        for k in range(4):
            storage.iter = k
            value += 1
            storage.put_scalar("x", value if k % 2 == 0 else float(k + 1))
        values = [(float(k + 1), k) for k in range(4)]
        assert storage.history("x").values() == values
        assert storage.latest() == {"x": (4.0, 3)}


def lines_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_json_lines_hold_only_what_is_new(tmp_path):
    file = tmp_path / "metrics.json"
    with EventStorage() as storage:
        writer = JSONWriter(str(file))
        writer.write()
        assert lines_of(file) == []
        for k, loss in enumerate([1.0, 5.0, 3.0]):
            storage.iter = k
            storage.put_scalars(loss=loss)
        storage.put_scalar("lr", 0.5, smoothing_hint=False, cur_iter=1)
        writer.write()
        writer.write()  # nothing new
        storage.iter = 3
        storage.put_scalar("lr", 0.25, smoothing_hint=False)
        writer.write()
        writer.close()
    assert lines_of(file) == [
        {"iteration": 1, "lr": 0.5},
        {"iteration": 2, "loss": 3.0},  # the median of 1, 5, 3
        {"iteration": 3, "lr": 0.25},
    ]
    assert file.read_text().splitlines()[0] == '{"iteration": 1, "lr": 0.5}'


def test_json_continues_a_file(tmp_path):
    file = tmp_path / "metrics.json"
    for start in (0, 7):
        with EventStorage(start) as storage:
            writer = JSONWriter(str(file))
            storage.put_scalars(loss=1.0)
            writer.write()
            writer.close()
    assert [line["iteration"] for line in lines_of(file)] == [0, 7]


@pytest.fixture
def printed():
    """Messages of the events' logger."""
    messages = []

    class Keep(logging.Handler):
        def emit(self, record):
            messages.append(record.getMessage())

    logger, handler = logging.getLogger("detectron2.utils.events"), Keep()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_printer_line(printed, expected):
    with EventStorage() as storage:
        printer = CommonMetricPrinter(100)
        for k in range(3):
            storage.iter = k
            storage.put_scalars(total_loss=1.5 + k, loss_cls=0.25, time=0.5, data_time=0.125)
            storage.put_scalar("lr", 0.0123456, smoothing_hint=False)
            storage.put_scalar("[metric]x", 3.0)
        printer.write()
        storage.iter = 100
        printer.write()  # silent: training is over
    want = expected["printer"]["lines"]
    assert len(printed) == len(want)
    # A GPU adds its memory at the end.
    assert all(line.startswith(start) for line, start in zip(printed, want, strict=True))
    assert list(storage.latest()["eta_seconds"]) == expected["printer"]["eta_put"]


@pytest.mark.bundled
def test_printer_without_anything_stored(printed):
    with EventStorage(4):
        CommonMetricPrinter().write()
    assert printed[0].startswith(" iter: 4   lr: N/A")


def test_tensorboard_gets_scalars_images_and_histograms(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with EventStorage() as storage:
        writer = TensorboardXWriter(str(tmp_path))
        storage.iter = 5
        storage.put_scalar("loss", 2.0)
        storage.put_image("scene", np.zeros((3, 4, 6), dtype=np.uint8))
        storage.put_histogram("weights", torch.tensor([0.0, 1.0, 1.0, 2.0]), bins=2)
        writer.write()
        storage.iter = 6
        storage.put_scalar("loss", 4.0)
        writer.write()
        writer.close()
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(5, 2.0), (6, 3.0)]
    image = events.Images("scene")
    assert [(e.step, e.height, e.width) for e in image] == [(5, 4, 6)]  # written once
    histogram = events.Histograms("weights")[0].histogram_value
    assert (histogram.min, histogram.max, histogram.num, histogram.sum) == (0, 2, 4, 4)
    assert list(histogram.bucket) == [1, 3]
    assert list(histogram.bucket_limit) == [1.0, 2.0]


def test_tensorboard_makes_no_file_before_the_first_write(tmp_path):
    folder = tmp_path / "tb"
    with EventStorage():
        TensorboardXWriter(str(folder)).close()
    assert not folder.exists() or list(folder.iterdir()) == []
