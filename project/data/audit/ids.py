"""Ids, names and references: inside one file, and between files."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from project.data.audit.findings import Finding, finding
from project.data.audit.source import Split
from project.data.coco_file import check_file_name
from project.errors import UserError


def check_ids(split: Split) -> Iterator[Finding]:
    """What is wrong with the records, ids, names and references of one file."""
    yield from split.malformed
    if split.file == split.folder:
        return  # a bare folder has no records of its own
    yield from _images(split)
    yield from _categories(split)
    yield from _annotations(split)


def _images(split: Split) -> Iterator[Finding]:
    by_id, by_name = defaultdict(list), defaultdict(list)
    for image in split.images:
        by_id[image.id].append(image)
        by_name[os.path.normpath(image.file_name)].append(image)
        if image.height < 1 or image.width < 1:
            size = f"{image.height} by {image.width} (height, width)"
            yield finding(
                "size-below-1", split.file, f"its size is recorded as {size}", image=image.id
            )
        try:
            check_file_name(image.file_name, str(split.file))
        except UserError:
            what = f"file_name {image.file_name!r} leaves the image folder"
            yield finding("unsafe-file-name", split.file, what, image=image.id)
    for number, images in by_id.items():
        if len(images) > 1:
            what = f"{len(images)} images have this id: {_some(i.file_name for i in images)}"
            yield finding("duplicate-image-id", split.file, what, image=number)
    for name, images in by_name.items():
        ids = list(dict.fromkeys(image.id for image in images))
        for number in ids[1:]:
            what = f"file_name {name!r} is also that of image {ids[0]}"
            yield finding("duplicate-file-name", split.file, what, image=number)


def _categories(split: Split) -> Iterator[Finding]:
    by_id, by_name, by_loose_name = (defaultdict(list) for _ in range(3))
    for category in split.categories:
        by_id[category.id].append(category.name)
        by_name[category.name].append(category.id)
        by_loose_name[" ".join(category.name.lower().split())].append(category.name)
    for number, names in by_id.items():
        if len(names) > 1:
            what = f"category id {number} is given to {_some(map(repr, names))}"
            yield finding("duplicate-category-id", split.file, what)
    for name, ids in by_name.items():
        if len(set(ids)) > 1:
            yield finding(
                "duplicate-category-name", split.file, f"category {name!r} has ids {_some(ids)}"
            )
    for names in by_loose_name.values():
        if len(set(names)) > 1:
            alike = _some(map(repr, dict.fromkeys(names)))
            what = f"categories {alike} differ only in case or spaces"
            yield finding("category-name-clash", split.file, what)
    if split.labelled:
        used = {annotation.category_id for annotation in split.annotations}
        for number, names in by_id.items():
            if number not in used:
                what = f"category {names[0]!r} (id {number}) has no annotation"
                yield finding("unused-category", split.file, what)


def _annotations(split: Split) -> Iterator[Finding]:
    images = {image.id for image in split.images}
    categories = {category.id for category in split.categories}
    lost = {f.image_id for f in split.malformed if f.image_id is not None}
    times = Counter(annotation.id for annotation in split.annotations)
    reported = set()
    for annotation in split.annotations:
        where = {"image": annotation.image_id, "annotation": annotation.id}
        if times[annotation.id] > 1 and annotation.id not in reported:
            reported.add(annotation.id)
            what = f"{times[annotation.id]} annotations have this id"
            yield finding("duplicate-annotation-id", split.file, what, **where)
        if annotation.id < 1:
            what = f"annotation id {annotation.id} silently ruins AP; ids must start at 1"
            yield finding("annotation-id-below-1", split.file, what, **where)
        if annotation.image_id not in images:
            what = f"image_id {annotation.image_id} is in no image of the file"
            cause = "malformed-record" if annotation.image_id in lost else None
            yield finding("dangling-image", split.file, what, cause=cause, **where)
        if annotation.category_id not in categories:
            what = f"category_id {annotation.category_id} is in no category of the file"
            yield finding("dangling-category", split.file, what, **where)


def check_across(splits: Sequence[Split]) -> Iterator[Finding]:
    """What doesn't fit between the annotation files; each is compared with all before it."""
    files = []
    for split in splits:  # a file that serves several splits is one file
        if split.file != split.folder and split.file not in [other.file for other in files]:
            files.append(split)
    for number, second in enumerate(files):
        told: set[str] = set()
        for first in files[:number]:
            yield from _categories_across(first, second, told)
            yield from _ids_across(first, second)


def _categories_across(first: Split, second: Split, told: set[str]) -> Iterator[Finding]:
    """Names in ``told`` were reported against an earlier file and are left out."""
    # Of a name that stands there twice, the first counts.
    ids, here = ({c.name: c.id for c in reversed(split.categories)} for split in (first, second))
    only_first, only_second = sorted(ids.keys() - here.keys()), sorted(here.keys() - ids.keys())
    cause = None
    if only_first or only_second:
        cause = "categories-differ"
        what = (
            f"{len(ids)} categories in {first.file}, {len(here)} here; "
            f"only there: {_some(only_first)}; only here: {_some(only_second)}"
        )
        yield finding("categories-differ", second.file, what)
    names_first = {number: name for name, number in ids.items()}
    for name in dict.fromkeys(category.name for category in second.categories):
        number = here[name]
        if name in told:
            continue
        if name in ids:
            if ids[name] != number:
                told.add(name)
                what = f"category {name!r} is {ids[name]} in {first.file} and {number} here"
                yield finding("category-id-differs", second.file, what, cause=cause)
        elif number in names_first and names_first[number] not in here:
            told.add(name)
            what = f"category id {number} is {names_first[number]!r} in {first.file}, {name!r} here"
            yield finding("category-id-clash", second.file, what, cause=cause)


def _ids_across(first: Split, second: Split) -> Iterator[Finding]:
    there = {image.id: image.file_name for image in first.images}
    shared = [image for image in second.images if image.id in there]
    if first.folder == second.folder:  # else they are different files even if their names agree
        shared = [image for image in shared if image.file_name != there[image.id]]
    if shared:
        example = shared[0]
        what = (
            f"{len(shared)} image ids stand for other images in {first.file}: "
            f"{example.id} is {there[example.id]} there, {example.file_name} here"
        )
        yield finding("image-ids-collide", second.file, what)
    there = {annotation.id for annotation in first.annotations}
    number = sum(annotation.id in there for annotation in second.annotations)
    if number:
        what = f"{number} annotation ids stand in {first.file} as well"
        yield finding("annotation-ids-collide", second.file, what)


def _some(values: Iterable, most: int = 5) -> str:
    values = [str(value) for value in values]
    listed = ", ".join(values[:most]) or "none"
    return listed + (f" and {len(values) - most} more" if len(values) > most else "")
