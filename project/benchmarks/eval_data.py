"""Ground truth and detections of the size of COCO val2017, made of the scenes' outlines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from project.data.coco_file import read_coco_file
from project.data.coco_masks import check_mask
from project.data.scenes import make_scenes
from project.evaluation.ground_truth import to_rle

import numpy as np

NUM_IMAGES, NUM_OBJECTS, NUM_DETECTIONS = 5_000, 37_546, 500_000  # val2017, 100 an image
NUM_CLASSES = 80
HEIGHT, WIDTH = 480, 640
_CLASSES_PER_IMAGE = 2.9
_CROWD_SHARE = 0.012
_CORNERS = 31
# What detectors make of an object: corners moved by so many pixels, the whole by so many times it.
_ERRORS = (0.5, 2.0, 6.0)
_SHIFT = 4
_FOUND = 0.8  # share of detections at an object; the others lie anywhere
_CONFUSED = 0.1  # share of the found ones with another class


def write_eval_files(work_dir: Path, share: float = 1.0) -> tuple[Path, Path]:
    """An annotation file and a results file below ``work_dir``, written once for each size.

    Objects have classes as in COCO: an image holds about three of them, the first ones are the
    frequent ones. Detections are objects with their outlines distorted, a fifth is anywhere.

    Args:
        share: of val2017's images, objects and detections.
    """
    counts = [max(1, round(share * n)) for n in (NUM_IMAGES, NUM_OBJECTS, NUM_DETECTIONS)]
    folder = work_dir / "eval_{}_{}_{}".format(*counts)
    truth_file, results_file = folder / "annotations.json", folder / "results.json"
    if not results_file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        truth = _ground_truth(_outlines(work_dir), *counts[:2], rng)
        truth_file.write_text(json.dumps(truth), encoding="utf-8")
        partial = results_file.with_suffix(".partial")
        with partial.open("w", encoding="utf-8") as file:
            for number, result in enumerate(_results(truth["annotations"], *counts[::2], rng)):
                file.write(("," if number else "[") + json.dumps(result))
            file.write("]")
        partial.replace(results_file)
    return truth_file, results_file


def _outlines(work_dir: Path, num_scenes: int = 40) -> list[np.ndarray]:
    """Outlines of the scenes' objects, [P, 2] in pixels, at the new images' scale."""
    folder = make_scenes(work_dir, sizes={"train": num_scenes})
    scenes = read_coco_file(folder / "annotations" / "train.json")
    images = {image.id: image for image in scenes.images}
    outlines = []
    for annotation in scenes.annotations:
        image = images[annotation.image_id]
        mask = check_mask(annotation.segmentation, image.height, image.width).mask
        if isinstance(mask, list):
            scale = min(HEIGHT / image.height, WIDTH / image.width)
            outlines.append(_with_corners(np.reshape(mask[0], (-1, 2)) * scale))
    return outlines


def _with_corners(points: np.ndarray) -> np.ndarray:
    """The same outline with `_CORNERS` corners, evenly along it."""
    closed = np.concatenate([points, points[:1]])
    way = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    places = np.linspace(0, way[-1], _CORNERS, endpoint=False)
    return np.stack([np.interp(places, way, closed[:, axis]) for axis in (0, 1)], axis=1)


def _ground_truth(outlines, num_images: int, num_objects: int, rng: np.random.Generator) -> dict:
    shares = 1 / np.arange(1, NUM_CLASSES + 1)
    shares /= shares.sum()
    classes = [
        rng.choice(NUM_CLASSES, 1 + rng.poisson(_CLASSES_PER_IMAGE - 1), p=shares)
        for _ in range(num_images)
    ]
    # Few images hold many objects, as in COCO.
    weights = rng.exponential(size=num_images) + 0.05
    images = rng.choice(num_images, num_objects, p=weights / weights.sum())
    annotations = []
    for number, image in enumerate(images.tolist(), 1):
        outline = outlines[rng.integers(len(outlines))]
        crowd = rng.random() < _CROWD_SHARE
        annotations.append(
            {
                "id": number,
                "image_id": image + 1,
                "category_id": 1 + int(rng.choice(classes[image])),
                "iscrowd": int(crowd),
                **_object(_placed(outline, rng), crowd),
            }
        )
    return {
        "images": [
            {"id": i + 1, "height": HEIGHT, "width": WIDTH, "file_name": f"{i + 1:012}.jpg"}
            for i in range(num_images)
        ],
        "categories": [{"id": k + 1, "name": f"class {k + 1}"} for k in range(NUM_CLASSES)],
        "annotations": annotations,
    }


def _placed(outline: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return outline + rng.uniform(-outline.min(0), [WIDTH, HEIGHT] - outline.max(0))


def _clipped(outline: np.ndarray) -> np.ndarray:
    return np.clip(outline, 0, [WIDTH, HEIGHT]).round(2)


def _object(outline: np.ndarray, crowd: bool) -> dict:
    points = _clipped(outline)
    polygon = [points.ravel().tolist()]
    area = np.dot(points[:, 0], np.roll(points[:, 1], 1) - np.roll(points[:, 1], -1)) / 2
    return {
        "segmentation": _text(polygon) if crowd else polygon,
        "area": round(abs(float(area)), 4),
        "bbox": _box(points),
    }


def _box(points: np.ndarray) -> list[float]:
    (x, y), (width, height) = points.min(0), np.ptp(points, axis=0)
    return [round(float(number), 2) for number in (x, y, width, height)]


def _text(polygon: list[list[float]]) -> dict:
    rle = to_rle(polygon, HEIGHT, WIDTH)
    return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}


def _results(
    annotations: list[dict], num_images: int, num_detections: int, rng: np.random.Generator
) -> Iterator[dict]:
    shapes = [a for a in annotations if not a["iscrowd"]]
    by_image: dict[int, list[dict]] = {}
    for annotation in shapes:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    for number in range(num_detections):
        image = 1 + number % num_images
        inside = by_image.get(image)
        found = inside is not None and rng.random() < _FOUND
        model = (inside or shapes)[rng.integers(len(inside or shapes))]
        outline = np.reshape(model["segmentation"][0], (-1, 2))
        error = rng.choice(_ERRORS)
        outline = outline + rng.normal(0, error, outline.shape) + rng.normal(0, _SHIFT * error, 2)
        points = _clipped(outline if found else _placed(outline - outline.min(0), rng))
        category = model["category_id"]
        if found and rng.random() < _CONFUSED:
            category = 1 + int(rng.integers(NUM_CLASSES))
        yield {
            "image_id": image,
            "category_id": category,
            "bbox": _box(points),
            "score": round(float(rng.beta(1, 3 if found else 6)), 5),
            "segmentation": _text([points.ravel().tolist()]),
        }
