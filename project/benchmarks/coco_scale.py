"""A COCO instances file of the size of train2017, made of the scenes' annotations."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from project.data.coco_file import read_coco_file
from project.data.coco_masks import check_mask
from project.data.scenes import make_scenes

import msgspec
import numpy as np

NUM_SCENES = 60
NUM_IMAGES, NUM_ANNOTATIONS = 118_000, 860_000  # rounded from COCO train2017
HEIGHT, WIDTH = 480, 640
CLASSES = ("cake", "car", "dog", "person")
NUM_CLASSES = 80
# Annotations of each of the four classes in train2017; the rest falls to 76 other classes.
_SHARES = np.array([6296, 43533, 5500, 257252]) / 860_001
_CROWD_SHARE = 0.012
_CORNERS = 31  # of an outline: with them the file is as large as COCO's


def write_coco_file(
    work_dir: Path, num_images: int = NUM_IMAGES, num_annotations: int = NUM_ANNOTATIONS
) -> tuple[Path, str]:
    """A subset below ``work_dir`` (without pictures), as its annotation file and its name.

    Written once for each size. Outlines are those of the scenes, given so many corners as COCO's
    have, moved at random, in hundredths of a pixel; crowd regions are run lengths.
    """
    name = f"coco_{num_images}_{num_annotations}"
    file = work_dir / name / "annotations" / "train.json"
    if not file.is_file():
        (work_dir / name / "images" / "train").mkdir(parents=True, exist_ok=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        with partial.open("wb") as target:
            target.writelines(_pieces(_outlines(work_dir), num_images, num_annotations))
        os.replace(partial, file)
    return file, name


def _outlines(work_dir: Path) -> list[np.ndarray]:
    """Outlines of the objects of some scenes, [P, 2] in pixels of the new images."""
    folder = make_scenes(work_dir, sizes={"train": NUM_SCENES})
    scenes = read_coco_file(folder / "annotations" / "train.json")
    images = {image.id: image for image in scenes.images}
    outlines = []
    for annotation in scenes.annotations:
        image = images[annotation.image_id]
        mask = check_mask(annotation.segmentation, image.height, image.width).mask
        if isinstance(mask, list):
            scale = min(HEIGHT / image.height, WIDTH / image.width)
            outlines.append(_with_corners(np.reshape(mask[0], (-1, 2)) * scale, _CORNERS))
    return outlines


def _with_corners(points: np.ndarray, number: int) -> np.ndarray:
    """The same outline with ``number`` corners, evenly along it."""
    closed = np.concatenate([points, points[:1]])
    way = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    places = np.linspace(0, way[-1], number, endpoint=False)
    return np.stack([np.interp(places, way, closed[:, axis]) for axis in (0, 1)], axis=1)


def _pieces(outlines: list[np.ndarray], num_images: int, num_annotations: int) -> Iterator[bytes]:
    rng = np.random.default_rng(0)
    categories = [*CLASSES, *(f"class {k}" for k in range(len(CLASSES) + 1, NUM_CLASSES + 1))]
    yield b'{"info":{},"licenses":[],"categories":'
    yield msgspec.json.encode([{"id": i, "name": name} for i, name in enumerate(categories, 1)])
    yield b',"images":'
    yield msgspec.json.encode([_image(i) for i in range(1, num_images + 1)])
    others = np.full(NUM_CLASSES - len(CLASSES), (1 - _SHARES.sum()) / (NUM_CLASSES - len(CLASSES)))
    labels = 1 + rng.choice(NUM_CLASSES, num_annotations, p=np.concatenate([_SHARES, others]))
    images = 1 + rng.integers(num_images, size=num_annotations)
    crowds = rng.random(num_annotations) < _CROWD_SHARE
    yield b',"annotations":['
    for i in range(num_annotations):
        shape = _crowd(rng) if crowds[i] else _object(outlines[i % len(outlines)], rng)
        annotation = {"id": i + 1, "image_id": int(images[i]), "category_id": int(labels[i])}
        yield (b"," if i else b"") + msgspec.json.encode({**shape, **annotation})
    yield b"]}\n"


def _image(number: int) -> dict:
    name = f"{number:012}.jpg"
    return {
        "license": 3,
        "file_name": name,
        "coco_url": f"http://images.cocodataset.org/train2017/{name}",
        "height": HEIGHT,
        "width": WIDTH,
        "date_captured": "2013-11-14 11:18:45",
        "flickr_url": f"http://farm9.staticflickr.com/8186/{name}",
        "id": number,
    }


def _object(outline: np.ndarray, rng: np.random.Generator) -> dict:
    place = rng.uniform(-outline.min(0), [WIDTH, HEIGHT] - outline.max(0))
    jitter = rng.uniform(-0.5, 0.5, outline.shape)
    points = np.clip(outline + place + jitter, 0, [WIDTH, HEIGHT])
    (x, y), (width, height) = points.min(0), np.ptp(points, axis=0)
    return {
        # as in COCO: corners in hundredths of a pixel, floats
        "segmentation": [points.round(2).ravel().tolist()],
        "area": round(float(width * height) / 2, 4),
        "iscrowd": 0,
        "bbox": [round(float(number), 2) for number in (x, y, width, height)],
    }


def _crowd(rng: np.random.Generator, num_runs: int = 301) -> dict:
    ends = np.sort(rng.choice(HEIGHT * WIDTH - 1, num_runs - 1, replace=False)) + 1
    runs = np.diff(ends, prepend=0, append=HEIGHT * WIDTH).tolist()
    return {
        "segmentation": {"counts": runs, "size": [HEIGHT, WIDTH]},
        "area": sum(runs[1::2]),
        "iscrowd": 1,
        "bbox": [0, 0, WIDTH, HEIGHT],
    }
