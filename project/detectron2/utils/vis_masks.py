"""Masks of every kind that `Visualizer` accepts, as polygons, RLE dicts or arrays."""

from __future__ import annotations

import numpy as np

from ..structures import polygons_to_bitmask
from ..structures.rle import decode_rle


def to_numpy(value) -> np.ndarray:
    """A NumPy array from a tensor (any device), `Boxes`, `BitMasks`, or anything like an array."""
    value = getattr(value, "tensor", value)
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value)


def mask_list(masks) -> list | None:
    """One item per instance: a list of flat polygons, an RLE dict or a ``[H, W]`` bool array."""
    if masks is None:
        return None
    if hasattr(masks, "polygons"):
        masks = masks.polygons
    elif hasattr(masks, "tensor") or hasattr(masks, "detach"):
        masks = to_numpy(masks)
    return [m if isinstance(m, (list, dict)) else to_numpy(m).astype(bool) for m in masks]


def bitmap_of(mask, height: int, width: int) -> np.ndarray:
    """A mask of any kind as bool ``[height, width]``."""
    if isinstance(mask, np.ndarray):
        assert mask.shape == (height, width), f"mask {mask.shape} on image {(height, width)}"
        return mask
    if isinstance(mask, list):
        return polygons_to_bitmask([np.asarray(p, float) for p in mask], height, width)
    assert tuple(mask["size"]) == (height, width), f"RLE {mask['size']} on {(height, width)}"
    return decode_rle(mask).astype(bool)


def mask_box(mask) -> tuple[float, float, float, float]:
    """The XYXY extent of a mask of any kind, zeros if it is empty."""
    if isinstance(mask, list):
        if not mask:
            return 0.0, 0.0, 0.0, 0.0
        points = np.concatenate([np.asarray(p, float).reshape(-1, 2) for p in mask])
        return (*points.min(0).tolist(), *points.max(0).tolist())
    bitmap = mask if isinstance(mask, np.ndarray) else decode_rle(mask)
    rows, columns = np.flatnonzero(bitmap.any(1)), np.flatnonzero(bitmap.any(0))
    if not len(rows):
        return 0.0, 0.0, 0.0, 0.0
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """The outlines of a non-empty mask, holes included, through the centres of its edge pixels."""
    import cv2

    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return [c.reshape(-1, 2) + 0.5 for c in contours]
