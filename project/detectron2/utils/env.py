"""Seeding of every random generator; follows ``detectron2.utils.env.seed_all_rng``."""

from __future__ import annotations

import logging
import os
import random
import time

import numpy as np
import torch

__all__ = ["seed_all_rng"]


def seed_all_rng(seed: int | None = None) -> None:
    """Seed NumPy, PyTorch (CPU and CUDA) and ``random``, and set ``PYTHONHASHSEED`` for children.

    Args:
        seed: None takes one that differs between processes and runs, and logs it, so that a run
            can be repeated.
    """
    if seed is None:
        seed = _fresh_seed()
        logging.getLogger(__name__).info("Using the generated random seed %d", seed)
    np.random.seed(seed)
    torch.manual_seed(seed)  # seeds the CUDA generators too, once CUDA starts
    random.seed(seed)
    os.environ["PYTHONHASHSEED"] = str(seed)


def _fresh_seed() -> int:
    """32 bits from the system's generator, mixed with pid and clock should that one be weak."""
    mixed = int.from_bytes(os.urandom(4), "little") ^ os.getpid() ^ time.time_ns()
    return mixed & 0xFFFFFFFF
