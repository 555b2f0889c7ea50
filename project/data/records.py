"""Dataset dicts in a few flat arrays, made one by one when they are asked for.

860,000 annotations as Python objects take 3 GB, and every loader process that reads them copies
their memory pages; pickled they take half a gigabyte. Here a coordinate is two bytes in most files,
all arrays together are a fraction of that, and forked and spawned processes share them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from detectron2.structures import BoxMode


class FlatRecords(Sequence):
    """Standard dataset dicts of one split; each access makes a new one, which may be changed.

    A slice is a `FlatRecords` of the same arrays. Made by
    `project.data.record_builder.RecordsBuilder`.

    Attributes:
        rows: int64 [N], the image of the table that is shown at each place.
    """

    def __init__(self, table: dict[str, torch.Tensor], image_root: str, rows: np.ndarray) -> None:
        # Tensors, because torch.multiprocessing passes them on as shared memory.
        self._table, self._image_root = table, image_root
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int | slice) -> dict | FlatRecords:
        if isinstance(place, slice):
            return self.take(np.arange(len(self))[place])
        return self._record(int(self.rows[place]))

    def __iter__(self) -> Iterator[dict]:
        return map(self._record, self.rows.tolist())

    def take(self, places: np.ndarray) -> FlatRecords:
        """The records at ``places`` (int or bool array), of the same arrays."""
        return FlatRecords(self._table, self._image_root, self.rows[places])

    @property
    def labelled(self) -> bool:
        """Whether the records have ``annotations``."""
        return "objects" in self._table

    @property
    def num_bytes(self) -> int:
        """Size of all arrays."""
        return sum(tensor.nbytes for tensor in self._table.values()) + self.rows.nbytes

    @property
    def sizes(self) -> np.ndarray:
        """int32 [N, 2]: height and width of each image."""
        return self._column("sizes")[self.rows]

    def category_counts(self, num_classes: int) -> np.ndarray:
        """int64 [N, K]: objects of each class in each image, crowd regions not counted."""
        counts = np.zeros((len(self._column("sizes")), num_classes), np.int64)
        if self.labelled:
            objects = self._column("objects")
            owner = np.repeat(np.arange(len(objects) - 1), np.diff(objects))
            single = ~self._column("crowds")
            np.add.at(counts, (owner[single], self._column("categories")[single]), 1)
        return counts[self.rows]

    def _column(self, name: str) -> np.ndarray:
        values = self._table[name].numpy()
        # All 16-bit columns are unsigned, which tensors can be but can't be pickled as.
        return values.view(np.uint16) if values.dtype == np.int16 else values

    def _bounds(self, name: str, i: int) -> tuple[int, int]:
        start, end = self._column(name)[i : i + 2].tolist()
        return start, end

    def _record(self, row: int) -> dict:
        height, width = self._column("sizes")[row].tolist()
        start, end = self._bounds("name_ends", row)
        name = self._column("names")[start:end].tobytes().decode()
        record = {
            "file_name": os.path.join(self._image_root, name),
            "height": height,
            "width": width,
            "image_id": int(self._column("image_ids")[row]),
        }
        if self.labelled:
            objects = range(*self._bounds("objects", row))
            record["annotations"] = [self._object(i, [height, width]) for i in objects]
        return record

    def _object(self, i: int, size: list[int]) -> dict:
        return {
            "id": int(self._column("ids")[i]),
            "iscrowd": int(self._column("crowds")[i]),
            "bbox": _plain(self._column("boxes")[4 * i : 4 * i + 4]),
            "bbox_mode": BoxMode.XYWH_ABS,
            "category_id": int(self._column("categories")[i]),
            "segmentation": self._segmentation(i, size),
        }

    def _segmentation(self, i: int, size: list[int]) -> list[list[float]] | dict:
        first, last = self._bounds("parts", i)
        if first < last:
            ends = self._column("part_ends")[first : last + 1].tolist()
            numbers = _plain(self._column("corners")[ends[0] : ends[-1]])
            borders = [end - ends[0] for end in ends]
            return [numbers[a:b] for a, b in zip(borders, borders[1:], strict=False)]
        k = int(np.searchsorted(self._column("rle_objects"), i))
        start, end = self._bounds("rle_ends", k)
        counts = self._column("rle_bytes")[start:end].tobytes()
        return {"size": size, "counts": counts.decode() if self._column("rle_text")[k] else counts}


def flat_records(dataset: Sequence[dict]) -> FlatRecords | None:
    """The arrays behind ``dataset`` (a `FlatRecords`, or a `SubsetDicts` of one), if it has any."""
    records = getattr(dataset, "records", dataset)
    return records if isinstance(records, FlatRecords) else None


def unpacked(packed: np.ndarray) -> np.ndarray:
    """float64 numbers from float64 ones or whole hundredths."""
    return packed if packed.dtype == np.float64 else packed / 100


def _plain(packed: np.ndarray) -> list[float]:
    return unpacked(packed).tolist()
