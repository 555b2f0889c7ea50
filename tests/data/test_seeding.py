"""What a mapper draws follows from seed and position, from whichever generator it draws."""

import random

from project.data.seeding import sample_randomness

import numpy as np
import torch


def drawn(seed: int, position: int) -> tuple:
    with sample_randomness(seed, position):
        return np.random.rand(), random.random(), torch.rand(()).item()


def test_draws_follow_from_seed_and_position():
    first = drawn(3, 100)
    np.random.rand(5), random.random(), torch.rand(7)
    assert drawn(3, 100) == first
    for other in (drawn(3, 101), drawn(4, 100)):
        assert all(a != b for a, b in zip(first, other, strict=True))


def test_the_generators_go_on_as_before():
    def three() -> tuple:
        return np.random.rand(), random.random(), torch.rand(()).item()

    states = np.random.get_state(), random.getstate(), torch.get_rng_state()
    expected = three()
    np.random.set_state(states[0]), random.setstate(states[1]), torch.set_rng_state(states[2])
    drawn(0, 0)
    assert three() == expected
