"""Tiny images of rectangles, and matches written down by hand."""

from __future__ import annotations

from project.evaluation.matches import Matches

import numpy as np
import pytest


class Scene:
    """COCO annotations and results; rectangles are (x0, y0, x1, y1) in whole pixels."""

    def __init__(self, classes=("cat", "dog"), size=(20, 30), images=1):
        self.size = size
        self.annotations = {
            "images": [
                {"id": i + 1, "height": size[0], "width": size[1], "file_name": f"{i}.png"}
                for i in range(images)
            ],
            "categories": [{"id": 10 * (k + 1), "name": name} for k, name in enumerate(classes)],
            "annotations": [],
        }
        self.results = []

    def rle(self, rectangle) -> dict:
        from pycocotools import mask as coco_mask

        x0, y0, x1, y1 = rectangle
        bitmap = np.zeros(self.size, np.uint8, order="F")
        bitmap[y0:y1, x0:x1] = 1
        rle = coco_mask.encode(bitmap)
        return {"size": list(self.size), "counts": rle["counts"].decode()}

    def object(self, k, rectangle, image=1, crowd=0) -> int:
        """Add an object of class ``k``; its id."""
        x0, y0, x1, y1 = rectangle
        entry = {
            "id": len(self.annotations["annotations"]) + 1,
            "image_id": image,
            "category_id": 10 * (k + 1),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": (x1 - x0) * (y1 - y0),
            "iscrowd": crowd,
            "segmentation": self.rle(rectangle),
        }
        self.annotations["annotations"].append(entry)
        return entry["id"]

    def detect(self, k, score, rectangle, image=1) -> None:
        x0, y0, x1, y1 = rectangle
        self.results.append(
            {
                "image_id": image,
                "category_id": 10 * (k + 1),
                "score": score,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "segmentation": self.rle(rectangle),
            }
        )


@pytest.fixture
def scene():
    """``scene(classes=..., size=..., images=...)`` → an empty `Scene`."""
    return Scene


@pytest.fixture
def random_scene():
    """``random_scene(seed, crowds=0)``: 8 images, 3 classes, shifted and mistaken detections."""

    def build(seed: int, crowds: int = 0) -> Scene:
        rng = np.random.default_rng(seed)
        made = Scene(("cat", "dog", "cow"), (40, 50), images=8)

        def rectangle(around=None):
            corner = rng.integers(0, (38, 28)) if around is None else around[:2]
            extent = rng.integers(6, 15, 2) if around is None else around[2:] - around[:2]
            if around is not None:
                corner, extent = corner + rng.integers(-1, 3, 2), extent + rng.integers(-3, 2, 2)
            low = np.clip(corner, 0, (45, 35))
            return np.concatenate([low, np.minimum(low + np.maximum(extent, 2), (50, 40))])

        for image in range(1, 9):
            for _ in range(rng.integers(0, 8)):
                k, there = int(rng.integers(3)), rectangle()
                made.object(k, there.tolist(), image)
                for _ in range(rng.integers(0, 4)):
                    seen = int(rng.integers(3)) if rng.random() < 0.4 else k
                    score = round(float(rng.random()), 4)
                    made.detect(seen, score, rectangle(there).tolist(), image)
            for _ in range(2):
                score = round(float(rng.random()), 4)
                made.detect(int(rng.integers(3)), score, rectangle().tolist(), image)
            for _ in range(crowds):
                made.object(int(rng.integers(3)), rectangle().tolist(), image, crowd=1)
        return made

    return build


@pytest.fixture
def make_matches():
    """`Matches` of one image at IoU 0.5 and 0.75; rows are (class, score, matched, ignored).

    ``matched`` is how many of the two thresholds are met.
    """

    def build(rows, num_objects) -> Matches:
        rows = sorted(rows, key=lambda row: (row[0], -row[1]))
        category, score, matched, ignored = (np.array(c) for c in zip(*rows, strict=True))
        met = np.arange(2)[:, None] < matched
        return Matches(
            class_names=tuple("abc"[: len(num_objects)]),
            image_ids=np.array([1]),
            iou_thresholds=np.array([0.5, 0.75]),
            image=np.zeros(len(rows), np.int32),
            category=category.astype(np.int32),
            score=score.astype(float),
            matched=met,
            ignored=np.tile(ignored.astype(bool), (2, 1)),
            object_id=np.where(met, np.arange(1, len(rows) + 1), 0),
            iou=np.where(matched == 2, 0.8, np.where(matched == 1, 0.6, 0.0)),
            num_objects=np.array([num_objects], np.int32),
        )

    return build
