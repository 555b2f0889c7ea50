"""RoIAlign on the CPU: `detectron2.layers.roi_align` as it answers here against torchvision's."""

from __future__ import annotations

import time
from collections.abc import Callable

from project.benchmarks.machine import describe_machine

import torch
from detectron2.layers import roi_align


def measure_roi_align(num_boxes: int, *, channels: int = 256, repeats: int = 3) -> dict:
    """Best seconds of forward and backward and their ratios, for box and mask heads.

    Features are [2, C, 64, 64] at stride 4, boxes up to 200 pixels; ``ratio_*`` is torchvision's
    time divided by ours.
    """
    from torchvision.ops import roi_align as reference

    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, channels, 64, 64, generator=generator)
    corner = torch.rand(num_boxes, 2, generator=generator) * 180
    size = torch.rand(num_boxes, 2, generator=generator) * 180 + 8
    image = torch.randint(2, (num_boxes, 1), generator=generator)
    rois = torch.cat([image, corner, corner + size], dim=1)
    rows = []
    for output, sampling in ((7, 0), (7, 2), (14, 0), (14, 2)):
        args = (rois, (output, output), 0.25, sampling, True)
        ours = best_seconds(roi_align, features, args, repeats)
        theirs = best_seconds(reference, features, args, repeats)
        rows.append(
            {
                "output": output,
                "sampling_ratio": sampling,
                "ours": ours,
                "torchvision": theirs,
                "ratio_forward": round(theirs[0] / ours[0], 2),
                "ratio_backward": round(theirs[1] / ours[1], 2),
            }
        )
    return {"machine": describe_machine(), "boxes": num_boxes, "channels": channels, "rows": rows}


def best_seconds(
    function: Callable, features: torch.Tensor, args: tuple, repeats: int
) -> tuple[float, float]:
    """The shortest of ``repeats`` forward and of as many backward passes, in seconds."""
    forward, backward = [], []
    for _ in range(repeats):
        leaf = features.clone().requires_grad_()
        started = time.perf_counter()
        pooled = function(leaf, *args)
        middle = time.perf_counter()
        pooled.sum().backward()
        forward.append(middle - started)
        backward.append(time.perf_counter() - middle)
    return min(forward), min(backward)
