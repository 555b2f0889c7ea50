"""Every number of an exploration as JSON and CSV files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from project.data.exploration.explore import Exploration
from project.data.exploration.measure import OBJECT_COLUMNS
from project.data.exploration.numbers import numbers
from project.data.exploration.objects import SIZE_NAMES

import numpy as np

_AT_ONCE = 1 << 16  # rows of a table


def write_numbers(found: Exploration, folder: Path) -> list[Path]:
    """Write ``numbers.json``, ``numbers.csv`` (the same, one number a line) and the tables
    ``classes.csv``, ``images.csv``, ``objects.csv``; returns the files."""
    content = numbers(found)
    files = [folder / "numbers.json"]
    files[0].write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    classes = content["classes"]
    images, objects = image_columns(found), object_columns(found)
    tables = {
        "numbers": (("name", "value"), flat(content)),
        "classes": (
            ("class", *next(iter(classes.values()), ())),
            ((name, *row.values()) for name, row in classes.items()),
        ),
        "images": (images, _rows(images)),
        "objects": (objects, _rows(objects)),
    }
    for name, table in tables.items():
        files.append(folder / f"{name}.csv")
        _write_csv(files[-1], *table)
    return files


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """``("classes/person/images", 120)`` for each number of nested dicts and lists."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from flat(item, f"{path}/{key}" if path else str(key))
    else:
        yield path, value


def image_columns(found: Exploration) -> dict[str, np.ndarray]:
    """Name → one value for each image: what it holds and what its pixels are like."""
    table, measures = found.table, found.measures

    def seen(pixels: np.ndarray) -> np.ndarray:
        return np.where(measures.looked_at, pixels.astype(object), None)

    return {
        "image_id": table.image_ids,
        "file_name": np.array(table.file_names, object),
        "height": table.image_sizes[:, 0],
        "width": table.image_sizes[:, 1],
        "objects": found.objects_per_image,
        "brightness": measures.brightness,
        "sharpness": measures.sharpness,
        "brightness_outlier": found.dark,
        "sharpness_outlier": found.sharp,
        "unreadable": measures.unreadable.astype(int),
        "background_pixels": seen(measures.background),
        "crowd_pixels": seen(measures.crowd_pixels),
        "shared_pixels": seen(measures.shared),
    }


def object_columns(found: Exploration) -> dict[str, np.ndarray]:
    """Name → one value for each object: box, size, mask structure, occlusion, fit."""
    table, objects, fit = found.table, found.objects, found.fit
    x0, y0, x1, y1 = table.boxes_xyxy[objects.rows].T
    return {
        "annotation_id": table.annotation_ids[objects.rows],
        "image_id": table.image_ids[objects.image_index],
        "class": np.array(table.class_names, object)[objects.class_index],
        **{"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0},
        "area": objects.areas,
        "size": np.array(SIZE_NAMES, object)[objects.size],
        "percent_of_image": objects.share,
        "at_the_frame": objects.frame.any(1).astype(int),
        **{name: found.measures.column(name)[objects.rows] for name in OBJECT_COLUMNS},
        "best_anchor_iou": fit.iou,
        "pyramid_level": fit.roi_level,
        "vanishes": fit.vanishes.astype(int),
    }


def _rows(columns: dict[str, np.ndarray]) -> Iterator[tuple]:
    """The rows of a table of columns, as plain values."""
    length = len(next(iter(columns.values())))
    for start in range(0, length, _AT_ONCE):  # a million objects at once would take gigabytes
        yield from zip(
            *(_cells(c[start : start + _AT_ONCE]) for c in columns.values()), strict=True
        )


def _cells(values: np.ndarray) -> list:
    """Plain values; None, an empty cell, for what isn't a number."""
    if values.dtype.kind == "f":
        values = np.where(np.isfinite(values), values.astype(object), None)
    return values.tolist()


def _write_csv(file: Path, head: Iterable[str], rows: Iterable[Sequence]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(head)
        writer.writerows(rows)
