"""Training batches: one seed, one run; the same with processes, ranks and after a resume."""

from __future__ import annotations

from itertools import islice

from project.data.loader import build_train_loader
from project.data.sampler import ClassWeights
from project.errors import UserError

import numpy as np
import pytest
import torch.distributed as dist
from detectron2.config import LazyCall as L
from detectron2.config import instantiate

RECORDS = [
    {
        "image_id": i,
        "height": 10,
        "width": 20 if i % 3 else 5,
        "annotations": [{"category_id": int(i == 4)}],
    }
    for i in range(9)
]


class NoiseMapper:
    """A record with a random number, as augmentations draw it."""

    def __call__(self, record):
        return {**record, "noise": np.random.uniform()}


class BrokenMapper:
    def __call__(self, record):
        raise UserError(f"image {record['image_id']} can't be read")


def loader(**options):
    settings = {"mapper": NoiseMapper(), "total_batch_size": 2, "seed": 5, **options}
    return build_train_loader(RECORDS, **settings)


def batches(number, **options):
    return [
        [(record["image_id"], record["noise"]) for record in batch]
        for batch in islice(loader(**options), number)
    ]


@pytest.mark.parametrize("grouping", [False, True])
def test_one_seed_gives_one_run(grouping):
    first = batches(20, aspect_ratio_grouping=grouping)
    assert first == batches(20, aspect_ratio_grouping=grouping)
    assert first != batches(20, aspect_ratio_grouping=grouping, seed=6)
    noise = {value for batch in first for _, value in batch}
    assert len(noise) == 40


@pytest.mark.parametrize("grouping", [False, True])
def test_loader_processes_change_nothing(grouping):
    inside = batches(8, aspect_ratio_grouping=grouping)
    assert inside == batches(8, aspect_ratio_grouping=grouping, num_workers=2)


@pytest.mark.parametrize("grouping", [False, True])
def test_a_resumed_run_sees_what_the_unbroken_one_sees(grouping):
    whole = batches(20, aspect_ratio_grouping=grouping)
    assert batches(9, aspect_ratio_grouping=grouping, start=2 * 11) == whole[11:]


def test_ranks_share_the_batches_of_one_process(monkeypatch):
    whole = batches(6, total_batch_size=4, aspect_ratio_grouping=False)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda *_: 2)
    for rank in range(2):
        monkeypatch.setattr(dist, "get_rank", lambda *_, rank=rank: rank)
        share = batches(6, total_batch_size=4, aspect_ratio_grouping=False)
        assert share == [batch[rank::2] for batch in whole]


def test_the_global_generator_is_left_alone():
    np.random.seed(1)
    expected = np.random.uniform()
    np.random.seed(1)
    batches(3)
    assert np.random.uniform() == expected


def test_grouped_batches_hold_one_orientation_and_all_images():
    found = list(islice(loader(aspect_ratio_grouping=True), 40))
    assert all(len({record["width"] for record in batch}) == 1 for batch in found)
    assert {record["image_id"] for batch in found for record in batch} == set(range(9))


def test_a_scheme_reaches_the_batches_and_the_report():
    weighted = loader(sampling=ClassWeights({"1": 8.0}), aspect_ratio_grouping=False)
    drawn = [record["image_id"] for batch in islice(weighted, 90) for record in batch]
    # 8 of 16 draws; every pass of 9 draws holds image 4 four or five times
    assert drawn.count(4) == pytest.approx(90, abs=10)
    report = weighted.sampling_report(180)
    assert report["classes"]["1"]["images"]["expected"] == pytest.approx(50)
    assert report["classes"]["1"]["images"]["drawn"] == pytest.approx(100 * drawn.count(4) / 180)
    assert loader().sampling_report()["num_drawn"] == 0


def test_configs_build_it():
    node = L(build_train_loader)(
        dataset=RECORDS,
        mapper=L(NoiseMapper)(),
        sampling=L(ClassWeights)(weights={"1": 2.0}),
        total_batch_size=3,
    )
    batch = next(iter(instantiate(node)))
    assert len(batch) == 3
    assert all(isinstance(record, dict) for record in batch)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_users_mistake_stays_one_line(workers):
    with pytest.raises(UserError, match=r"^image \d can't be read$"):
        next(iter(loader(mapper=BrokenMapper(), num_workers=workers)))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"total_batch_size": 0}, "total_batch_size=0 must be a multiple"),
        ({"start": 3}, "start=3 must be whole batches of 2"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_impossible_loaders_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        loader(**options)


def test_no_images_are_refused():
    with pytest.raises(UserError, match="has no images"):
        build_train_loader([], mapper=NoiseMapper(), total_batch_size=1)
