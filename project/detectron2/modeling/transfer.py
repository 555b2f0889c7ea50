"""Copies to a device that the host doesn't wait for.

``tensor.to(device)`` and ``torch.tensor(values, device=...)`` first let a CUDA device finish all it
was given, the step before included.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..structures import BitMasks, Boxes, Instances


def values_on(device: torch.device, values: Sequence, dtype: torch.dtype) -> torch.Tensor:
    """A tensor of numbers of the host, on a device."""
    pinned = device.type == "cuda"
    tensor = torch.tensor(values, dtype=dtype, device="cpu", pin_memory=pinned)
    return tensor.to(device, non_blocking=True)


def limits_on(device: torch.device, image_sizes: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Largest coordinates ``[N, 4]`` (width, height, width, height) of boxes in N images."""
    return values_on(device, [[w, h, w, h] for h, w in image_sizes], torch.float32)


def instances_on(device: torch.device, instances: Instances) -> Instances:
    """`Instances.to` of a device."""
    moved = Instances(instances.image_size)
    for name, value in instances.get_fields().items():
        if isinstance(value, torch.Tensor):
            value = value.to(device, non_blocking=True)
        elif isinstance(value, (Boxes, BitMasks)):
            value = type(value)(value.tensor.to(device, non_blocking=True))
        elif hasattr(value, "to"):
            value = value.to(device)
        moved.set(name, value)
    return moved
