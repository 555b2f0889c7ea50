"""PASCAL VOC 2012 segmentation: indexed PNGs of objects and classes, XML beside them.

::

    VOC2012/ImageSets/Segmentation/train.txt     names, one a line
            JPEGImages/NAME.jpg
            SegmentationObject/NAME.png          object numbers, 0 background, 255 void
            SegmentationClass/NAME.png           class numbers
            Annotations/NAME.xml                 objects in the order of their numbers

Void pixels, the outlines, belong to no object, as in VOC's own evaluation. Format: Everingham and
Winn, The PASCAL VOC2012 Challenge Development Kit.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from project.data.coco_file import check_file_name, read_bytes
from project.data.formats.document import CocoDocument
from project.data.formats.pixels import pixel_objects, read_label_map
from project.errors import UserError, unknown_name

import numpy as np

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
_VOID = 255


def read_voc(folder: str | Path, split: str) -> CocoDocument:
    """The segmented images of a split ("train", "val", "trainval") of VOC, pixel-exact.

    An object's class is that of its pixels; ``difficult`` and ``truncated`` come from the XML file,
    where it agrees.

    Raises:
        UserError: if the folder isn't VOC's, or files are missing, damaged or of different sizes.
    """
    folder = Path(folder)
    result = CocoDocument(VOC_CLASSES, folder / "JPEGImages")
    for name in _names(folder, split):
        objects = read_label_map(folder / "SegmentationObject" / f"{name}.png")
        classes = read_label_map(folder / "SegmentationClass" / f"{name}.png")
        if objects.shape != classes.shape:
            raise UserError(
                f"{folder}: object and class image of {name} differ in size: {objects.shape} and "
                f"{classes.shape} (height, width)"
            )
        result.add_image(f"{name}.jpg", objects.shape)
        told = _told(folder / "Annotations" / f"{name}.xml")
        for item in pixel_objects(objects, background=(0, _VOID)):
            class_name = _class_name(classes[objects == item.value], name, item.value, result)
            if class_name is not None:
                flags = _flags(told, item.value, class_name, name, result)
                result.add_object(class_name, item.geometry, **flags)
    return result


def _names(folder: Path, split: str) -> list[str]:
    lists = folder / "ImageSets" / "Segmentation"
    file = lists / f"{split}.txt"
    if not lists.is_dir():
        inner = " (give VOCdevkit/VOC2012 itself)" if (folder / "VOC2012").is_dir() else ""
        raise UserError(f"{folder} is no folder of PASCAL VOC: no {lists}{inner}")
    if not file.is_file():
        known = sorted(path.stem for path in lists.glob("*.txt"))
        raise UserError(f"{lists}: {unknown_name('split', split, known)}")
    try:
        names = read_bytes(file, "list of images").decode().split()
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is no list of images: {error}") from None
    if not names:
        raise UserError(f"{file} names no image")
    for name in names:
        check_file_name(name, str(file))
    return names


def _class_name(pixels: np.ndarray, name: str, number: int, result: CocoDocument) -> str | None:
    """The class of most of an object's pixels."""
    counts = np.bincount(pixels[(pixels != 0) & (pixels != _VOID)])
    if not counts.size:
        result.notes.append(f"{name}: object {number} left out, its pixels have no class")
        return None
    index = int(counts.argmax())
    if index > len(VOC_CLASSES):
        raise UserError(f"{name}: class number {index} of object {number}; VOC has 1 to 20")
    return VOC_CLASSES[index - 1]


def _told(file: Path) -> list[dict]:
    """Name and flags of each object of an XML file; empty without one."""
    if not file.is_file():
        return []
    try:
        tree = ElementTree.parse(file)
    # The last two: an encoding that Python or the parser doesn't have.
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise UserError(f"{file} is no readable XML: {error}") from None
    return [
        {"name": item.findtext("name", "").strip()}
        | {
            flag: int(item.findtext(flag, "0").strip() == "1")
            for flag in ("difficult", "truncated")
        }
        for item in tree.iterfind("object")
    ]


def _flags(
    told: list[dict], number: int, class_name: str, name: str, result: CocoDocument
) -> dict[str, int]:
    if number > len(told):
        return {}
    about = told[number - 1]
    if about["name"] != class_name:
        result.notes.append(
            f"{name}: object {number} is {class_name!r} by its pixels, {about['name']!r} by its "
            f"XML file; the pixels count"
        )
        return {}
    return {flag: about[flag] for flag in ("difficult", "truncated")}
