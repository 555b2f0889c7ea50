"""COCO's run-length encoding of small masks in large images, without a full-size mask.

Runs go down the columns, zeros first. A mask that covers a box only is read in its box: its runs
are the distances between the places where the value flips.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

# What the kernels raise for damaged masks.
DAMAGED = (ValueError, TypeError, OverflowError, KeyError)
# Masks at once: hotcoco shares many among its threads; pycocotools 2.0.11 fails on more than 255
# under NumPy 2.4.
_CHUNKS = {"hotcoco": 8192, "pycocotools": 255}

if TYPE_CHECKING:  # its import takes more than a second, which reading results needn't spend
    import torch


def encode_boxed_masks(
    masks: torch.Tensor,
    boxes: torch.Tensor,
    image_size: tuple[int, int],
    threshold: float = 0.5,
) -> list[dict[str, Any]]:
    """RLE of soft masks stretched to their boxes: what pasting and encoding would give.

    The mask is sampled bilinearly at pixel centres, as by
    `detectron2.layers.mask_ops.paste_masks_in_image`, but in the box's window only.

    Args:
        masks: [N, M, M] or [N, 1, M, M], values 0-1, on any device.
        boxes: [N, 4], x0, y0, x1, y1 in pixels; one without width or height gives an empty mask.
        image_size: height, width.
        threshold: a pixel belongs to the mask from this value on.

    Returns:
        Dicts with ``size`` [height, width] and ``counts`` as text.
    """
    import torch

    height, width = image_size
    masks = masks.detach().float().cpu().reshape(-1, *masks.shape[-2:])
    boxes = boxes.detach().float().cpu()
    firsts, lasts = _windows(boxes, height, width)
    runs = []
    with torch.no_grad():
        places = zip(masks, boxes.tolist(), firsts.tolist(), lasts.tolist(), strict=True)
        for mask, box, first, last in places:
            columns = _weights(first[0], last[0], box[0], box[2], len(mask))
            rows = _weights(first[1], last[1], box[1], box[3], len(mask))
            crop = (rows @ mask @ columns.T >= threshold).numpy()
            runs.append(crop_runs(crop, first[0], first[1], height, width))
    return compress(runs, height, width)


def encode_masks(masks: torch.Tensor) -> list[dict[str, Any]]:
    """RLE of each mask of a bool [N, H, W] tensor, on any device; counts as text."""
    height, width = masks.shape[1:]
    runs = []
    for mask in masks.detach().cpu().numpy():
        rows = np.flatnonzero(mask.any(axis=1))
        if not len(rows):
            runs.append([height * width])
            continue
        top, bottom = rows[0], rows[-1] + 1
        columns = np.flatnonzero(mask[top:bottom].any(axis=0))
        left, right = columns[0], columns[-1] + 1
        runs.append(crop_runs(mask[top:bottom, left:right], left, top, height, width))
    return compress(runs, height, width)


def _windows(boxes: torch.Tensor, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """First pixel (x, y) that each mask may reach, and the one past its last; int64 [N, 2] each.

    Interpolation fades out beyond the box; further than a pixel away is nothing, as in Detectron2.
    """
    import torch

    limits = torch.tensor([width, height], dtype=torch.float32)
    start, end = boxes[:, :2], boxes[:, 2:]
    first = torch.minimum((start.floor() - 1).clamp(min=0), limits)
    last = torch.minimum((end.ceil() + 1).clamp(min=0), limits)
    last = torch.where((end > start).all(1, keepdim=True), torch.maximum(first, last), first)
    return first.long(), last.long()


def _weights(first: int, last: int, start: float, end: float, cells: int) -> torch.Tensor:
    """Bilinear weights [pixels, cells] of a mask's rows (or columns) at the pixels' centres."""
    import torch

    # NumPy starts each of these small operations several times as fast as torch does.
    places = np.arange(first, last, dtype=np.float32) + 0.5
    places = (places - start) / (end - start) * cells - 0.5
    away = places[:, None] - np.arange(cells, dtype=np.float32)
    np.abs(away, out=away)
    np.subtract(1, away, out=away)
    return torch.from_numpy(np.maximum(away, 0, out=away))


def crop_runs(crop: np.ndarray, left: int, top: int, height: int, width: int) -> list[int]:
    """Runs of a mask [H, W] of zeros and ones at a place in an image of height x width pixels."""
    length = crop.shape[0] + 1
    # A zero before each column, and one at the end: each column has its own flips, in pairs.
    down = np.zeros(crop.shape[1] * length + 1, dtype=bool)
    down[:-1].reshape(-1, length)[:, 1:] = crop.T
    column, row = np.divmod(np.flatnonzero(down[1:] != down[:-1]), length)
    flips = (left + column) * height + top + row
    if crop.shape[0] == height:
        # A run over the edge between two full columns ended and began in one place: no flip.
        twice = np.flatnonzero(flips[1:] == flips[:-1])
        flips = np.delete(flips, np.concatenate([twice, twice + 1]))
    runs = np.diff(flips, prepend=0, append=height * width)
    # The format has no last run of zero pixels.
    return (runs[:-1] if runs[-1] == 0 else runs).tolist()


def compress(runs: list[list[int]], height: int, width: int) -> list[dict[str, Any]]:
    """Masks of one size, given by their runs, with COCO's compressed text as ``counts``."""
    from pycocotools import mask as coco_mask

    size = [height, width]
    rles = coco_mask.frPyObjects([{"size": size, "counts": r} for r in runs], *size) if runs else []
    return [{"size": size, "counts": rle["counts"].decode("ascii")} for rle in rles]


def mask_areas(rles: Sequence[dict[str, Any]], backend: str = "hotcoco") -> np.ndarray:
    """Pixels of each mask, int64 [N]; ``backend`` is "hotcoco" or "pycocotools"."""
    return np.concatenate(
        [np.zeros(0, np.int64), *_by_kernel("area", rles, backend)], dtype=np.int64
    )


def mask_boxes(rles: Sequence[dict[str, Any]], backend: str = "hotcoco") -> np.ndarray:
    """The box of each mask, float64 [N, 4]: x, y, width, height; zeros for an empty one."""
    return np.concatenate([np.zeros((0, 4)), *_by_kernel("toBbox", rles, backend)])


def first_damaged(
    rles: Sequence[dict[str, Any]], backend: str = "hotcoco"
) -> tuple[int, Exception] | None:
    """Place of the first mask that ``backend`` can't read, and what it says; None if it can all."""
    try:
        mask_areas(rles, backend)
    except DAMAGED:
        for place, rle in enumerate(rles):
            try:
                mask_areas([rle], backend)
            except DAMAGED as error:  # noqa: PERF203 - which one fails is the question
                return place, error
    return None


def _by_kernel(name: str, rles: Sequence[dict[str, Any]], backend: str) -> list[np.ndarray]:
    kernel = getattr(importlib.import_module(f"{backend}.mask"), name)
    chunk = _CHUNKS[backend]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [np.asarray(kernel(list(rles[i : i + chunk]))) for i in range(0, len(rles), chunk)]


def decode_crop(rle: dict[str, Any]) -> tuple[np.ndarray, int, int]:
    """The smallest box of an RLE mask: uint8 [H, W] of zeros and ones, its left and its top pixel.

    An empty mask gives an array of no pixels.
    """
    height = rle["size"][0]
    ends = np.cumsum(_runs(rle["counts"]))
    starts, ends = ends[0:-1:2], ends[1::2]
    kept = ends > starts
    starts, ends = starts[kept], ends[kept]
    if not len(starts):
        return np.zeros((0, 0), dtype=np.uint8), 0, 0
    left, right = starts[0] // height, (ends[-1] - 1) // height + 1
    # A flip up at each start and down at each end; their running sum is the mask.
    steps = np.zeros((right - left) * height + 1, dtype=np.int8)
    np.add.at(steps, starts - left * height, 1)
    np.add.at(steps, ends - left * height, -1)
    columns = np.cumsum(steps[:-1], dtype=np.int8).reshape(right - left, height)
    rows = np.flatnonzero(columns.any(axis=0))
    top, bottom = rows[0], rows[-1] + 1
    crop = np.ascontiguousarray(columns[:, top:bottom].T).view(np.uint8)
    return crop, int(left), int(top)


def _runs(counts: str | bytes | list[int]) -> np.ndarray:
    """Run lengths, int64, of a mask's ``counts`` in any of their forms.

    In the text a number is a little-endian row of characters with five bits each (48 added; 32 set
    on all but the last), in two's complement; from the fourth number on it is the difference to
    the number two before (pycocotools' ``rleFrString``).
    """
    if not isinstance(counts, (str, bytes)):
        return np.asarray(counts, dtype=np.int64)
    data = counts.encode("ascii") if isinstance(counts, str) else counts
    codes = np.frombuffer(data, dtype=np.uint8).astype(np.int64) - 48
    stops = np.flatnonzero(codes < 32)
    if not len(stops):
        return np.zeros(0, dtype=np.int64)
    heads = np.concatenate([[0], stops[:-1] + 1])
    shifts = 5 * (np.arange(len(codes)) - np.repeat(heads, stops - heads + 1))
    numbers = np.add.reduceat((codes & 31) << shifts, heads)
    negative = codes[stops] & 16 != 0
    numbers[negative] -= np.int64(1) << (shifts[stops] + 5)[negative]
    for parity in (1, 2):  # the first number stands alone
        numbers[parity::2] = np.cumsum(numbers[parity::2])
    return numbers
