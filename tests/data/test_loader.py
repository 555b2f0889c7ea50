"""Training batches: one seed, one run; the same with processes, ranks and after a resume."""

from __future__ import annotations

import multiprocessing
from itertools import islice

from project.data import sample_order
from project.data.catalog import subset_dicts
from project.data.loader import build_train_loader
from project.data.mapper import InstanceMapper
from project.data.sampler import ClassWeights
from project.errors import UserError

import numpy as np
import pytest
import torch
import torch.distributed as dist
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from detectron2.data import transforms as T

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


class FreshMapper:
    """Makes a dict of its own and remembers what it was given."""

    def __init__(self):
        self.given = []

    def __call__(self, record):
        self.given.append(record)
        return {"image_id": record["image_id"]}


class FussyMapper(NoiseMapper):
    """Gives None, as Detectron2's mappers may, where it doesn't like the image."""

    def __call__(self, record):
        return None if record["image_id"] in (3, 4) else super().__call__(record)


class BoundMapper(NoiseMapper):
    def bind(self, records, statistics):
        self.bound = [record["image_id"] for record in records], statistics.class_names


class BrokenMapper:
    def __call__(self, record):
        raise UserError(f"image {record['image_id']} can't be read")


def loader(**options):
    settings = {"mapper": NoiseMapper(), "total_batch_size": 2, "seed": 5, **options}
    return build_train_loader(RECORDS, **settings)


def batches(number, **options):
    return [
        [(record["image_id"], record["noise"], record["position"]) for record in batch]
        for batch in islice(loader(**options), number)
    ]


@pytest.fixture
def short_blocks(monkeypatch):
    """Three batches a block."""
    monkeypatch.setattr(sample_order, "BLOCK", 3)


@pytest.fixture
def as_rank(monkeypatch):
    """``as_rank(rank, world_size)``: what the process group says from now on."""

    def become(rank, world_size):
        monkeypatch.setattr(dist, "is_initialized", lambda: True)
        monkeypatch.setattr(dist, "get_world_size", lambda *_: world_size)
        monkeypatch.setattr(dist, "get_rank", lambda *_: rank)

    return become


@pytest.mark.parametrize("grouping", [False, True])
def test_one_seed_gives_one_run(grouping):
    first = batches(20, aspect_ratio_grouping=grouping)
    assert first == batches(20, aspect_ratio_grouping=grouping)
    assert first != batches(20, aspect_ratio_grouping=grouping, seed=6)
    noise = {value for batch in first for _, value, _ in batch}
    assert len(noise) == 40


@pytest.mark.parametrize("grouping", [False, True])
@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker:UserWarning")
@pytest.mark.parametrize("num_workers", [1, 3])
def test_loader_processes_change_nothing(grouping, num_workers, short_blocks):
    inside = batches(8, aspect_ratio_grouping=grouping)
    assert inside == batches(8, aspect_ratio_grouping=grouping, num_workers=num_workers)
    later = batches(3, aspect_ratio_grouping=grouping, num_workers=num_workers, start=2 * 5)
    assert later == inside[5:]


@pytest.mark.parametrize("grouping", [False, True])
def test_a_resumed_run_sees_what_the_unbroken_one_sees(grouping, short_blocks):
    whole = batches(24, aspect_ratio_grouping=grouping)
    for behind in range(14):  # at and around four borders of blocks
        resumed = batches(10, aspect_ratio_grouping=grouping, start=2 * behind)
        assert resumed == whole[behind : behind + 10]


@pytest.mark.parametrize("grouping", [False, True])
def test_ranks_share_the_batches_of_one_process(grouping, short_blocks, as_rank):
    options = {"total_batch_size": 4, "aspect_ratio_grouping": grouping}
    whole = batches(10, **options)
    for rank in range(2):
        as_rank(rank, 2)
        assert batches(10, **options) == [batch[rank::2] for batch in whole]
        # four processes before, two now
        resumed = batches(6, start=4 * 4, num_workers=1, **options)
        assert resumed == [batch[rank::2] for batch in whole[4:]]


def test_positions_count_the_samples_of_the_run(as_rank):
    assert [[p for *_, p in batch] for batch in batches(3, start=8)] == [[8, 9], [10, 11], [12, 13]]
    as_rank(1, 2)
    assert [p for batch in batches(3, total_batch_size=4) for *_, p in batch] == [1, 3, 5, 7, 9, 11]


def test_any_mapper_gets_and_gives_the_position():
    mapper = FreshMapper()
    found = [record for batch in islice(loader(mapper=mapper), 5) for record in batch]
    assert [record["position"] for record in found] == list(range(10))
    assert [record["position"] for record in mapper.given] == list(range(10))
    assert all("position" not in record for record in RECORDS)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker:UserWarning")
def test_augmentation_follows_from_seed_and_position(tiny_root):
    records = subset_dicts("tiny", "train", tiny_root)
    mapper = InstanceMapper(
        True, augmentations=[T.ResizeShortestEdge([40, 48, 56], 99, "choice"), T.RandomFlip()]
    )
    settings = {"mapper": mapper, "total_batch_size": 3, "seed": 2}
    expected = list(islice(build_train_loader(records, **settings), 6))
    assert len({record["image"].shape for batch in expected for record in batch}) > 2
    for num_workers in (1, 3):
        made = build_train_loader(records, num_workers=num_workers, **settings)
        for batch, other in zip(expected, made, strict=False):
            for record, twin in zip(batch, other, strict=True):
                assert record["position"] == twin["position"]
                assert record["file_name"] == twin["file_name"]
                assert torch.equal(record["image"], twin["image"])
                ours, theirs = record["instances"], twin["instances"]
                assert torch.equal(ours.gt_boxes.tensor, theirs.gt_boxes.tensor)
                assert torch.equal(ours.gt_masks.tensor, theirs.gt_masks.tensor)


def test_images_that_a_mapper_makes_nothing_of_are_replaced():
    made = loader(mapper=FussyMapper(), aspect_ratio_grouping=False, total_batch_size=9)
    found = [record["image_id"] for record in next(iter(made))]
    assert sorted(found) == [0, 1, 2, 5, 5, 5, 6, 7, 8]
    assert made.broken_images.counts == {"number 3": 1, "number 4": 2}
    with pytest.raises(UserError, match=r"the mapper makes nothing of image number [34]"):
        batches(9, mapper=FussyMapper(), on_broken_image="fatal")


def test_a_mapper_that_asks_for_the_dataset_gets_it():
    mapper = BoundMapper()
    loader(mapper=mapper)
    assert mapper.bound == (list(range(9)), ("0", "1"))


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


def test_the_report_of_grouped_batches_is_exact(short_blocks):
    made = loader(aspect_ratio_grouping=True)
    drawn = [record["image_id"] for batch in islice(made, 30) for record in batch]
    for num in range(2, 60, 2):
        shown = made.sampling_report(num)
        assert shown["num_drawn"] == num
        share = 100 * drawn[:num].count(4) / num
        assert shown["classes"]["1"]["images"]["drawn"] == pytest.approx(share)


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
    assert not multiprocessing.active_children()  # ended at once, not when garbage is collected


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
