"""The repaired records of one annotation file."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from project.data.audit.categories import ambiguous_ids
from project.data.audit.objects import Objects, twins
from project.data.audit.repair_objects import Mender
from project.data.audit.source import RECORDS, Split
from project.data.coco_file import check_file_name
from project.errors import UserError

import msgspec


@dataclass(frozen=True)
class Change:
    """One thing that differs between source and copy; ids are the source's."""

    kind: str
    split: str
    image_id: int | None
    annotation_id: int | None
    what: str


class Labels:
    """Repairs ``document``, the plain content of a COCO file, in place.

    Args:
        categories: the categories of all files, as the copy numbers them.

    Attributes:
        changes: what was changed, in order.
    """

    def __init__(
        self, split: Split, objects: Objects, document: dict, categories: list[dict]
    ) -> None:
        self.split, self.objects, self.document = split, objects, document
        self.categories = categories
        self.changes: list[Change] = []

    def repair(self, unwanted: Mapping[int, tuple[str, str]]) -> None:
        """Do all repairs; images of the ids ``unwanted`` (id → kind, reason) go."""
        self._drop_malformed()
        owners = self._repair_images(unwanted)
        if self.split.labelled:
            kept = self._keep_annotations(owners)
            mender = Mender(self.objects, self.document["annotations"], self.note)
            kept = [i for i in kept if mender.mend(i)]
            self.document["annotations"] = [self.document["annotations"][i] for i in kept]
            self._number_annotations()
        self._number_categories()

    def note(self, kind: str, what: str, image: int | None, annotation: int | None) -> None:
        """Add one line to the list of changes."""
        self.changes.append(Change(kind, self.split.name, image, annotation, what))

    def _drop_malformed(self) -> None:
        if not self.split.malformed:
            return
        for key, record_type in RECORDS.items():
            records = self.document.get(key) or []
            good = [record for record in records if _fits(record, record_type)]
            if len(good) < len(records):
                what = f"{len(records) - len(good)} of {len(records)} {key} left out"
                self.note("malformed-record", what, None, None)
                self.document[key] = good

    def _repair_images(self, unwanted: Mapping[int, tuple[str, str]]) -> dict[int, int]:
        """Keeps the usable images; returns whose annotations go where: source id → kept id."""
        names = defaultdict(set)
        for image in self.split.images:
            names[image.id].add(os.path.normpath(image.file_name))
        kept, first, owners = [], {}, {}
        for image in self.document["images"]:
            number, name = image["id"], os.path.normpath(image["file_name"])
            problem = unwanted.get(first.get(name, number)) or _record_problem(image)
            if len(names[number]) > 1:
                what = f"{name} left out: its id stands for {len(names[number])} images"
                self.note("duplicate-image-id", what, number, None)
            elif problem:
                self.note(*problem, number, None)
            elif name not in first:
                owners[number] = number
                kept.append(image)
            elif first[name] == number:
                self.note("duplicate-image-id", "the second record left out", number, None)
            else:
                owners[number] = first[name]
                what = f"joined to image {first[name]}, which names the same file"
                self.note("duplicate-file-name", what, number, None)
            first.setdefault(name, number)
        self.document["images"] = kept
        return {number: owner for number, owner in owners.items() if owner in owners}

    def _keep_annotations(self, owners: Mapping[int, int]) -> list[int]:
        """Positions of the annotations that stay, with their image ids brought up to date."""
        lost = self._lost_annotations(owners)
        records = self.document["annotations"]
        for i, (kind, why) in sorted(lost.items()):
            self.note(kind, f"left out: {why}", records[i]["image_id"], records[i]["id"])
        kept = [i for i in range(len(records)) if i not in lost]
        for i in kept:
            records[i]["image_id"] = owners[records[i]["image_id"]]
        return kept

    def _lost_annotations(self, owners: Mapping[int, int]) -> dict[int, tuple[str, str]]:
        """Positions of the annotations that can't stay → (kind, reason)."""
        images = {image.id for image in self.split.images}
        known = {category.id for category in self.split.categories}
        unclear = ambiguous_ids(self.split.categories)
        masks = self.objects.masks
        lost: dict[int, tuple[str, str]] = {}
        for i, annotation in enumerate(self.split.annotations):
            if annotation.image_id not in images:
                lost[i] = "dangling-image", f"no image has the id {annotation.image_id}"
            elif annotation.image_id not in owners:
                lost[i] = "left-out-image", "its image was left out"
            elif annotation.category_id not in known:
                lost[i] = "dangling-category", f"no category has the id {annotation.category_id}"
            elif annotation.category_id in unclear:
                lost[i] = "duplicate-category-id", "its category id stands for two names"
            elif annotation.ignore:
                lost[i] = "ignored-annotation", "it is marked 'ignore'"
            elif masks.fault[i]:
                lost[i] = masks.fault[i], masks.detail[i]
        classes, ids = self.objects.category_ids, self.objects.ids
        for i, j, _ in twins(self.objects):
            if i not in lost and j not in lost and classes[i] == classes[j]:
                lost[j] = "duplicate-object", f"it outlines the same as annotation {ids[i]}"
        return lost

    def _number_annotations(self) -> None:
        """Annotation ids below 1 and repeated ones get new numbers, after the highest."""
        records = self.document["annotations"]
        following = max([0, *(record["id"] for record in records)])
        taken: set[int] = set()
        for record in records:
            old = record["id"]
            if old < 1 or old in taken:
                following += 1
                kind = "annotation-id-below-1" if old < 1 else "duplicate-annotation-id"
                self.note(kind, f"its id is now {following}", record["image_id"], old)
                record["id"] = following
            taken.add(record["id"])

    def _number_categories(self) -> None:
        """All files list all categories, with the same ids."""
        numbers = {category["name"]: category["id"] for category in self.categories}
        here = self.document["categories"]
        for name, old in dict.fromkeys((c["name"], c["id"]) for c in here):
            if numbers[name] != old:
                what = f"category {name!r} had id {old}, now {numbers[name]}"
                self.note("category-id-differs", what, None, None)
        for name, times in Counter(category["name"] for category in here).items():
            if times > 1:
                what = f"{times} categories {name!r} joined"
                self.note("duplicate-category-name", what, None, None)
        known = {category["name"]: category for category in reversed(here)}
        for name in numbers:
            if name not in known:
                what = f"category {name!r} (id {numbers[name]}) added, which other files have"
                self.note("categories-differ", what, None, None)
        names = {category["id"]: category["name"] for category in reversed(here)}
        for record in self.document.get("annotations") or ():
            record["category_id"] = numbers[names[record["category_id"]]]
        self.document["categories"] = [{**known.get(c["name"], {}), **c} for c in self.categories]


def _fits(record: object, record_type: type) -> bool:
    try:
        # As text again: `Raw` fields are only known to the decoder.
        msgspec.json.decode(msgspec.json.encode(record), type=record_type)
    except msgspec.ValidationError:
        return False
    return True


def _record_problem(image: dict) -> tuple[str, str] | None:
    if image["height"] < 1 or image["width"] < 1:
        return "size-below-1", f"left out: it is {image['height']} by {image['width']} pixels"
    try:
        check_file_name(image["file_name"], "")
    except UserError:
        return "unsafe-file-name", f"left out: {image['file_name']!r} leaves the image folder"
    return None
