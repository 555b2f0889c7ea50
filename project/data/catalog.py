"""Subsets by name: registered when a config's dataset node is built, never at import.

A subset is a folder ``<root>/<subset>`` with ``annotations/<split>.json`` and
``images/<split>/``, as `project.data.subset` writes it; its registered name is
``<subset>_<split>``. ``scenes``, and ``scenes_person`` with the persons alone, are built in and
made on first use.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path

from project.data.coco_file import CocoAnnotation, CocoFile, CocoImage, read_bytes, read_coco_file
from project.data.coco_masks import Mask, check_mask
from project.data.manifest import MANIFEST
from project.data.record_builder import RecordsBuilder
from project.data.records import FlatRecords
from project.data.root import datasets_root
from project.data.selection import rank
from project.errors import UserError, unknown_name

import msgspec
import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

SCENES = "scenes"
PERSON_SCENES = "scenes_person"
BUILT_IN = (SCENES, PERSON_SCENES)

logger = logging.getLogger(__name__)


class SubsetDicts(Sequence):
    """Dataset dicts of one split, with the class names that their ``category_id`` counts.

    Attributes:
        records: what holds the dicts: a list, or the arrays of `FlatRecords`, which make them anew
            at each access.
    """

    def __init__(self, records: Sequence[dict], class_names: Sequence[str]) -> None:
        self.records = records
        self.class_names = tuple(class_names)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, place: int | slice) -> dict | SubsetDicts:
        found = self.records[place]
        return SubsetDicts(found, self.class_names) if isinstance(place, slice) else found

    def __iter__(self) -> Iterator[dict]:
        return iter(self.records)


def subset_dir(subset: str, root: str | Path | None = None) -> Path:
    """The absolute folder of a subset; the built-in scenes are drawn if they aren't there yet."""
    if subset in BUILT_IN:
        from project.data.scenes import make_person_scenes, make_scenes

        make = {SCENES: make_scenes, PERSON_SCENES: make_person_scenes}[subset]
        return make(datasets_root(root)).absolute()
    return (datasets_root(root) / subset).absolute()


def foreign_root(subset: str, root: object, source: str | Path) -> str | None:
    """The folder of the subsets that somebody's config names; None for the usual one.

    The built-in scenes are drawn where they are missing, and a stranger mustn't choose where that
    is: for them a folder counts only if they are there.

    Args:
        source: file of the config, for the message.

    Raises:
        UserError: if it is no folder's name.
    """
    if not isinstance(root, str | None):
        raise UserError(f"{source}: dataset.root is {root!r}; expected a folder as text, or null")
    missing = root is not None and subset in BUILT_IN and not Path(root, subset).is_dir()
    return None if missing else root


def register_subset(subset: str, split: str, root: str | Path | None = None) -> str:
    """Register one split of a subset; returns its name ``<subset>_<split>``.

    No file is read before the dataset is first used (``thing_classes`` stands in the metadata from
    then on). Calling it again with the same folder is harmless.

    Raises:
        UserError: if the name is registered with another annotation file.
    """
    name = f"{subset}_{split}"
    folder = subset_dir(subset, root)
    json_file = str(folder / "annotations" / f"{split}.json")
    image_root = str(folder / "images" / split)
    metadata = MetadataCatalog.get(name)
    if name in DatasetCatalog.list():
        if (registered := metadata.get("json_file")) != json_file:
            raise UserError(
                f"dataset {name!r} is already registered with {registered}, not with {json_file}; "
                f"one process holds one dataset of a name"
            )
        return name
    DatasetCatalog.register(name, partial(_load_split, subset, split, json_file, image_root))
    metadata.set(json_file=json_file, image_root=image_root, evaluator_type="coco")
    return name


def subset_dicts(
    subset: str,
    split: str,
    root: str | Path | None = None,
    filter_empty: bool = False,
    *,
    num_images: int | None = None,
    seed: int = 0,
) -> SubsetDicts:
    """Dataset dicts of a split, registered and loaded through the catalog, in order of image id.

    Records are those of `detectron2.data.datasets.load_coco_json`, plus the annotations' ``id``.
    Unlabelled splits have no ``annotations`` key.

    Args:
        filter_empty: leave out images that have no object except crowd regions.
        num_images: take so many of the rest; None takes all. A smaller number takes a part of what
            a larger one takes.
        seed: which images ``num_images`` takes.

    Raises:
        UserError: if the subset isn't there, has fewer images than ``num_images``, or its files
            hold anything that would become a wrong label.
    """
    name = register_subset(subset, split, root)
    records = DatasetCatalog.get(name)
    names = MetadataCatalog.get(name).thing_classes
    counts = records.category_counts(len(names))
    if filter_empty and records.labelled:
        records, counts = records.take(counts.any(1)), counts[counts.any(1)]
        if not len(records):
            raise UserError(f"dataset {name!r} has no annotated image to train on")
    if num_images is not None:
        places = draw(records, num_images, seed, name)
        records, counts = records.take(places), counts[places]
    objects = ", ".join(f"{k} {n}" for k, n in zip(names, counts.sum(0).tolist(), strict=True))
    logger.info("%s: %d images; objects: %s", name, len(records), objects)
    return SubsetDicts(records, names)


def draw(records: Sequence[dict], number: int, seed: int, name: str) -> np.ndarray:
    """The places, ascending, of ``number`` records that ``seed`` takes from dataset ``name``."""
    if not isinstance(number, int) or not 1 <= number <= len(records):
        raise UserError(
            f"dataset.num_images={number}: dataset {name!r} has {len(records)} images to take, "
            f"expected 1 to as many"
        )
    ids = [record["image_id"] for record in records]
    return np.sort(sorted(range(len(ids)), key=lambda place: rank(seed, ids[place]))[:number])


def class_names(subset: str, root: str | Path | None = None) -> list[str]:
    """The classes of a subset in the order of ``category_id``.

    Raises:
        UserError: if there is no such subset, or its splits disagree.
    """
    folder = subset_dir(subset, root)
    files = sorted(folder.glob("annotations/*.json"))
    if not files:
        raise UserError(_missing(subset, folder))
    first, *others = ((file, _class_names(_summary(file))) for file in files)
    for file, names in others:
        if names != first[1]:
            raise UserError(
                f"{file} has classes {names} and {first[0].name} has {first[1]}; the splits of a "
                f"subset need the same categories in the same order of ids"
            )
    return first[1]


def _class_names(summary: _Summary) -> list[str]:
    return [category.name for category in sorted(summary.categories, key=lambda c: c.id)]


def num_classes(subset: str, root: str | Path | None = None) -> int:
    """How many classes a subset has."""
    return len(class_names(subset, root))


def num_images(
    subset: str, split: str, root: str | Path | None = None, filter_empty: bool = False
) -> int:
    """How many images a split has; with ``filter_empty`` only those with a non-crowd object.

    Cheap to ask repeatedly: the answer is kept until the file changes.
    """
    folder = subset_dir(subset, root)
    summary = _summary(_split_file(subset, split, folder))
    if filter_empty and summary.annotations is not None:
        return len({a.image_id for a in summary.annotations if not a.iscrowd})
    return len(summary.images)


class _Id(msgspec.Struct):
    id: int


class _Category(msgspec.Struct):
    id: int
    name: str


class _Object(msgspec.Struct):
    image_id: int
    iscrowd: int | bool = 0


class _Summary(msgspec.Struct):
    """The little of a COCO file that counting needs."""

    images: list[_Id]
    categories: list[_Category]
    annotations: list[_Object] | None = None


def _summary(file: Path) -> _Summary:
    return _read_summary(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=32)
def _read_summary(file: Path, changed: int) -> _Summary:
    try:
        return msgspec.json.decode(read_bytes(file, "annotation file"), type=_Summary)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is no readable COCO instances file: {error}") from None


def _split_file(subset: str, split: str, folder: Path) -> Path:
    file = folder / "annotations" / f"{split}.json"
    if file.is_file():
        return file
    if not folder.is_dir():
        raise UserError(_missing(subset, folder))
    known = sorted(path.stem for path in folder.glob("annotations/*.json"))
    raise UserError(f"{folder}: {unknown_name('split', split, known)}; no file {file}")


def _missing(subset: str, folder: Path) -> str:
    known = sorted(p.parent.name for p in folder.parent.glob(f"*/{MANIFEST}"))
    unknown = unknown_name("subset", subset, [*known, *BUILT_IN])
    return (
        f"{unknown}: no annotations in {folder}; make it "
        f"with `python datasets/prepare_coco_subset.py --name {subset} --root {folder.parent} "
        f"...` (see datasets/README.md), or point DETECTRON2_DATASETS at the folder that holds it"
    )


def _load_split(subset: str, split: str, json_file: str, image_root: str) -> FlatRecords:
    """Read, check and convert one split; what the dataset catalog calls."""
    file = read_coco_file(_split_file(subset, split, Path(json_file).parents[1]))
    if not file.images:
        raise UserError(f"{json_file} has no images")
    if not os.path.isdir(image_root):
        raise UserError(f"image folder {image_root} of {json_file} doesn't exist")
    categories = sorted(file.categories, key=lambda category: category.id)
    index = {category.id: position for position, category in enumerate(categories)}
    names = [category.name for category in categories]
    metadata = MetadataCatalog.get(f"{subset}_{split}")
    if (before := metadata.get("thing_classes", names)) != names:
        raise UserError(f"{json_file} has classes {names}, but {before} a moment ago; start anew")
    metadata.set(thing_classes=names, thing_dataset_id_to_contiguous_id=index)
    return _records(file, index, image_root)


def _records(file: CocoFile, index: dict[int, int], image_root: str) -> FlatRecords:
    images = sorted(file.images, key=lambda image: image.id)
    annotations = file.annotations or []
    builder = RecordsBuilder(image_root, labelled=file.annotations is not None)
    position = {image.id: i for i, image in enumerate(images)}
    owners = np.array([position[annotation.image_id] for annotation in annotations], np.int64)
    order = np.argsort(owners, kind="stable")
    borders = np.searchsorted(owners[order], np.arange(len(images) + 1)).tolist()
    for image, start, end in zip(images, borders, borders[1:], strict=False):
        builder.add_image(image.id, image.file_name, image.height, image.width)
        for i in order[start:end].tolist():
            annotation = annotations[i]
            builder.add_object(
                annotation.id,
                index[annotation.category_id],
                annotation.bbox,
                bool(annotation.iscrowd),
                _checked_mask(file, annotation, image),
            )
    return builder.build()


def _checked_mask(file: CocoFile, annotation: CocoAnnotation, image: CocoImage) -> Mask:
    """The mask of an annotation that can be trained on."""
    checked = check_mask(annotation.segmentation, image.height, image.width)
    if annotation.ignore:
        problem = " is marked 'ignore', which training can't honour; leave it out"
    elif checked.problem:
        problem = (
            f": {checked.problem}; datasets/prepare_coco_subset.py leaves such annotations out "
            f"and lists them"
        )
    elif annotation.bbox is None or min(annotation.bbox[2:]) <= 0:
        problem = f": bbox {annotation.bbox} has no extent"
    else:
        return checked.mask
    where = f"{file.path}: annotation {annotation.id} of image {image.id}"
    raise UserError(where + problem)
