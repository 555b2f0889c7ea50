"""Assertions about the contents of tensors that never make the host wait for an accelerator."""

from __future__ import annotations

import torch


def assert_all(condition: torch.Tensor, message: str) -> None:
    """Check that every element of a bool tensor holds.

    On a CUDA device the check runs there, asynchronously, and stops the process's CUDA work.

    Raises:
        AssertionError: on other devices, at once.
    """
    if condition.is_cuda:
        torch._assert_async(condition.all(), message)
    else:
        assert bool(condition.all()), message
