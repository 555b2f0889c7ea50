"""Packing of annotations into the arrays of `project.data.records.FlatRecords`."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from project.data.coco_masks import Mask, Rle
from project.data.records import FlatRecords, unpacked

import numpy as np
import torch

_CHUNK = 1 << 20  # numbers that are packed at once


class RecordsBuilder:
    """Takes images, each followed by its objects, and gives their `FlatRecords`.

    Args:
        image_root: folder that file names are relative to.
        labelled: without it, records have no ``annotations``.
    """

    def __init__(self, image_root: str, labelled: bool = True) -> None:
        self._image_root, self._labelled = image_root, labelled
        self._image_ids, self._sizes, self._names = array("q"), array("i"), bytearray()
        self._name_ends, self._objects = array("q", [0]), array("q")
        self._ids, self._categories, self._crowds = array("q"), array("i"), array("b")
        self._boxes, self._corners = _Numbers(), _Numbers()
        self._parts, self._part_ends = array("q", [0]), array("q", [0])
        self._rle_objects, self._rle_text = array("q"), array("b")
        self._rle_ends, self._rle_bytes = array("q", [0]), bytearray()

    def add_image(self, image_id: int, file_name: str, height: int, width: int) -> None:
        """The next record; `add_object` adds to the last one."""
        self._image_ids.append(image_id)
        self._sizes.extend((height, width))
        self._names += file_name.encode()
        self._name_ends.append(len(self._names))
        self._objects.append(len(self._ids))

    def add_object(
        self, annotation_id: int, category: int, box: Sequence[float], crowd: bool, mask: Mask
    ) -> None:
        """An object of the last image; ``box`` is x, y, width, height."""
        self._ids.append(annotation_id)
        self._categories.append(category)
        self._crowds.append(crowd)
        self._boxes.extend(box)
        if isinstance(mask, Rle):
            self._add_rle(mask)
        else:
            for part in mask:
                self._corners.extend(part)
                self._part_ends.append(len(self._corners))
        self._parts.append(len(self._part_ends) - 1)

    def _add_rle(self, mask: Rle) -> None:
        """Compressed text as it is, run lengths compressed, as the mapper and pycocotools decode.

        Text is given back as text and what is compressed here as bytes, like `load_coco_json` does.
        """
        text = isinstance(mask.counts, str)
        if text:
            counts = mask.counts.encode()
        else:
            from pycocotools import mask as coco_mask

            rle = {"size": list(mask.size), "counts": mask.counts}
            counts = coco_mask.frPyObjects(rle, *mask.size)["counts"]
        self._rle_objects.append(len(self._ids) - 1)
        self._rle_text.append(text)
        self._rle_bytes += counts
        self._rle_ends.append(len(self._rle_bytes))

    def build(self) -> FlatRecords:
        """All records that were added; the builder is of no use after that."""
        table = {
            "image_ids": _array(self._image_ids),
            "sizes": _array(self._sizes).reshape(-1, 2),
            "names": _bytes(self._names),
            "name_ends": _array(self._name_ends),
        }
        if self._labelled:
            self._objects.append(len(self._ids))
            table |= {
                "objects": _array(self._objects),
                "ids": _array(self._ids),
                "categories": _array(self._categories),
                "crowds": _array(self._crowds).astype(bool),
                "boxes": self._boxes.packed(),
                "parts": _array(self._parts),
                "part_ends": _array(self._part_ends),
                "corners": self._corners.packed(),
                "rle_objects": _array(self._rle_objects),
                "rle_text": _array(self._rle_text).astype(bool),
                "rle_ends": _array(self._rle_ends),
                "rle_bytes": _bytes(self._rle_bytes),
            }
        tensors = {key: _tensor(value) for key, value in table.items()}
        return FlatRecords(tensors, self._image_root, np.arange(len(self._image_ids)))


class _Numbers:
    """A growing column of coordinates, packed chunk by chunk."""

    def __init__(self) -> None:
        self._chunks: list[np.ndarray] = []
        self._open, self._length = array("d"), 0

    def __len__(self) -> int:
        return self._length

    def extend(self, numbers: Sequence[float]) -> None:
        self._open.extend(numbers)
        self._length += len(numbers)
        if len(self._open) >= _CHUNK:
            self._close()

    def _close(self) -> None:
        self._chunks.append(_hundredths(_array(self._open)))
        self._open = array("d")

    def packed(self) -> np.ndarray:
        """uint16 or int32 hundredths where all numbers are such, else float64."""
        self._close()
        if any(chunk.dtype == np.float64 for chunk in self._chunks):
            self._chunks = [unpacked(chunk) for chunk in self._chunks]
        return np.concatenate(self._chunks)  # NumPy widens uint16 beside int32


def _hundredths(numbers: np.ndarray) -> np.ndarray:
    """Exact whole hundredths of ``numbers``, or ``numbers`` themselves.

    The decimal k / 100 is read from JSON as the double nearest to it, which is what dividing k by
    100 gives too: nothing is lost.
    """
    whole = np.rint(numbers * 100)
    for kind in (np.uint16, np.int32):
        limits = np.iinfo(kind)
        if len(whole) and not limits.min <= whole.min() <= whole.max() <= limits.max:
            continue
        if (whole / 100 == numbers).all():
            return whole.astype(kind)
    return numbers


def _array(values: array) -> np.ndarray:
    return np.array(values)


def _bytes(values: bytearray) -> np.ndarray:
    return np.frombuffer(bytes(values), np.uint8).copy()


def _tensor(values: np.ndarray) -> torch.Tensor:
    # `FlatRecords` reads 16 bits as unsigned again.
    return torch.from_numpy(values.view(np.int16) if values.dtype == np.uint16 else values)
