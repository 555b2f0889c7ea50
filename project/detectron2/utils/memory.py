"""Survive a full GPU; follows ``detectron2.utils.memory``."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

import torch

__all__ = ["retry_if_cuda_oom"]

logger = logging.getLogger(__name__)


def retry_if_cuda_oom(func: Callable) -> Callable:
    """``func`` that answers a full GPU with two more tries.

    The second try runs after the allocator's cache is emptied, the third with those positional and
    keyword arguments on the CPU that are CUDA tensors or have ``.device`` and ``.to`` like them.
    Nested arguments stay where they are, and the result of the third try is on the CPU. ``func``
    must have no side effects before it fails. Other errors pass.
    """

    @functools.wraps(func)
    def wrapped(*args, **kwargs):
        try:
            return func(*args, **kwargs)
        except RuntimeError as error:
            if not _is_oom(error):
                raise
        # Outside the handlers: a live traceback would hold the failed call's tensors.
        torch.cuda.empty_cache()
        try:
            return func(*args, **kwargs)
        except RuntimeError as error:
            if not _is_oom(error):
                raise
        logger.info("Out of GPU memory twice: running %s on the CPU", func)
        on_cpu = {name: _to_cpu(value) for name, value in kwargs.items()}
        return func(*map(_to_cpu, args), **on_cpu)

    return wrapped


def _is_oom(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "CUDA out of memory." in str(error)


def _to_cpu(value):
    if getattr(getattr(value, "device", None), "type", None) == "cuda" and hasattr(value, "to"):
        return value.to(device="cpu")
    return value
