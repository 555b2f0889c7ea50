"""Objects of a label map (one number for each pixel) as COCO run lengths, without loss."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from project.errors import UserError

import numpy as np


@dataclass(frozen=True)
class PixelObject:
    """All pixels of one value: COCO's ``segmentation`` (compressed RLE), ``bbox`` and ``area``."""

    value: int
    segmentation: dict
    bbox: tuple[float, float, float, float]
    area: float

    @property
    def geometry(self) -> dict:
        """The three as an annotation has them."""
        return {"segmentation": self.segmentation, "bbox": self.bbox, "area": self.area}


def pixel_objects(label_map: np.ndarray, background: Iterable[int] = (0,)) -> list[PixelObject]:
    """One object for each value of ``label_map`` (integers [H, W]) but ``background``.

    One pass over the map finds the runs of all values: a Cityscapes picture with twenty objects
    takes as long as one with a single object.
    """
    from pycocotools import mask as coco_mask

    height, width = label_map.shape
    columns = np.ascontiguousarray(label_map.T).ravel()  # COCO counts down the columns
    if not columns.size:
        return []
    starts = np.concatenate([[0], np.flatnonzero(columns[1:] != columns[:-1]) + 1])
    ends = np.append(starts[1:], columns.size)
    values = columns[starts]
    objects = []
    for value in np.setdiff1d(values, list(background)):
        first, last = starts[values == value], ends[values == value]
        edges = np.concatenate([[0], np.stack([first, last], 1).ravel(), [columns.size]])
        counts = np.diff(edges)[: None if last[-1] < columns.size else -1]
        rle = coco_mask.frPyObjects(
            {"size": [height, width], "counts": counts.tolist()}, height, width
        )
        rle = {"size": [height, width], "counts": rle["counts"].decode("ascii")}
        area = float((last - first).sum())
        objects.append(PixelObject(int(value), rle, _box(first, last - 1, height), area))
    return objects


def _box(first: np.ndarray, last: np.ndarray, height: int) -> tuple[float, float, float, float]:
    """Tight box (x, y, width, height) of runs of pixels, numbered down the columns."""
    left, right = int(first[0]) // height, int(last[-1]) // height
    top, bottom = int((first % height).min()), int((last % height).max())
    if (first // height != last // height).any():  # a run over the foot of a column
        top, bottom = 0, height - 1
    return float(left), float(top), float(right - left + 1), float(bottom - top + 1)


def read_label_map(path: Path) -> np.ndarray:
    """The numbers in an indexed, grey, 16-bit or black-and-white image file, int32 [H, W].

    Raises:
        UserError: if the file is missing, can't be read or holds colours instead of numbers.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L", "1", "I", "I;16", "I;16B"):
                raise UserError(
                    f"{path} holds colours (mode {image.mode}); expected an indexed or grey image"
                )
            return np.asarray(image).astype(np.int32)
    except FileNotFoundError:
        raise UserError(f"label image {path} doesn't exist") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"label image {path} can't be read: {error}") from None
