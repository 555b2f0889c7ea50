"""The manifest of a subset: sources with their hashes, choices, ids, counts, what was left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from project.data.coco_file import check_file_name, read_bytes
from project.data.plan import SplitSource, SubsetPlan
from project.data.selection import Note
from project.data.splits import Splitting
from project.errors import UserError

import msgspec

MANIFEST = "manifest.json"


class ClassCount(msgspec.Struct):
    """Annotations of a class in a split (crowd regions among them), and images that show it."""

    annotations: int = 0
    crowds: int = 0
    images: int = 0


class SplitRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One split: its source, what was chosen of it, what came out.

    ``count`` is the number that was asked for; absent for "all". An unlabelled split has
    ``file_names`` instead of annotations. ``coco`` is the split of COCO that missing sources can be
    fetched from, such as "val2017". ``repaired`` and ``left_out`` cover all annotations of
    the classes in the source file, in chosen images or not.
    """

    images: str
    annotations: str | None = None
    sha256: str | None = None
    count: int | None = None
    coco: str | None = None
    num_images: int
    num_negatives: int = 0
    category_ids: dict[str, int] = {}
    image_ids: list[int] = []
    file_names: list[str] = []
    class_counts: dict[str, ClassCount] = {}
    repaired: list[Note] = []
    left_out: list[Note] = []


class Manifest(msgspec.Struct):
    """How a subset was made; enough to make it again from the same sources.

    ``splitting`` and ``keep_empty`` are absent where splits were drawn by count.
    """

    name: str
    classes: list[str]
    seed: int
    negatives: float
    splits: dict[str, SplitRecord]
    format: int = 1
    splitting: Splitting | msgspec.UnsetType = msgspec.UNSET
    keep_empty: bool | msgspec.UnsetType = msgspec.UNSET


def new_manifest(plan: SubsetPlan) -> Manifest:
    """A manifest with the choices of ``plan`` and no split yet."""
    return Manifest(
        plan.name,
        list(plan.classes),
        plan.seed,
        plan.negatives,
        {},
        splitting=plan.splitting or msgspec.UNSET,
        keep_empty=plan.keep_empty or msgspec.UNSET,
    )


def plan_of(manifest: Manifest) -> SubsetPlan:
    """The choices that a manifest records."""
    splits = {
        split: SplitSource(
            Path(record.images),
            None if record.annotations is None else Path(record.annotations),
            record.count,
            record.coco,
        )
        for split, record in manifest.splits.items()
    }
    return SubsetPlan(
        manifest.name,
        tuple(manifest.classes),
        splits,
        manifest.seed,
        manifest.negatives,
        manifest.keep_empty is True,
        manifest.splitting or None,
    )


def read_manifest(path: str | Path) -> Manifest:
    """The manifest in ``path``.

    Raises:
        UserError: if the file is missing, cut off or not such a manifest.
    """
    try:
        manifest = msgspec.json.decode(read_bytes(path, "manifest"), type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no manifest of a subset: {error}") from None
    if manifest.format != 1:
        raise UserError(f"{path} has manifest format {manifest.format}; this version reads 1")
    for split, record in manifest.splits.items():
        for name in record.file_names:
            check_file_name(name, f"{path}, {split}")
    return manifest


def relocate_sources(manifest: Manifest, moves: Mapping[str, str]) -> Manifest:
    """The manifest with source paths that begin with an old folder moved to its new place.

    Raises:
        UserError: if no source path begins with an old folder.
    """
    for old, new in moves.items():
        used = False
        for record in manifest.splits.values():
            for key in ("images", "annotations"):
                path = getattr(record, key)
                if path is not None and Path(path).is_relative_to(old):
                    setattr(record, key, str(Path(new, Path(path).relative_to(old))))
                    used = True
        if not used:
            raise UserError(f"no source of {manifest.name!r} lies below {old}")
    return manifest


def describe(manifest: Manifest) -> str:
    """A table of images and annotations of each split, crowds apart, then what was left out."""
    lines = []
    for split, record in manifest.splits.items():
        images = f"{split}: {record.num_images} images"
        if record.annotations is None:
            lines.append(f"{images}, unlabelled")
            continue
        counts = record.class_counts.values()
        lines.append(
            f"{images} ({record.num_negatives} negative), "
            f"{sum(c.annotations for c in counts)} annotations "
            f"({sum(c.crowds for c in counts)} of them crowd regions)"
        )
        lines += [
            f"  {name:<16} {count.annotations:>7} annotations, {count.crowds:>4} crowds, "
            f"{count.images:>6} images"
            for name, count in record.class_counts.items()
        ]
        for what in ("repaired", "left_out"):
            lines += [
                f"  {what.replace('_', ' ')}: annotation {note.annotation} ({note.class_name}, "
                f"{note.file_name}): {note.reason}"
                for note in getattr(record, what)
            ]
    return "\n".join(lines)
