"""One map of classes from the objects of a picture: the only place that says who owns a pixel.

The rule, for training labels and for evaluation alike:

- objects are painted from the largest to the smallest (pixels of the mask; of equal ones the later
  annotation last), so a small object in front of a large one stays visible;
- what nothing paints is background, the class after the last;
- pixels that a crowd region claims and no object does don't count: what is right there isn't known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

IGNORED = 255  # label of pixels that don't count in training


class MaskWindow(Protocol):
    """A mask inside a window of its picture."""

    @property
    def pixels(self) -> np.ndarray:
        """bool [h, w]"""

    @property
    def window(self) -> tuple[slice, slice]:
        """Where in the picture ``pixels`` lie: slices of rows and columns."""


def paint(
    masks: Iterable[MaskWindow | None],
    classes: Iterable[int],
    size: tuple[int, int],
    background: int,
) -> np.ndarray:
    """int32 [H, W]: the class of each pixel; later masks lie over earlier ones."""
    labels = np.full(size, background, np.int32)
    for mask, k in zip(masks, classes, strict=True):
        if mask is not None:
            labels[mask.window][mask.pixels] = k
    return labels


def truth_map(
    masks: Sequence[MaskWindow | None],
    classes: Sequence[int],
    crowds: Iterable[MaskWindow | None],
    size: tuple[int, int],
    background: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The map of the objects, int32 [H, W], and which of its pixels count, bool [H, W].

    Args:
        masks: of the objects, in the order of their annotations; None has no pixels.
        classes: of the objects, each below ``background``.
        crowds: masks of the crowd regions.
    """
    areas = [0 if mask is None else int(mask.pixels.sum()) for mask in masks]
    order = sorted(range(len(masks)), key=lambda i: -areas[i])
    labels = paint([masks[i] for i in order], [classes[i] for i in order], size, background)
    crowded = np.zeros(size, bool)
    for mask in crowds:
        if mask is not None:
            crowded[mask.window] |= mask.pixels
    return labels, (labels != background) | ~crowded
