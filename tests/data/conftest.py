"""Small COCO data sets on disk, drawn by the tests themselves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

HEIGHT, WIDTH = 20, 30


def box_polygon(x, y, w, h):
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


class SmallCoco:
    """A COCO instances file with images; ``document`` may be changed before `write`.

    Category ids are 0, 7, 9 for ant, bee, cat. Image i (ids 10, 11, ...) shows ``shown[i]``, a
    string of the letters a, b, c.
    """

    def __init__(self, folder: Path, shown: list[str], *, pictures: bool = True) -> None:
        self.folder, self.file, self.images_dir = folder, folder / "labels.json", folder / "pics"
        ids = {"a": 0, "b": 7, "c": 9}
        self.document = {
            "categories": [
                {"id": 9, "name": "cat", "supercategory": "nonsense"},
                {"id": 0, "name": "ant", "supercategory": "nonsense"},
                {"id": 7, "name": "bee", "supercategory": "nonsense"},
            ],
            "images": [
                {"id": 10 + i, "file_name": f"{i:03}.png", "height": HEIGHT, "width": WIDTH}
                for i in range(len(shown))
            ],
            "annotations": [],
        }
        for i, letters in enumerate(shown):
            for k, letter in enumerate(letters):
                box = (2 + 3 * k, 4, 6, 8)
                self.add(10 + i, ids[letter], bbox=list(box), segmentation=box_polygon(*box))
        self.images_dir.mkdir(parents=True)
        if pictures:
            from PIL import Image

            for i in range(len(shown)):
                pixels = np.full((HEIGHT, WIDTH, 3), (i, 100, 200), np.uint8)
                Image.fromarray(pixels).save(self.images_dir / f"{i:03}.png")

    def add(self, image_id: int, category_id: int, **values) -> dict:
        annotation = {
            "id": len(self.document["annotations"]) + 100,
            "image_id": image_id,
            "category_id": category_id,
            "iscrowd": 0,
            "area": 48.0,
            **values,
        }
        self.document["annotations"].append(annotation)
        return annotation

    def write(self) -> Path:
        self.file.write_text(json.dumps(self.document))
        return self.file


@pytest.fixture
def small_coco(tmp_path):
    """``small_coco(["ab", "", "c"])`` → a written `SmallCoco` of three images."""

    def make(shown, name="source", **options):
        coco = SmallCoco(tmp_path / name, shown, **options)
        coco.write()
        return coco

    return make


@pytest.fixture
def small_subset(tmp_path):
    """``small_subset(name, train=["ab", ""])`` → the root below which the subset stands.

    Names must be new in each test: one process holds one dataset of a name.
    """
    from project.data.subset import SplitSource, SubsetPlan, build_subset

    def make(name, classes=("ant", "bee", "cat"), **shown):
        splits = {}
        for split, letters in shown.items():
            coco = SmallCoco(tmp_path / f"{name}-{split}", letters)
            coco.write()
            splits[split] = SplitSource(coco.images_dir, coco.file, len(letters))
        num_empty = {letters.count("") / len(letters) for letters in shown.values()}
        assert len(num_empty) == 1, "the splits need one share of negatives"
        plan = SubsetPlan(name, classes, splits, negatives=num_empty.pop())
        build_subset(plan, tmp_path / "root")
        return tmp_path / "root"

    return make
