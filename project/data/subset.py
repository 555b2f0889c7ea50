"""Makes a COCO subset on disk: a few classes, some images, clean contiguous ids, a manifest.

::

    <root>/<name>/
      manifest.json                    what it was made from, and how: re-makes the identical subset
      annotations/{train,val,test}.json
      images/{train,val,test}/...

Class names choose the categories, never ids: exported files of one dataset disagree about ids.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from project.data.coco_file import read_coco_file
from project.data.documents import labelled_split, unlabelled_split
from project.data.manifest import (
    MANIFEST,
    Manifest,
    read_manifest,
    relocate_sources,
)
from project.data.publish import new_folder, place_file
from project.data.selection import (
    DRAWING_ORDER,
    Pool,
    chosen_paths,
    draw_files,
    draw_images,
    select_labels,
)
from project.errors import UserError

import msgspec

SPLITS = ("train", "val", "test")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class SplitSource:
    """Where a split comes from: a COCO file with its images, or an unlabelled image folder.

    ``count`` is the number of images; None takes all that show one of the classes (all images of
    an unlabelled folder).
    """

    images: Path
    annotations: Path | None = None
    count: int | None = None


@dataclass(frozen=True)
class SubsetPlan:
    """What to make. ``negatives`` is the share (0-1) of images without any of the classes.

    Splits that name the same annotation file draw disjoint images from it.
    """

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, SplitSource]
    seed: int = 0
    negatives: float = 0.0


def build_subset(
    plan: SubsetPlan, root: str | Path, *, copy: bool = False, overwrite: bool = False
) -> Manifest:
    """Make the subset below ``root``; images are linked unless ``copy``. Returns its manifest.

    Raises:
        UserError: on a plan that can't be met, or source files that can't be used. Nothing is
            written then, and an older subset of the name stays as it was.
    """
    _check_plan(plan)
    pools = _read_pools(plan)
    counts = {split: source.count for split, source in plan.splits.items()}
    ids = draw_images(pools, counts, negatives=plan.negatives, seed=plan.seed)
    used = {path for split in pools for path in chosen_paths(pools[split], ids[split])}
    names = {
        split: _draw_unlabelled(split, source, plan.seed, used)
        for split, source in plan.splits.items()
        if source.annotations is None
    }
    return _write(plan, pools, ids, names, Path(root), copy, overwrite)


def rebuild_subset(
    manifest_file: str | Path,
    root: str | Path,
    *,
    relocate: Mapping[str, str] | None = None,
    copy: bool = False,
    overwrite: bool = False,
) -> Manifest:
    """Make the subset that a manifest describes once more, from the same source files.

    Args:
        relocate: old → new beginnings of source paths, for sources that have moved.

    Raises:
        UserError: as `build_subset`, and if a source file isn't the one of the manifest.
    """
    manifest = relocate_sources(read_manifest(manifest_file), relocate or {})
    splits = {
        split: SplitSource(
            Path(record.images),
            None if record.annotations is None else Path(record.annotations),
            record.count,
        )
        for split, record in manifest.splits.items()
    }
    plan = SubsetPlan(
        manifest.name, tuple(manifest.classes), splits, manifest.seed, manifest.negatives
    )
    _check_plan(plan)
    pools = _read_pools(plan)
    for split, pool in pools.items():
        if pool.file.sha256 != manifest.splits[split].sha256:
            raise UserError(
                f"{pool.file.path} is not the file that {manifest_file} was made from: its sha256 "
                f"is {pool.file.sha256[:12]}..., expected {manifest.splits[split].sha256[:12]}..."
            )
    ids = {split: manifest.splits[split].image_ids for split in pools}
    names = {split: manifest.splits[split].file_names for split in splits if split not in pools}
    return _write(plan, pools, ids, names, Path(root), copy, overwrite)


def _check_plan(plan: SubsetPlan) -> None:
    if not re.fullmatch(r"\w[\w.+-]*", plan.name):
        raise UserError(f"subset name {plan.name!r}: use letters, digits and any of _ . + -")
    if plan.name == "scenes":
        raise UserError("subset name 'scenes' belongs to the built-in scenes; choose another")
    if not plan.classes:
        raise UserError("no classes: name at least one, in the order they should be numbered")
    if twice := sorted({name for name in plan.classes if plan.classes.count(name) > 1}):
        raise UserError(f"class {twice[0]!r} is named twice")
    if not plan.splits or not set(plan.splits) <= set(SPLITS):
        raise UserError(f"splits {sorted(plan.splits)}: expected at least one of {list(SPLITS)}")
    if not 0 <= plan.negatives < 1:
        raise UserError(f"share of negatives {plan.negatives}: expected 0 up to, not with, 1")
    for split, source in plan.splits.items():
        if source.count is not None and source.count < 1:
            raise UserError(f"{split}: {source.count} images asked for; expected at least 1")
        if not source.images.is_dir():
            raise UserError(f"{split}: image folder {source.images} doesn't exist")


def _read_pools(plan: SubsetPlan) -> dict[str, Pool]:
    files: dict[Path, tuple] = {}  # a file that serves several splits is read once
    pools = {}
    for split, source in plan.splits.items():
        if source.annotations is None:
            continue
        path = source.annotations.resolve()
        if path not in files:
            file = read_coco_file(source.annotations)
            files[path] = file, select_labels(file, plan.classes)
        pools[split] = Pool(*files[path], source.images.resolve())
    return pools


def _draw_unlabelled(split: str, source: SplitSource, seed: int, used: set[str]) -> list[str]:
    folder = source.images.resolve()
    names = [n for n in os.listdir(folder) if n.lower().endswith(IMAGE_SUFFIXES)]
    names = [n for n in names if os.path.join(folder, n) not in used]
    if len(names) < (source.count or 1):
        raise UserError(
            f"{split}: {source.images} holds {len(names)} images (of other splits apart), "
            f"{source.count or 1} needed"
        )
    return draw_files(names, source.count, seed)


def _write(
    plan: SubsetPlan,
    pools: Mapping[str, Pool],
    ids: Mapping[str, list[int]],
    names: Mapping[str, list[str]],
    root: Path,
    copy: bool,
    overwrite: bool,
) -> Manifest:
    target = root / plan.name
    _keep_sources(plan, target)
    manifest = Manifest(plan.name, list(plan.classes), plan.seed, plan.negatives, {})
    with new_folder(target, overwrite=overwrite) as folder:
        for split in sorted(plan.splits, key=DRAWING_ORDER.index, reverse=True):
            if split in pools:
                document, record = labelled_split(pools[split], ids[split], plan.classes)
            else:
                document, record = unlabelled_split(
                    plan.splits[split].images, names[split], plan.classes
                )
            record.count = plan.splits[split].count
            if not document["images"]:
                raise UserError(f"{split}: no image of {record.annotations} shows the classes")
            _place_images(document["images"], Path(record.images), folder / "images" / split, copy)
            document["info"] = {"description": f"{plan.name}, {split}: see {MANIFEST}"}
            file = folder / "annotations" / f"{split}.json"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(msgspec.json.encode(document))
            manifest.splits[split] = record
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        (folder / MANIFEST).write_bytes(text + b"\n")
    return manifest


def _keep_sources(plan: SubsetPlan, target: Path) -> None:
    for source in plan.splits.values():
        for path in filter(None, (source.annotations, source.images)):
            if path.resolve().is_relative_to(target.resolve()):
                raise UserError(f"{target} can't be made from {path}, which lies inside it")


def _place_images(images: list[dict], source: Path, target: Path, copy: bool) -> None:
    missing = [image for image in images if not (source / image["file_name"]).is_file()]
    if missing:
        first = ", ".join(
            f"{image['file_name']} (image {image.get('source_id', image['id'])})"
            for image in missing[:3]
        )
        raise UserError(
            f"{len(missing)} of {len(images)} chosen images are missing in {source}: {first}"
            f"{', ...' if len(missing) > 3 else ''}"
        )
    for image in images:
        place_file(source / image["file_name"], target / image["file_name"], copy=copy)
