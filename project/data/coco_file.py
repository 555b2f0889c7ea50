"""COCO instances files as typed records, read fast and checked once.

`msgspec` decodes straight into the records below and leaves each segmentation as raw bytes
(3 s instead of 22 s for the 860,000 annotations of COCO train2017); what a mask holds is looked at
by `project.data.coco_masks`, only for annotations that somebody uses.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any

from project.errors import UserError

import msgspec

# Larger numbers fit into no array; exporters that hash names have written them.
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Side = Annotated[int, msgspec.Meta(le=2**20)]  # pixels of an image: OpenCV reads no longer side


class CocoImage(msgspec.Struct, gc=False):
    """One image: size in pixels, file name relative to the image folder."""

    id: Int64
    file_name: str
    height: Side
    width: Side
    license: Any = None
    coco_url: Any = None
    flickr_url: Any = None


class CocoAnnotation(msgspec.Struct, gc=False):
    """One object: box is x, y, width, height in pixels; the segmentation is still JSON text."""

    id: Int64
    image_id: Int64
    category_id: Int64
    bbox: tuple[float, float, float, float] | None = None
    area: float | None = None
    iscrowd: Int64 | bool = 0
    ignore: Int64 | bool = 0
    segmentation: msgspec.Raw = msgspec.Raw(b"")


class CocoCategory(msgspec.Struct, gc=False):
    """One class; its ``supercategory`` is not read, exporters fill it with anything."""

    id: Int64
    name: str


class _Document(msgspec.Struct):
    images: list[CocoImage]
    categories: list[CocoCategory]
    annotations: list[CocoAnnotation] | None = None
    licenses: Any = None


@dataclass(frozen=True)
class CocoFile:
    """A checked COCO file: ids are unique, every annotation has its image and category.

    ``annotations`` is None for an unlabelled file (COCO's ``image_info_*``), ``sha256`` that of the
    bytes that were read.
    """

    path: Path
    sha256: str
    images: list[CocoImage]
    categories: list[CocoCategory]
    annotations: list[CocoAnnotation] | None
    licenses: Any


# Folders and a name without a leading dot: inside the image folder at first sight.
_PLAIN_NAME = re.compile(r"([\w-][\w.-]*/)*[\w-][\w.-]*", re.ASCII)

_DECODER = msgspec.json.Decoder(_Document)


def read_coco_file(path: str | Path) -> CocoFile:
    """The checked content of one COCO instances file.

    Raises:
        UserError: if the file is missing, cut off, no COCO file, names images outside the image
            folder, repeats an id, or has annotations of unknown images or categories.
    """
    data = read_bytes(path, "COCO annotation file")
    try:
        document = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no readable COCO instances file: {error}") from None
    file = CocoFile(
        path=Path(path),
        sha256=hashlib.sha256(data).hexdigest(),
        images=document.images,
        categories=document.categories,
        annotations=document.annotations,
        licenses=document.licenses,
    )
    _check_unique(file)
    _check_references(file)
    return file


def read_bytes(path: str | Path, what: str) -> bytes:
    """The bytes of a file; a `UserError` that says what was expected where it can't be read."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{what} {path} doesn't exist") from None
    except OSError as error:
        raise UserError(f"{what} {path} can't be read: {error.strerror}") from None


def check_file_name(file_name: str, where: str) -> str:
    """``file_name`` itself, if it is relative and stays inside the image folder on any system.

    Raises:
        UserError: otherwise; ``where`` names the file and the image.
    """
    if _PLAIN_NAME.fullmatch(file_name):
        return file_name
    windows = PureWindowsPath(file_name)
    leaves = PurePosixPath(file_name).is_absolute() or windows.anchor or ".." in windows.parts
    if leaves or "\0" in file_name or not windows.name:
        raise UserError(
            f"{where}: file_name {file_name!r} leaves the image folder; expected a relative path "
            f"without '..'"
        )
    return file_name


def _check_unique(file: CocoFile) -> None:
    for image in file.images:
        check_file_name(image.file_name, f"{file.path}, image {image.id}")
        if image.height < 1 or image.width < 1:
            raise UserError(
                f"{file.path}, image {image.id} ({image.file_name}): height {image.height} and "
                f"width {image.width} must be at least 1 pixel"
            )
    _unique(file.path, "image id", [image.id for image in file.images])
    # Two records of one file would each hold a part of its labels.
    _unique(file.path, "file_name", [os.path.normpath(image.file_name) for image in file.images])
    _unique(file.path, "category id", [category.id for category in file.categories])
    _unique(file.path, "category name", [category.name for category in file.categories])
    _unique(file.path, "annotation id", [annotation.id for annotation in file.annotations or ()])


def _unique(path: Path, what: str, values: Sequence[int | str]) -> None:
    if len(set(values)) < len(values):
        value = next(value for value, number in Counter(values).items() if number > 1)
        raise UserError(f"{path}: {what} {value!r} stands there twice; it must be unique")


def _check_references(file: CocoFile) -> None:
    images = {image.id for image in file.images}
    categories = {category.id for category in file.categories}
    for annotation in file.annotations or ():
        if annotation.image_id not in images:
            unknown = f"image_id {annotation.image_id}, which is in no image"
        elif annotation.category_id not in categories:
            unknown = f"category_id {annotation.category_id}, which is in no category"
        else:
            continue
        raise UserError(f"{file.path}: annotation {annotation.id} has {unknown} of the file")
