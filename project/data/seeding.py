"""The randomness of one training sample: a function of the run's seed and its position alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def sample_randomness(seed: int, position: int) -> Iterator[None]:
    """Within, the generators of numpy, Python and torch are those of sample ``position``.

    Afterwards they go on as before. Of torch's, it is the CPU's.
    """
    generator = torch.default_generator
    before = np.random.get_state(), random.getstate(), generator.get_state()
    words = np.random.SeedSequence([seed, position]).generate_state(8)
    np.random.seed(words[:4])
    random.seed(words[4:6].tobytes())
    generator.manual_seed(int(words[6]))  # torch.manual_seed would seed GPUs as well
    try:
        yield
    finally:
        np.random.set_state(before[0])
        random.setstate(before[1])
        generator.set_state(before[2])
