"""YOLO segmentation labels: a text file for each image, a polygon on each line.

::

    data.yaml                path, train, val, test: image folders or lists; names: the classes
    images/train/a.jpg
    labels/train/a.txt       class x1 y1 x2 y2 ...   shares (0-1) of the image's width and height

An image without a text file shows nothing. Format: Ultralytics' documentation of segmentation
datasets. Lines with a box only have no mask: they are left out and noted.
"""

from __future__ import annotations

from pathlib import Path

from project.data.coco_file import read_bytes
from project.data.coco_masks import mask_area, mask_box
from project.data.formats.document import CocoDocument, listed_images
from project.errors import UserError, unknown_name

import numpy as np

_SLACK = 0.01  # exporters round a little beyond the frame


def read_yolo(data_file: str | Path, split: str) -> CocoDocument:
    """The polygons of a split ("train", "val", "test") that ``data_file`` (YAML) describes.

    Raises:
        UserError: if files are missing or a line can't be meant.
    """
    data_file = Path(data_file)
    data = _read_yaml(data_file)
    names = _class_names(data, data_file)
    images = _images(data, data_file, split)
    folder = _common_folder(images)
    result = CocoDocument(names, folder)
    for image in images:
        height, width = result.add_image(image.relative_to(folder).as_posix())
        file = _label_file(image)
        text = read_bytes(file, "label file").decode("utf-8", "replace") if file.is_file() else ""
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                _add_line(result, line.split(), f"{file}, line {number}", names, height, width)
    if not result.document["annotations"]:
        expected = _label_file(images[0])
        result.notes.append(f"{split}: no image has an object; labels are looked for at {expected}")
    return result


def yolo_splits(data_file: str | Path) -> list[str]:
    """Those of "train", "val" and "test" that ``data_file`` names."""
    data = _read_yaml(Path(data_file))
    return [split for split in ("train", "val", "test") if data.get(split)]


def _read_yaml(file: Path) -> dict:
    import yaml

    try:
        data = yaml.safe_load(read_bytes(file, "YOLO data file"))
    # Besides its own errors PyYAML lets those of Python's conversions out: of a date of month 13,
    # `!!int x`, `!!bool x`, `!!timestamp x`.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file} is no readable YAML: {reason}") from None
    if not isinstance(data, dict):
        raise UserError(f"{file} is no data file of YOLO: expected the keys train, val and names")
    return data


def _class_names(data: dict, file: Path) -> list[str]:
    names = data.get("names")
    if isinstance(names, dict) and names.keys() == set(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise UserError(f"{file}: names must be a list of class names, or numbered from 0 on")
    if len({str(name) for name in names}) < len(names):
        raise UserError(f"{file}: a class name stands in names twice")
    return [str(name) for name in names]


def _images(data: dict, file: Path, split: str) -> list[Path]:
    source = data.get(split)
    if not source:
        known = [key for key in ("train", "val", "test") if data.get(key)]
        raise UserError(f"{file}: {unknown_name('split', split, known)}")
    if not isinstance(source, str):
        raise UserError(f"{file}: {split} is {source!r}; expected one folder or list of images")
    base = file.parent / str(data.get("path") or "")
    path = base / source
    if path.suffix != ".txt":
        return listed_images(path)
    lines = read_bytes(path, "list of images").decode("utf-8", "replace").split("\n")
    # A list may hold absolute and relative lines, which have no folder in common as they are.
    images = [(base / line.strip()).absolute() for line in lines if line.strip()]
    if not images:
        raise UserError(f"{path} lists no image")
    return images


def _common_folder(images: list[Path]) -> Path:
    import os

    return Path(os.path.commonpath([image.parent for image in images]))


def _label_file(image: Path) -> Path:
    """``.../labels/...`` for the last ``images`` folder of the path, with the ending ``.txt``."""
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _add_line(
    result: CocoDocument, words: list[str], where: str, names: list[str], height: int, width: int
) -> None:
    try:
        number, shares = int(words[0]), np.array(words[1:], np.float64)
    except ValueError:
        raise UserError(f"{where}: expected a class number and coordinates, got {words}") from None
    if not 0 <= number < len(names):
        raise UserError(f"{where}: class {number}; expected 0 to {len(names) - 1}")
    if len(shares) == 4:
        result.notes.append(f"{where}: left out, a box without a polygon")
        return
    if len(shares) < 6 or len(shares) % 2:
        raise UserError(f"{where}: {len(shares)} coordinates; expected pairs, three or more")
    if not (np.abs(shares - 0.5) <= 0.5 + _SLACK).all():
        worst = shares[np.abs(shares - 0.5).argmax()]
        raise UserError(f"{where}: coordinate {worst:g}; expected shares of the image, 0 to 1")
    points = shares.clip(0, 1).reshape(-1, 2) * (width, height)
    mask = [points.round(3).ravel().tolist()]
    area = mask_area(mask)
    if area == 0:
        result.notes.append(f"{where}: left out, its polygon has no area")
        return
    result.add_object(
        names[number], {"segmentation": mask, "bbox": mask_box(mask), "area": round(area, 3)}
    )
