"""Writes a repaired copy of audited splits, and a list of every change; sources stay as they are.

The copy has the tree of every subset: ``annotations/<split>.json`` and ``images/<split>/``, so it
can be registered like one; ``changes.json`` lists what was changed, in order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from project.data.audit.categories import common_categories
from project.data.audit.copies import LEAKS
from project.data.audit.images import Picture
from project.data.audit.objects import Objects
from project.data.audit.repair_images import Remake, remake_of, write_image
from project.data.audit.repair_labels import Change, Labels
from project.data.audit.run import Audit
from project.data.audit.source import Split
from project.data.coco_file import read_bytes
from project.data.publish import new_folder
from project.errors import UserError

import msgspec

CHANGES = "changes.json"
_UNUSABLE = ("missing-image", "unreadable-image", "truncated-image")


def repair_copy(audit: Audit, target: str | Path) -> list[Change]:
    """Write the repaired splits of ``audit`` to the new folder ``target``; returns the changes.

    Untouched image files are linked, as `project.data.subset` does. What a person must decide
    (kinds that aren't ``fixed`` in `project.data.audit.kinds`) stays.

    Raises:
        UserError: if ``target`` exists, lies inside a source folder or can't be written, or a
            split has a name that no file can have. Nothing is left of it then.
    """
    target = Path(target)
    check_split_names(split.name for split in audit.splits)
    for folder in filter(None, (split.folder for split in audit.splits)):
        if target.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{target} lies inside the image folder {folder}; choose another")
    categories = common_categories(audit.splits)
    changes: list[Change] = []
    with new_folder(target) as folder:
        for split, objects in zip(audit.splits, audit.objects, strict=True):
            changes += _repair_split(audit, split, objects, categories, folder)
        # All ASCII, as the report: file names may hold bytes that aren't UTF-8.
        listed = json.dumps([asdict(change) for change in changes], indent=1)
        (folder / CHANGES).write_text(listed + "\n", encoding="utf-8")
    return changes


def check_split_names(names: Iterable[str]) -> None:
    """Raise a `UserError` unless all names can be those of a file and a folder in the copy."""
    for name in names:
        if not re.fullmatch(r"\w[\w .+-]*", name):
            raise UserError(
                f"split {name!r}: a repaired copy has files of its name; use letters, digits and "
                f"any of _ . + -"
            )


def _repair_split(
    audit: Audit, split: Split, objects: Objects, categories: list[dict], folder: Path
) -> list[Change]:
    pictures = {p.image_id: p for p in audit.pictures if p.split is split}
    unwanted = _unwanted(audit, split, pictures.values())
    remakes = _remakes(split, pictures, unwanted)
    if split.file == split.folder:
        changes = [Change(k, split.name, i, None, what) for i, (k, what) in unwanted.items()]
        kept = {image.id: image.file_name for image in split.images if image.id not in unwanted}
    else:
        document = msgspec.json.decode(read_bytes(split.file, "COCO annotation file"))
        labels = Labels(split, objects, document, categories)
        labels.repair(unwanted)
        changes = labels.changes
        kept = {image["id"]: image["file_name"] for image in document["images"]}
        for image in document["images"]:
            if image["id"] in remakes:
                image["file_name"] = remakes[image["id"]].file_name
        file = folder / "annotations" / f"{split.name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(msgspec.json.encode(document))
    if split.folder is not None:
        for number, name in kept.items():
            remake = remakes.get(number)
            if remake is not None:
                changes += [Change(k, split.name, number, None, remake.what) for k in remake.kinds]
            write_image(split.folder / name, folder / "images" / split.name, name, remake)
    return changes


def _unwanted(
    audit: Audit, split: Split, pictures: Iterable[Picture]
) -> dict[int, tuple[str, str]]:
    """Images of ``split`` that must go: id → (kind, reason)."""
    unwanted = {}
    for picture in pictures:
        if picture.facts.fault in _UNUSABLE:
            what = f"left out: {picture.facts.detail}"
            unwanted[picture.image_id] = picture.facts.fault, what
    for copy in audit.copies:
        if copy.picture.split is split and copy.kind in ("duplicate-image", *LEAKS):
            what = copy.finding().what
            unwanted.setdefault(copy.picture.image_id, (copy.kind, f"left out: {what}"))
    return unwanted


def _remakes(
    split: Split, pictures: dict[int, Picture], unwanted: dict[int, tuple[str, str]]
) -> dict[int, Remake]:
    """How the images that need it are stored anew; those that can't be join ``unwanted``."""
    names = {image.file_name for image in split.images}
    remakes = {}
    for number, picture in pictures.items():
        if number in unwanted:
            continue
        remake, problem = remake_of(picture, names)
        if problem:
            unwanted[number] = "size-mismatch", f"left out: {problem}"
        elif remake is not None:
            names.add(remake.file_name)
            remakes[number] = remake
    return remakes
