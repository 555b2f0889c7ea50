"""The images of a run's dataset with what is labelled and predicted on them, ready to be drawn."""

from __future__ import annotations

import logging
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

from project.data.coco_file import read_coco_file
from project.errors import UserError
from project.visualization.files import read_rgb
from project.visualization.records import DrawnObject, mask_from_segmentation
from project.visualization.report.judged import Judged

import numpy as np

logger = logging.getLogger(__name__)


class Pictures:
    """Images of a run's dataset with what is labelled and predicted on them.

    Raises:
        UserError: if the annotation file names an image outside of the image folder.
    """

    def __init__(self, run: Judged) -> None:
        self.run = run
        self._records = {
            image.id: {
                "file_name": str(run.files.image_dir / image.file_name),
                "height": image.height,
                "width": image.width,
            }
            for image in read_coco_file(run.files.annotations).images
        }
        truth = run.truth
        self._objects = _by_image(truth.image, truth.image_ids)
        self._object_rows = {int(i): row for row, i in enumerate(truth.ids)}
        self._detections = _by_image(run.results.image, truth.image_ids)
        self.pixels = lru_cache(maxsize=8)(self._read)
        self.unreadable: set[str] = set()

    def file_name(self, image_id: int) -> str:
        return Path(self._records[image_id]["file_name"]).name

    def size(self, image_id: int) -> tuple[int, int]:
        """Height and width."""
        record = self._records[image_id]
        return int(record["height"]), int(record["width"])

    def _read(self, image_id: int) -> np.ndarray | None:
        """The image, uint8 RGB; None if it can't be read."""
        record = self._records[image_id]
        try:
            return read_rgb(record)
        except UserError as error:
            self.unreadable.add(Path(record["file_name"]).name)
            logger.warning("Not shown: %s", error)
            return None

    def truth(self, image_id: int) -> list[DrawnObject]:
        """The labelled objects of an image."""
        return [self.labelled(row) for row in self._objects.get(image_id, ())]

    def labelled(self, row: int) -> DrawnObject:
        truth = self.run.truth
        return self._drawn(
            truth.image[row], truth.category[row], truth.boxes[row], truth.segmentations[row],
            iscrowd=bool(truth.crowd[row]),
        )  # fmt: skip

    def labelled_with_id(self, object_id: int) -> DrawnObject:
        return self.labelled(self._object_rows[object_id])

    def predicted(self, image_id: int, thresholds: np.ndarray) -> list[DrawnObject]:
        """Detections of at least their class's threshold, highest score first."""
        found = self.run.results
        rows = [
            row
            for row in self._detections.get(image_id, ())
            if found.score[row] >= thresholds[found.category[row]]
        ]
        return [self.detection(row) for row in sorted(rows, key=lambda row: -found.score[row])]

    def detection(self, row: int) -> DrawnObject:
        found = self.run.results
        return self._drawn(
            found.image[row], found.category[row], found.boxes[row], found.rles[row],
            score=float(found.score[row]),
        )  # fmt: skip

    def _drawn(self, image: int, category: int, box, segmentation, **rest) -> DrawnObject:
        record = self._records[int(self.run.truth.image_ids[image])]
        mask = mask_from_segmentation(segmentation, record["height"], record["width"])
        if not np.isfinite(box).all():
            box = (0, 0, 0, 0) if mask is None else (mask.x, mask.y, *mask.pixels.shape[::-1])
        x, y, width, height = (float(v) for v in box)
        name = self.run.class_names[category]
        return DrawnObject(int(category), name, (x, y, x + width, y + height), mask, **rest)


def _by_image(image: np.ndarray, image_ids: np.ndarray) -> dict[int, list[int]]:
    rows: dict[int, list[int]] = defaultdict(list)
    for row, place in enumerate(image.tolist()):
        rows[int(image_ids[place])].append(row)
    return rows
