"""Sampler streams: golden figures, shares of ranks, errors."""

from __future__ import annotations

import itertools
from collections import Counter

import project  # noqa: F401

import pytest
import torch
from detectron2.data.samplers import (
    InferenceSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from detectron2.utils import comm


@pytest.fixture(scope="module")
def facts(golden):
    return golden.json("samplers")


@pytest.fixture
def as_rank(monkeypatch):
    """``as_rank(r, R)``: from now on this is process r of R."""

    def as_rank(rank, world_size):
        monkeypatch.setattr(comm, "get_rank", lambda: rank)
        monkeypatch.setattr(comm, "get_world_size", lambda: world_size)

    return as_rank


def take(sampler, count):
    return list(itertools.islice(iter(sampler), count))


@pytest.mark.parametrize("seed", [0, 7])
def test_shuffled_stream(seed, facts):
    assert take(TrainingSampler(11, seed=seed), 33) == facts["training"][f"size11_seed{seed}"]


def test_stream_in_order(facts):
    assert take(TrainingSampler(4, shuffle=False, seed=0), 10) == facts["training_noshuffle"]


def test_repeat_factor_streams(facts):
    factors = torch.tensor(facts["repeat"]["factors"])
    shuffled = RepeatFactorTrainingSampler(factors, seed=3)
    assert take(shuffled, 40) == facts["repeat"]["seed3"]
    ordered = RepeatFactorTrainingSampler(factors, shuffle=False, seed=3)
    assert take(ordered, 40) == facts["repeat"]["seed3_noshuffle"]


@pytest.mark.parametrize("world_size, rank", [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)])
def test_ranks(world_size, rank, facts, as_rank):
    as_rank(rank, world_size)
    expected = facts["ranks"][f"ws{world_size}_rank{rank}"]
    assert take(TrainingSampler(11, seed=7), 12) == expected["training_size11_seed7"]
    factors = torch.tensor(facts["repeat"]["factors"])
    sampler = RepeatFactorTrainingSampler(factors, seed=3)
    assert take(sampler, 12) == expected["repeat_seed3"]


def test_inference_shares(facts, as_rank):
    for key, expected in facts["inference"].items():
        size, world_size, rank = (int(part.strip("nwsrak")) for part in key.split("_"))
        as_rank(rank, world_size)
        sampler = InferenceSampler(size)
        assert list(sampler) == expected, key
        assert len(sampler) == len(expected)


def test_inference_shares_make_up_the_dataset(as_rank):
    for size, world_size in itertools.product((1, 5, 8, 17), (1, 2, 4, 7)):
        shares = []
        for rank in range(world_size):
            as_rank(rank, world_size)
            shares += list(InferenceSampler(size))
        assert shares == list(range(size))


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("sqrt", [True, False])
def test_repeat_factors(threshold, sqrt, facts):
    table = facts["repeat_factors"]
    records = [
        {"annotations": [{"category_id": c} for c in ids]}
        for ids in table["category_ids_per_image"]
    ]
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
        records, threshold, sqrt=sqrt
    )
    expected = table[f"thresh_{threshold}" + ("" if sqrt else "_nosqrt")]
    assert factors.dtype == torch.float32
    torch.testing.assert_close(factors, torch.tensor(expected), rtol=0, atol=1e-6)


def test_repeat_factors_by_hand():
    # Category 1 is on one of four images: sqrt(1 / (1/4)) = 2.
    records = [{"annotations": [{"category_id": c}]} for c in (0, 0, 0, 1)]
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(records, 1.0)
    torch.testing.assert_close(factors, torch.tensor([(4 / 3) ** 0.5] * 3 + [2.0]))


def test_repeat_factors_of_no_images():
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency([], 1.0)
    assert factors.shape == (0,)


def test_epochs_repeat_images_as_often_as_their_factors_say():
    factors = torch.tensor([1.0, 2.0, 0.5])
    seen = Counter(take(RepeatFactorTrainingSampler(factors, seed=1), 3500))
    # 3500 draws are about 1000 epochs of 3.5 images; the 0.5 has a deviation of 16.
    assert seen[0] == pytest.approx(1000, abs=80)
    assert seen[1] == pytest.approx(2 * seen[0], abs=5)
    assert seen[2] == pytest.approx(500, abs=80)


def test_every_epoch_has_every_image():
    stream = take(TrainingSampler(9, seed=4), 27)
    epochs = [stream[:9], stream[9:18], stream[18:]]
    assert all(sorted(epoch) == list(range(9)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_iterating_again_starts_again():
    sampler = TrainingSampler(9, seed=4)
    assert take(sampler, 12) == take(sampler, 12)


def test_without_a_seed_one_is_drawn(monkeypatch):
    monkeypatch.setattr(comm, "shared_random_seed", lambda: 7)
    assert take(TrainingSampler(11), 5) == take(TrainingSampler(11, seed=7), 5)


ERRORS = {
    "size 0": lambda: TrainingSampler(0),
    "size float": lambda: TrainingSampler(3.0),
    "inference 0": lambda: InferenceSampler(0),
}


@pytest.mark.parametrize("what", ERRORS)
def test_errors(what, facts):
    with pytest.raises(Exception) as caught:
        ERRORS[what]()
    assert type(caught.value).__name__ == facts["errors"][what]


@pytest.mark.bundled
def test_repeat_factors_that_never_yield():
    with pytest.raises(AssertionError):
        RepeatFactorTrainingSampler(torch.zeros(3))
