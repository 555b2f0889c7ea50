"""Accuracies and mean counts of a training step, written without waiting for the device."""

from __future__ import annotations

import torch

from ..utils.events import get_event_storage, has_event_storage


def put_share(name: str, part: torch.Tensor | int, whole: torch.Tensor | int) -> None:
    """Write ``part / whole`` under ``name``; a whole of 0 counts as 1.

    Counts on a device stay there (see `EventStorage.put_scalar`). Without an open event storage
    nothing is written: a model can be tried outside of a trainer.
    """
    if has_event_storage():
        whole = whole.clamp(min=1) if isinstance(whole, torch.Tensor) else max(whole, 1)
        get_event_storage().put_scalar(name, part / whole)
