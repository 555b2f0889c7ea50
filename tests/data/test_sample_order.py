"""The order of samples: batches of one orientation, found again from any place, on any ranks."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from project.data import sample_order
from project.data.sample_order import Draw, RankDraws, SampleOrder
from project.data.sampler import WeightedSampler

import numpy as np
import pytest

WIDE = np.arange(7) % 3 > 0
BATCH = 4


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
    """Five batches a block: twenty draws, nearly three passes over seven images."""
    monkeypatch.setattr(sample_order, "BLOCK", 5)


def order(wide=WIDE, batch_size=BATCH, size=7):
    sampler = WeightedSampler(np.arange(1.0, size + 1), 3, rank=0, world_size=1)
    return SampleOrder(sampler, batch_size, wide)


def take(number, start=0, **options):
    return list(islice(order(**options).indices(start), number))


def stream(number):
    return list(islice(order().sampler, number))


def test_a_block_is_rearranged_by_hand():
    made = order(batch_size=2, wide=np.array([False, True]), size=2)
    # draws:  0 1 2 3 4 5 6 7 8 9, wide: 0 1 1 0 1 1 1 0 1 1
    block = np.array([0, 1, 1, 0, 1, 1, 1, 0, 1, 1])
    # full batches are (1 2), (0 3), (4 5), (6 8) as they fill up; 7 and 9 are left
    expected = [1, 1, 0, 0, 1, 1, 1, 1, 0, 1]
    assert made._rearranged(block).tolist() == expected


def test_batches_have_one_orientation_but_one_of_a_block():
    batches = np.array(take(400)).reshape(-1, 5, BATCH)
    mixed = [[len(set(WIDE[batch])) > 1 for batch in block] for block in batches]
    assert not any(any(block[:-1]) for block in mixed)
    assert any(block[-1] for block in mixed)


def test_each_block_holds_its_part_of_the_stream():
    found, plain = take(200), stream(200)
    assert found != plain
    for first in range(0, 200, 20):
        assert Counter(found[first : first + 20]) == Counter(plain[first : first + 20])
    assert take(200, wide=None) == plain


@pytest.mark.parametrize("wide", [None, WIDE], ids=["plain", "grouped"])
def test_every_place_can_be_found_again(wide):
    whole = take(140, wide=wide)
    for start in range(100):
        assert take(40, start, wide=wide) == whole[start : start + 40]


@pytest.mark.parametrize("wide", [None, WIDE], ids=["plain", "grouped"])
def test_counts_are_those_of_the_order(wide):
    whole = take(100, wide=wide)
    for stop in range(100):
        expected = Counter(whole[:stop])
        assert order(wide).counts(stop).tolist() == [expected[i] for i in range(7)]


@pytest.mark.parametrize("wide", [None, WIDE], ids=["plain", "grouped"])
def test_ranks_share_out_the_same_batches(wide):
    whole = list(islice(RankDraws(order(wide), rank=0, world_size=1), 160))
    assert whole == [Draw(index, place) for place, index in enumerate(take(160, wide=wide))]
    for world_size in (2, 4):
        ranks = [
            list(islice(RankDraws(order(wide), rank=r, world_size=world_size), 160 // world_size))
            for r in range(world_size)
        ]
        assert [ranks[i % world_size][i // world_size] for i in range(160)] == whole


def test_another_number_of_ranks_goes_on_at_the_same_count():
    whole = list(islice(RankDraws(order(), rank=0, world_size=1), 200))
    for start in range(0, 100, BATCH):
        second = islice(RankDraws(order(), start, rank=1, world_size=2), 40)
        assert list(second) == whole[start + 1 : start + 81 : 2]


@pytest.mark.parametrize("start", [0, 19, 20, 21, 10**6, 10**12 + 7])
def test_seeking_costs_no_more_far_ahead(start, monkeypatch):
    passes = []
    original = WeightedSampler._pass
    monkeypatch.setattr(
        WeightedSampler, "_pass", lambda self, n: passes.append(n) or original(self, n)
    )
    take(1, start)
    # one block of twenty draws touches at most four passes of seven
    assert len(passes) <= 4
    assert passes[0] == start // 20 * 20 // 7
