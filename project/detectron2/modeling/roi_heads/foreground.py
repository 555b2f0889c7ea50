"""How many of an image's sampled proposals are foreground, known without asking the device.

Sampled proposals have their foreground first. The sampler notes its length on them, so that the
mask branch takes a slice and statistics know whether there is any. Indexing drops the note.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...structures import Instances

_NOTE = "_num_foreground_first"


def note_foreground(proposals: Instances, count: int) -> None:
    """Note that the first ``count`` of the proposals, and no others, are foreground."""
    setattr(proposals, _NOTE, count)


def noted_foreground(proposals: Sequence[Instances]) -> list[int | None]:
    """What was noted on each; None where nothing was."""
    return [getattr(x, _NOTE, None) for x in proposals]


def is_foreground(classes: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Bool: a class, neither background (``num_classes``) nor ignored (-1)."""
    return (classes != -1) & (classes != num_classes)
