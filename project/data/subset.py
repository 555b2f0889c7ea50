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
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from project.data.coco_download import CocoServer
from project.data.coco_file import read_coco_file
from project.data.documents import (
    IMAGE_SUFFIXES,
    labelled_split,
    unlabelled_split,
    write_document,
)
from project.data.manifest import (
    MANIFEST,
    Manifest,
    new_manifest,
    plan_of,
    read_manifest,
    relocate_sources,
)
from project.data.near_duplicates import near_duplicate_groups
from project.data.plan import SPLITS, SplitSource, SubsetPlan, check_folders, check_plan
from project.data.publish import check_absent, new_folder, place_file
from project.data.selection import (
    DRAWING_ORDER,
    Pool,
    chosen_images,
    chosen_paths,
    draw_files,
    draw_images,
    select_labels,
)
from project.data.splits import split_images
from project.errors import UserError

import msgspec

__all__ = ["SPLITS", "SplitSource", "SubsetPlan", "build_subset", "rebuild_subset"]


def build_subset(
    plan: SubsetPlan,
    root: str | Path,
    *,
    copy: bool = False,
    overwrite: bool = False,
    server: CocoServer | None = None,
) -> Manifest:
    """Make the subset below ``root``; images are linked unless ``copy``. Returns its manifest.

    Args:
        server: fetches what is missing of sources that belong to COCO; None fetches nothing.

    Raises:
        UserError: on a plan that can't be met, or source files that can't be used or fetched.
            Nothing but fetched files is written then, and an older subset of the name stays as it
            was.
    """
    pools = _open(plan, server)
    ids = _draw(plan, pools)
    used = {path for split in pools for path in chosen_paths(pools[split], ids[split])}
    names = {
        split: _draw_unlabelled(split, source, plan.seed, used)
        for split, source in plan.splits.items()
        if source.annotations is None
    }
    _fetch_images(plan, pools, ids, server)
    return _write(plan, pools, ids, names, Path(root), copy, overwrite)


def rebuild_subset(
    manifest_file: str | Path,
    root: str | Path,
    *,
    relocate: Mapping[str, str] | None = None,
    copy: bool = False,
    overwrite: bool = False,
    server: CocoServer | None = None,
) -> Manifest:
    """Make the subset that a manifest describes once more, from the same source files.

    Args:
        relocate: old → new beginnings of source paths, for sources that have moved.
        server: fetches sources that belong to COCO and aren't here; None fetches nothing.

    Raises:
        UserError: as `build_subset`, and if a source file isn't the one of the manifest.
    """
    manifest = relocate_sources(read_manifest(manifest_file), relocate or {})
    plan = plan_of(manifest)
    check_plan(plan)
    _check_sources(manifest, manifest_file)
    if server is not None:
        splits = {split: _fetchable(source, server) for split, source in plan.splits.items()}
        plan = replace(plan, splits=splits)
    pools = _open(plan, server)
    for split, pool in pools.items():
        if pool.file.sha256 != manifest.splits[split].sha256:
            raise UserError(
                f"{pool.file.path} is not the file that {manifest_file} was made from: its sha256 "
                f"is {pool.file.sha256[:12]}..., expected {manifest.splits[split].sha256[:12]}..."
            )
    ids = {split: manifest.splits[split].image_ids for split in pools}
    names = {s: manifest.splits[s].file_names for s in plan.splits if s not in pools}
    _fetch_images(plan, pools, ids, server)
    return _write(plan, pools, ids, names, Path(root), copy, overwrite)


def _check_sources(manifest: Manifest, manifest_file: str | Path) -> None:
    """Raise a `UserError` if somebody has taken out a part of a source."""
    for split, record in manifest.splits.items():
        if record.annotations is None and record.coco is not None:
            raise UserError(
                f"{manifest_file}, {split}: 'coco' is {record.coco!r}, but there is no "
                f"'annotations'; unlabelled images can't be fetched"
            )
        if record.annotations is not None and record.sha256 is None:
            raise UserError(
                f"{manifest_file}, {split}: there is no 'sha256' to know {record.annotations} by"
            )


def _fetchable(source: SplitSource, server: CocoServer) -> SplitSource:
    """The source where it is, or else in the server's cache."""
    if source.coco is None or source.annotations.is_file():
        return source
    file, images = server.annotation_file(source.coco), server.images_dir(source.coco)
    return replace(source, annotations=file, images=images)


def _open(plan: SubsetPlan, server: CocoServer | None) -> dict[str, Pool]:
    """The checked plan's annotation files, fetched if need be, and their labels."""
    check_plan(plan)
    for source in plan.splits.values():
        if server is not None and source.coco is not None:
            if not source.annotations.is_file():
                server.fetch_annotations(source.coco)
            source.images.mkdir(parents=True, exist_ok=True)
    check_folders(plan)
    return _read_pools(plan)


def _draw(plan: SubsetPlan, pools: Mapping[str, Pool]) -> dict[str, list[int]]:
    counts = {split: source.count for split, source in plan.splits.items() if split in pools}
    if plan.splitting is None:
        share = None if plan.keep_empty else plan.negatives
        return draw_images(pools, counts, negatives=share, seed=plan.seed)
    pool = next(iter(pools.values()))
    groups = None
    if plan.splitting.group_duplicates:
        groups = near_duplicate_groups(pool.file.path, pool.images_dir)
    return split_images(
        pool, plan.splitting, counts, negatives=plan.negatives, seed=plan.seed, groups=groups
    )


def _fetch_images(
    plan: SubsetPlan,
    pools: Mapping[str, Pool],
    ids: Mapping[str, list[int]],
    server: CocoServer | None,
) -> None:
    for split, pool in pools.items():
        if server is not None and (coco := plan.splits[split].coco) is not None:
            server.fetch_images(coco, pool.images_dir, chosen_images(pool, ids[split]))


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
    for name in names:
        check_text(source.images / name)
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
    check_target(target, overwrite)
    manifest = new_manifest(plan)
    with new_folder(target, overwrite=overwrite) as folder:
        for split in sorted(plan.splits, key=DRAWING_ORDER.index, reverse=True):
            if split in pools:
                document, record = labelled_split(pools[split], ids[split], plan.classes)
            else:
                document, record = unlabelled_split(
                    plan.splits[split].images, names[split], plan.classes
                )
            record.count, record.coco = plan.splits[split].count, plan.splits[split].coco
            if not document["images"]:
                raise UserError(f"{split}: no image of {record.annotations} shows the classes")
            _place_images(document["images"], Path(record.images), folder / "images" / split, copy)
            document["info"] = {"description": f"{plan.name}, {split}: see {MANIFEST}"}
            file = folder / "annotations" / f"{split}.json"
            file.parent.mkdir(exist_ok=True)
            write_document(document, file)
            manifest.splits[split] = record
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        (folder / MANIFEST).write_bytes(text + b"\n")
    return manifest


def check_target(target: Path, overwrite: bool) -> None:
    """Raise a `UserError` unless a subset may become ``target``: only subsets are replaced."""
    check_absent(target, overwrite)
    if os.path.lexists(target) and not (target / MANIFEST).is_file():
        raise UserError(
            f"{target} is no subset, for it has no {MANIFEST}, and --overwrite replaces subsets "
            f"only; choose another name"
        )


def _keep_sources(plan: SubsetPlan, target: Path) -> None:
    for source in plan.splits.values():
        for path in filter(None, (source.annotations, source.images)):
            check_text(path)
            if path.resolve().is_relative_to(target.resolve()):
                raise UserError(f"{target} can't be made from {path}, which lies inside it")


def check_text(path: Path) -> None:
    """Raise a `UserError` if JSON can't hold a path."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{str(path)!r} has bytes that aren't UTF-8, and COCO files and manifests can't hold "
            f"them; rename it"
        ) from None


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
