"""Milliseconds to draw the objects of an image: ours, matplotlib's, `detectron2`'s Visualizer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import project
from project.benchmarks.machine import describe_machine
from project.benchmarks.matplotlib_overlay import draw_with_matplotlib
from project.errors import UserError
from project.visualization import BoxMask, DrawnObject, draw_overlay

import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.visualizer import Visualizer

CLASSES = ("cake", "car", "dog", "person")


def measure_overlay(
    num_objects: int = 12, size: tuple[int, int] = (480, 640), repeats: int = 20
) -> dict:
    """The best of ``repeats`` pictures of each system, in milliseconds, and ratios to ours.

    Each draws the same image with masks, contours, boxes and labels with a score.

    Args:
        num_objects: blobs with holes, a sixth to a third of the image high and wide.
        size: of the image, (height, width).

    Raises:
        UserError: if a number is out of range.
    """
    if num_objects < 1 or repeats < 1 or min(size) < 32:
        raise UserError(
            f"{num_objects} objects, {repeats} repeats, image {size}: expected at least 1 object, "
            f"1 repeat and 32 pixels"
        )
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
    objects = [_blob(generator, size) for _ in range(num_objects)]
    instances = _as_instances(objects, size)
    visualizer = f"{project.detectron2_source()} detectron2's Visualizer"
    systems: dict[str, Callable[[], np.ndarray]] = {
        "ours": lambda: draw_overlay(image, objects),
        "matplotlib": lambda: draw_with_matplotlib(image, objects),
        visualizer: lambda: _visualizer(image, instances),
    }
    milliseconds = _best(systems, repeats)
    ratios = {
        name: round(value / milliseconds["ours"], 1)
        for name, value in milliseconds.items()
        if name != "ours"
    }
    return {
        "machine": describe_machine(),
        "image": list(size),
        "objects": num_objects,
        "milliseconds": {name: round(value, 2) for name, value in milliseconds.items()},
        "ratio": ratios,
    }


def _best(systems: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The shortest of ``repeats`` calls of each, in milliseconds; they take turns."""
    for draw in systems.values():
        draw()  # fonts and imports
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(repeats):
        for name, draw in systems.items():
            started = time.perf_counter()
            draw()
            seconds[name].append(time.perf_counter() - started)
    return {name: 1000 * min(taken) for name, taken in seconds.items()}


def _blob(generator: np.random.Generator, size: tuple[int, int]) -> DrawnObject:
    """A disc with a wavy edge and a hole."""
    height, width = (int(generator.integers(s // 6, s // 3)) for s in size)
    rows, columns = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    radius, angle = np.hypot(rows, columns), np.arctan2(rows, columns)
    pixels = (radius < 0.85 + 0.15 * np.sin(9 * angle)) & (radius > 0.2)
    y, x = (
        int(generator.integers(0, s - part)) for s, part in zip(size, pixels.shape, strict=True)
    )
    index = int(generator.integers(len(CLASSES)))
    box = (float(x), float(y), float(x + width), float(y + height))
    score = float(generator.uniform(0.5, 1))
    return DrawnObject(index, CLASSES[index], box, BoxMask(pixels, x, y), score)


def _as_instances(objects: Sequence[DrawnObject], size: tuple[int, int]) -> Instances:
    masks = torch.zeros((len(objects), *size), dtype=torch.bool)
    for bitmap, obj in zip(masks, objects, strict=True):
        mask = obj.mask
        height, width = mask.pixels.shape
        bitmap[mask.y : mask.y + height, mask.x : mask.x + width] = torch.from_numpy(mask.pixels)
    return Instances(
        size,
        pred_boxes=Boxes(torch.tensor([obj.box_xyxy for obj in objects])),
        scores=torch.tensor([obj.score for obj in objects]),
        pred_classes=torch.tensor([obj.class_index for obj in objects]),
        pred_masks=masks,
    )


def _visualizer(image: np.ndarray, instances: Instances) -> np.ndarray:
    return Visualizer(image).draw_instance_predictions(instances).get_image()
