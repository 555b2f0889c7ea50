"""Datasets and data loaders: golden batches, workers, grouping, replacement and errors."""

from __future__ import annotations

import itertools
import logging
import pickle
import random

import project  # noqa: F401

import numpy as np
import pytest
import torch
from detectron2.data import (
    DatasetFromList,
    MapDataset,
    ToIterableDataset,
    build_batch_data_loader,
    build_detection_test_loader,
    build_detection_train_loader,
)
from detectron2.data.samplers import InferenceSampler, TrainingSampler
from detectron2.utils import comm
from torch.utils.data import IterableDataset


@pytest.fixture(scope="module")
def facts(golden):
    return golden.json("samplers")


def records(count=12):
    return [{"id": i, "width": 10 if i % 3 else 5, "height": 8} for i in range(count)]


def batches(loader, count):
    return [[item["id"] for item in batch] for batch in itertools.islice(iter(loader), count)]


# Mappers are functions of the module, so that spawned workers can be given them.


def mark(record):
    return {**record, "m": 1}


def without_three(record):
    return None if record["id"] == 3 else record


def never(record):
    return None


def draw(record):
    return {
        "id": record["id"],
        "draws": (random.random(), np.random.uniform(), torch.rand(1).item()),
    }


def first_draws(record):
    """The seed that torch was given, and what numpy and random drew."""
    return torch.initial_seed(), np.random.uniform(), random.random()


def id_of(record):
    return record["id"]


def total(batch):
    return sum(item["id"] for item in batch)


class Stream(IterableDataset):
    """An iterable dataset of the ids 0..count - 1."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return iter(records(self.count))


# --- datasets


@pytest.mark.parametrize("serialize", [True, False])
def test_list_as_dataset(serialize):
    dataset = DatasetFromList(records(), serialize=serialize)
    assert len(dataset) == 12
    assert [dataset[i] for i in range(12)] == records()
    dataset[0]["id"] = "changed"
    assert dataset[0]["id"] == 0


def test_list_without_copy_gives_the_objects_themselves():
    items = records()
    assert DatasetFromList(items, copy=False, serialize=False)[4] is items[4]


def test_empty_list():
    assert len(DatasetFromList([])) == 0


@pytest.mark.bundled
def test_index_beyond_the_end():
    dataset = DatasetFromList(records())
    assert dataset[-1] == records()[-1]
    with pytest.raises(IndexError):
        dataset[12]


@pytest.mark.bundled
def test_records_of_a_pickled_dataset_are_two_tensors():
    # What a spawned worker gets: tensors go into shared memory there, and nothing else is large.
    dataset = DatasetFromList([{"text": "x" * 1000}] * 50)
    tensors = [value for value in vars(dataset).values() if isinstance(value, torch.Tensor)]
    assert sorted(tensor.dtype.itemsize for tensor in tensors) == [1, 8]
    assert all(tensor.numel() for tensor in tensors)
    for tensor in tensors:
        tensor.share_memory_()
    assert dataset[49] == {"text": "x" * 1000}
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy[7] == dataset[7]


def test_mapped_dataset():
    dataset = MapDataset(records(), mark)
    assert len(dataset) == 12
    assert dataset[3] == {**records()[3], "m": 1}


def test_unusable_items_are_replaced_by_others():
    dataset = MapDataset(records(), without_three)
    replacements = [dataset[3]["id"] for _ in range(50)]
    assert 3 not in replacements
    assert len(set(replacements)) > 5
    assert [dataset[i]["id"] for i in (0, 1, 2, 4)] == [0, 1, 2, 4]


def test_replacement_touches_no_global_generator():
    dataset = MapDataset(records(), without_three)
    random.seed(0)
    np.random.seed(0)
    before = random.getstate(), np.random.get_state()[1].tolist()
    _ = dataset[3]
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


@pytest.mark.bundled
def test_no_usable_item_at_all(caplog):
    with caplog.at_level(logging.WARNING), pytest.raises(RuntimeError, match="all 12 items"):
        _ = MapDataset(records(), never)[0]
    assert "3 times" in caplog.text


def test_mapped_stream_skips_unusable_items():
    dataset = MapDataset(Stream(6), without_three)
    assert isinstance(dataset, IterableDataset)
    assert [item["id"] for item in dataset] == [0, 1, 2, 4, 5]


def test_mapped_datasets_can_be_pickled():
    mapped = pickle.loads(pickle.dumps(MapDataset(DatasetFromList(records()), mark)))
    assert (len(mapped), mapped[2]["id"]) == (12, 2)
    stream = pickle.loads(pickle.dumps(MapDataset(Stream(3), mark)))
    assert [item["id"] for item in stream] == [0, 1, 2]


def test_dataset_in_sampler_order():
    dataset = ToIterableDataset(records(), InferenceSampler(5))
    assert [item["id"] for item in dataset] == [0, 1, 2, 3, 4]


def test_dataset_in_sampler_order_checks_its_arguments():
    with pytest.raises(AssertionError):
        ToIterableDataset(Stream(3), InferenceSampler(3))
    with pytest.raises(AssertionError):
        ToIterableDataset(records(), [0, 1])


# --- training loader


def test_golden_grouped_batches(facts):
    loader = build_detection_train_loader(
        records(), mapper=mark, sampler=TrainingSampler(12, seed=5), total_batch_size=2
    )
    assert batches(loader, 10) == facts["train_loader_grouped_seed5"]
    assert next(iter(loader))[0]["m"] == 1


def test_golden_replacement(facts):
    loader = build_detection_train_loader(
        records(),
        mapper=without_three,
        sampler=TrainingSampler(12, shuffle=False, seed=5),
        total_batch_size=4,
        aspect_ratio_grouping=False,
    )
    assert batches(loader, 3) == facts["train_loader_none_is_replaced"]


def test_groups_hold_one_shape():
    loader = build_detection_train_loader(
        records(), mapper=None, sampler=TrainingSampler(12, seed=1), total_batch_size=3
    )
    for batch in itertools.islice(iter(loader), 20):
        assert len(batch) == 3
        assert len({item["width"] > item["height"] for item in batch}) == 1


def test_square_images_are_grouped_with_tall_ones():
    square, wide, tall = ({"width": w, "height": h} for w, h in ((2, 2), (3, 2), (2, 3)))
    in_order = TrainingSampler(3, shuffle=False)
    loader = build_detection_train_loader(
        [square, wide, tall], mapper=None, sampler=in_order, total_batch_size=2
    )
    assert next(iter(loader)) == [square, tall]


@pytest.mark.parametrize("grouping", [True, False])
def test_batches_are_collated(grouping):
    loader = build_detection_train_loader(
        records(),
        mapper=mark,
        sampler=TrainingSampler(12, shuffle=False),
        total_batch_size=2,
        aspect_ratio_grouping=grouping,
        collate_fn=total,
    )
    # In order 0 1 2 …; the wide ones 1 2, the others 0 3 when grouped.
    assert list(itertools.islice(iter(loader), 2)) == ([3, 3] if grouping else [1, 5])


def test_training_never_ends():
    loader = build_detection_train_loader(
        records(3), mapper=None, total_batch_size=2, aspect_ratio_grouping=False
    )
    assert len(batches(loader, 40)) == 40


def test_training_on_a_stream():
    loader = build_detection_train_loader(
        Stream(7), mapper=without_three, total_batch_size=2, aspect_ratio_grouping=False
    )
    assert batches(loader, 9) == [[0, 1], [2, 4], [5, 6]]
    with pytest.raises(AssertionError):
        build_detection_train_loader(
            Stream(7), mapper=None, sampler=TrainingSampler(7), total_batch_size=2
        )


def test_last_incomplete_batch():
    def build(**kwargs):
        return build_batch_data_loader(Stream(5), None, 2, **kwargs)

    assert batches(build(), 9) == [[0, 1], [2, 3]]
    assert batches(build(drop_last=False), 9) == [[0, 1], [2, 3], [4]]
    # Wide: 1 2 4; others: 0 3.
    assert batches(build(aspect_ratio_grouping=True), 9) == [[1, 2], [0, 3]]


def test_process_batch_is_a_share_of_the_total(monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 3)
    monkeypatch.setattr("detectron2.data.build.get_world_size", lambda: 3, raising=False)
    sampler = TrainingSampler(12, seed=0)
    loader = build_batch_data_loader(records(), sampler, 6)
    assert len(next(iter(loader))) == 2
    with pytest.raises(AssertionError):
        build_batch_data_loader(records(), sampler, 4)


def test_batch_size_of_a_process():
    loader = build_batch_data_loader(records(), InferenceSampler(12), None, single_gpu_batch_size=4)
    assert len(next(iter(loader))) == 4
    with pytest.raises(ValueError):
        build_batch_data_loader(records(), InferenceSampler(12), 4, single_gpu_batch_size=4)


ERRORS = {
    "batch size 0": lambda: build_detection_train_loader(
        records(), mapper=None, total_batch_size=0
    ),
    "sampler not Sampler": lambda: build_detection_train_loader(
        records(), mapper=None, sampler=[1], total_batch_size=1
    ),
}


@pytest.mark.parametrize("what", ERRORS)
def test_golden_errors(what, facts):
    with pytest.raises(Exception) as caught:
        ERRORS[what]()
    assert type(caught.value).__name__ == facts["errors"][what]


# --- workers


def with_workers(num_workers, context="fork", count=8, **kwargs):
    arguments = {
        "mapper": mark,
        "sampler": TrainingSampler(12, seed=5),
        "total_batch_size": 2,
        "aspect_ratio_grouping": False,
        "num_workers": num_workers,
        "multiprocessing_context": context if num_workers else None,
        **kwargs,
    }
    return batches(build_detection_train_loader(records(), **arguments), count)


def test_workers_take_turns_with_whole_batches():
    assert with_workers(2) == with_workers(0)


@pytest.mark.bundled
def test_grouped_batches_are_the_same_for_every_number_of_workers():
    grouped = {"aspect_ratio_grouping": True}
    assert with_workers(2, **grouped) == with_workers(0, **grouped)


@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_fresh_worker_processes(context):
    # A fresh process can't import this file, so the mapper is one that it can.
    fresh, own = (with_workers(n, context, count=3, mapper=dict) for n in (1, 0))
    assert fresh == own


def test_workers_draw_differently_and_reproducibly():
    def draws():
        loader = build_detection_train_loader(
            records(),
            mapper=draw,
            sampler=TrainingSampler(12, shuffle=False),
            total_batch_size=1,
            aspect_ratio_grouping=False,
            num_workers=2,
            multiprocessing_context="fork",
            seed=3,
        )
        return [batch[0]["draws"] for batch in itertools.islice(iter(loader), 4)]

    first = draws()
    assert first == draws()
    assert len({value for triple in first for value in triple}) == 12


def test_workers_seed_all_generators_alike():
    loader = build_detection_train_loader(
        records(),
        mapper=first_draws,
        total_batch_size=1,
        aspect_ratio_grouping=False,
        num_workers=2,
        multiprocessing_context="fork",
        prefetch_factor=1,
    )
    for ((seed, by_numpy, by_random),) in itertools.islice(iter(loader), 2):
        assert seed < 2**31 + 2
        assert by_numpy == np.random.RandomState(seed).uniform()
        assert by_random == random.Random(seed).random()


# --- test loader


def test_golden_test_loader(facts):
    loader = build_detection_test_loader(records(), mapper=id_of, batch_size=5)
    assert list(loader) == facts["test_loader_bs5"]
    assert len(loader) == facts["test_loader_len"]
    assert list(loader) == list(loader)


def test_test_loader_with_workers_and_collate_function():
    loader = build_detection_test_loader(
        DatasetFromList(records()), mapper=mark, batch_size=5, num_workers=2, collate_fn=total
    )
    assert list(loader) == [10, 35, 21]


def test_test_loader_on_a_stream():
    loader = build_detection_test_loader(Stream(3), mapper=id_of, batch_size=2)
    assert list(loader) == [[0, 1], [2]]
    with pytest.raises(AssertionError):
        build_detection_test_loader(Stream(3), mapper=None, sampler=InferenceSampler(3))


def test_test_loader_with_its_own_sampler():
    loader = build_detection_test_loader(records(), mapper=id_of, sampler=InferenceSampler(2))
    assert list(loader) == [[0], [1]]
