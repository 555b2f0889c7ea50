"""Every number of an exploration as JSON and CSV files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from project.data.exploration.explore import Exploration
from project.data.exploration.measure import OBJECT_COLUMNS
from project.data.exploration.numbers import class_rows, numbers, plain
from project.data.exploration.objects import SIZE_NAMES


def write_numbers(found: Exploration, folder: Path) -> list[Path]:
    """Write ``numbers.json``, ``numbers.csv`` (the same, one number a line) and the tables
    ``classes.csv``, ``images.csv``, ``objects.csv``; returns the files."""
    content = numbers(found)
    files = [folder / "numbers.json"]
    files[0].write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    names = found.table.class_names
    rows = ({"class": n, **plain(row)} for n, row in zip(names, class_rows(found), strict=True))
    tables = {
        "numbers": ({"name": name, "value": value} for name, value in flat(content)),
        "classes": rows,
        "images": image_rows(found),
        "objects": object_rows(found),
    }
    for name, table in tables.items():
        files.append(folder / f"{name}.csv")
        _write_csv(files[-1], table)
    return files


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """``("classes/person/images", 120)`` for each number of nested dicts and lists."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from flat(item, f"{path}/{key}" if path else str(key))
    else:
        yield path, value


def image_rows(found: Exploration) -> Iterator[dict]:
    """One row for each image: what it holds and what its pixels are like."""
    table, measures = found.table, found.measures
    objects = found.objects_per_image
    for i, name in enumerate(table.file_names):
        seen = bool(measures.looked_at[i])
        yield plain(
            {
                "image_id": table.image_ids[i],
                "file_name": name,
                "height": table.image_sizes[i, 0],
                "width": table.image_sizes[i, 1],
                "objects": objects[i],
                "brightness": measures.brightness[i],
                "sharpness": measures.sharpness[i],
                "brightness_outlier": found.dark[i],
                "sharpness_outlier": found.sharp[i],
                "unreadable": int(measures.unreadable[i]),
                "background_pixels": measures.background[i] if seen else None,
                "crowd_pixels": measures.crowd_pixels[i] if seen else None,
                "shared_pixels": measures.shared[i] if seen else None,
            }
        )


def object_rows(found: Exploration) -> Iterator[dict]:
    """One row for each object: box, size, mask structure, occlusion, fit."""
    table, objects, fit = found.table, found.objects, found.fit
    for i, m in enumerate(objects.rows.tolist()):
        x0, y0, x1, y1 = table.boxes_xyxy[m]
        yield plain(
            {
                "annotation_id": table.annotation_ids[m],
                "image_id": table.image_ids[objects.image_index[i]],
                "class": table.class_names[objects.class_index[i]],
                **{"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0},
                "area": objects.areas[i],
                "size": SIZE_NAMES[objects.size[i]],
                "percent_of_image": objects.share[i],
                "at_the_frame": int(objects.frame[i].any()),
                **dict(zip(OBJECT_COLUMNS, found.measures.objects[m], strict=True)),
                "best_anchor_iou": fit.iou[i],
                "pyramid_level": fit.roi_level[i],
                "vanishes": int(fit.vanishes[i]),
            }
        )


def _write_csv(file: Path, rows: Iterable[dict]) -> None:
    """Rows with the same keys as a CSV file; no rows give an empty file."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = None
        for row in rows:
            if writer is None:
                writer = csv.DictWriter(stream, list(row))
                writer.writeheader()
            writer.writerow(row)
