"""COCO files read leniently: what an audit must be able to look at, the strict reader refuses."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from project.data.audit.findings import Finding, finding
from project.data.coco_file import CocoAnnotation, CocoCategory, CocoImage, read_bytes
from project.errors import UserError

import msgspec

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


class _Whole(msgspec.Struct):
    images: list[CocoImage]
    categories: list[CocoCategory]
    annotations: list[CocoAnnotation] | None = None


class _Pieces(msgspec.Struct):
    images: list[msgspec.Raw]
    categories: list[msgspec.Raw]
    annotations: list[msgspec.Raw] | None = None


RECORDS = {"images": CocoImage, "categories": CocoCategory, "annotations": CocoAnnotation}


@dataclass
class Split:
    """One split as it stands on disk; its ids may repeat and its references dangle.

    Attributes:
        name: what the caller calls it.
        file: the annotation file; the image folder where there is none.
        folder: None leaves its images alone.
        labelled: whether there are annotations.
        malformed: findings about records that could not be read, which are in no list.
    """

    name: str
    file: Path
    folder: Path | None
    images: list[CocoImage]
    categories: list[CocoCategory] = field(default_factory=list)
    annotations: list[CocoAnnotation] = field(default_factory=list)
    labelled: bool = False
    malformed: list[Finding] = field(default_factory=list)

    def summary(self) -> dict:
        """What was looked at, for the report."""
        return {
            "file": str(self.file),
            "images_dir": None if self.folder is None else str(self.folder),
            "images": len(self.images),
            "annotations": len(self.annotations) if self.labelled else None,
            "categories": len(self.categories),
        }


def read_split(name: str, file: Path | None, folder: Path | None) -> Split:
    """The split behind an annotation file and an image folder, either of which may be missing.

    Without an annotation file the split is the sorted images of the folder, numbered from 1, with
    heights and widths of 0 (unknown).

    Raises:
        UserError: if neither is given, one doesn't exist, or the file is no COCO file at all.
    """
    if folder is not None and not Path(folder).is_dir():
        raise UserError(f"{name}: image folder {folder} doesn't exist")
    if file is None:
        if folder is None:
            raise UserError(f"{name}: give an annotation file, an image folder or both")
        names = sorted(
            p.relative_to(folder).as_posix()
            for p in Path(folder).rglob("*")
            if p.suffix.lower() in IMAGE_SUFFIXES
        )
        images = [CocoImage(id=i, file_name=n, height=0, width=0) for i, n in enumerate(names, 1)]
        return Split(name, Path(folder), Path(folder), images)
    data = read_bytes(file, f"{name}: COCO annotation file")
    try:
        try:
            whole = msgspec.json.decode(data, type=_Whole)
            malformed = []
        except msgspec.ValidationError:
            whole, malformed = _piece_by_piece(data, file)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is no readable COCO instances file: {error}") from None
    return Split(
        name,
        Path(file),
        None if folder is None else Path(folder),
        whole.images,
        whole.categories,
        whole.annotations or [],
        whole.annotations is not None,
        malformed,
    )


def _piece_by_piece(data: bytes, file: Path) -> tuple[_Whole, list[Finding]]:
    """Reads a file record by record, so that a damaged record costs no other one."""
    pieces = msgspec.json.decode(data, type=_Pieces)
    good: dict[str, list] = {}
    malformed = []
    for key, record_type in RECORDS.items():
        decoder = msgspec.json.Decoder(record_type)
        read = [_decoded(decoder, raw) for raw in getattr(pieces, key) or ()]
        good[key] = [record for record, _ in read if record is not None]
        for position, (_, problem) in enumerate(read):
            if problem:
                raw = getattr(pieces, key)[position]
                malformed.append(_malformed(file, key, position, raw, problem))
    if pieces.annotations is None:
        good["annotations"] = None
    return _Whole(**good), malformed


def _decoded(decoder: msgspec.json.Decoder, raw: msgspec.Raw) -> tuple[Any, str]:
    """The record, or None and what is wrong with it."""
    try:
        return decoder.decode(raw), ""
    except msgspec.ValidationError as error:
        return None, str(error)


def _malformed(file: Path, key: str, position: int, raw: msgspec.Raw, problem: str) -> Finding:
    content = msgspec.json.decode(raw)
    number = content.get("id") if isinstance(content, dict) else None
    number = number if isinstance(number, int) else None
    return finding(
        "malformed-record",
        file,
        f"{key}[{position}] can't be read: {problem}",
        image=number if key == "images" else None,
        annotation=number if key == "annotations" else None,
    )
