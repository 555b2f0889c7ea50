"""From converted documents to COCO files on disk, and on to a subset: same catalog, same tools."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from project.data.formats.document import CocoDocument
from project.data.manifest import MANIFEST, Manifest, describe
from project.data.plan import SPLITS, SplitSource, SubsetPlan, check_plan
from project.data.publish import new_folder
from project.data.root import datasets_root
from project.data.subset import build_subset, check_target, check_text
from project.errors import UserError

import msgspec

_SHOWN_NOTES = 5


def add_output(parser: argparse.ArgumentParser) -> None:
    """The options that every converter has."""
    output = parser.add_argument_group("output")
    output.add_argument("--name", required=True, help="of the subset; also of its folder")
    output.add_argument("--root", help="default: $DETECTRON2_DATASETS, else datasets/")
    output.add_argument("--classes", nargs="+", metavar="NAME", help="default: all")
    output.add_argument(
        "--coco-only", action="store_true", help="write the COCO files, but no subset"
    )
    output.add_argument("--copy", action="store_true", help="copy images instead of linking them")
    output.add_argument("--overwrite", action="store_true", help="replace what was made before")


def named_splits(words: Sequence[str]) -> dict[str, str]:
    """Our split → theirs, from words such as ``val`` and ``train=trainval``.

    Raises:
        UserError: if a name on the left is no split of ours or stands there twice.
    """
    splits: dict[str, str] = {}
    for word in words:
        ours, _, theirs = word.partition("=")
        if ours not in SPLITS or ours in splits:
            raise UserError(
                f"split {word!r}: expected each of {', '.join(SPLITS)} at most once, with another "
                f"name of theirs after '='"
            )
        splits[ours] = theirs or ours
    return splits


def publish(documents: Mapping[str, CocoDocument], args: argparse.Namespace) -> None:
    """Write ``<root>/<name>-coco/<split>.json``, then the subset ``<root>/<name>``; print both.

    Splits keep all their images, those without objects included.

    Raises:
        UserError: if one exists and isn't to be replaced, or a document can't become a subset.
    """
    root = datasets_root(args.root)
    files, target = root / f"{args.name}-coco", root / args.name
    first = next(iter(documents.values())).document
    classes = tuple(args.classes or [category["name"] for category in first["categories"]])
    splits = {
        split: SplitSource(found.images_dir, files / f"{split}.json")
        for split, found in documents.items()
    }
    plan = SubsetPlan(args.name, classes, splits, keep_empty=True)
    check_plan(plan)
    if not args.coco_only:
        check_target(target, args.overwrite)
    if (files / MANIFEST).exists():
        raise UserError(f"{files}, where the COCO files would go, is a subset; choose another name")
    if args.overwrite:
        _check_coco_files(files)
    write_documents(documents, files, overwrite=args.overwrite)
    for split, found in documents.items():
        print(report(split, found))
    if args.coco_only:
        print(f"Wrote {len(documents)} COCO files to {files}")
        return
    manifest: Manifest = build_subset(plan, root, copy=args.copy, overwrite=args.overwrite)
    print(describe(manifest))
    print(f"Wrote subset {args.name!r} to {target}, from the COCO files in {files}")


def _check_coco_files(folder: Path) -> None:
    """Raise a `UserError` if more would be replaced than such COCO files."""
    ours = [f"{split}.json" for split in SPLITS]
    if not os.path.lexists(folder):
        return
    if not folder.is_dir() or not {file.name for file in folder.iterdir()} <= set(ours):
        raise UserError(
            f"{folder}, where the COCO files would go, holds more than {', '.join(ours)}, and "
            f"--overwrite replaces those only; choose another name"
        )


def write_documents(
    documents: Mapping[str, CocoDocument], folder: Path, *, overwrite: bool = False
) -> None:
    """Write each document to ``<folder>/<split>.json``; all of them or none."""
    with new_folder(folder, overwrite=overwrite) as work:
        for split, found in documents.items():
            for image in found.document["images"]:
                check_text(found.images_dir / image["file_name"])
            (work / f"{split}.json").write_bytes(msgspec.json.encode(found.document))


def report(split: str, found: CocoDocument) -> str:
    """What was read, and the first notes."""
    document = found.document
    lines = [
        f"{split}: read {len(document['images'])} images, {len(document['annotations'])} objects"
    ]
    lines += [f"  {note}" for note in found.notes[:_SHOWN_NOTES]]
    if len(found.notes) > _SHOWN_NOTES:
        lines.append(f"  and {len(found.notes) - _SHOWN_NOTES} more notes")
    return "\n".join(lines)
