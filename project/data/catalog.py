"""Subsets by name: registered when a config's dataset node is built, never at import.

A subset is a folder ``<root>/<subset>`` with ``annotations/<split>.json`` and
``images/<split>/``, as `project.data.subset` writes it; its registered name is
``<subset>_<split>``. ``scenes`` is built in and made on first use.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from pathlib import Path

from project.data.coco_file import CocoFile, read_bytes, read_coco_file
from project.data.coco_masks import Rle, check_mask
from project.data.manifest import MANIFEST
from project.data.root import datasets_root
from project.errors import UserError, unknown_name

import msgspec
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from detectron2.structures import BoxMode

SCENES = "scenes"


class SubsetDicts(list):
    """Dataset dicts of one split, with the class names that their ``category_id`` counts."""

    def __init__(self, records: Iterable[dict], class_names: Sequence[str]) -> None:
        super().__init__(records)
        self.class_names = tuple(class_names)


def subset_dir(subset: str, root: str | Path | None = None) -> Path:
    """The absolute folder of a subset; the built-in scenes are drawn if they aren't there yet."""
    if subset == SCENES:
        from project.data.scenes import make_scenes

        return Path(make_scenes(datasets_root(root))).absolute()
    return (datasets_root(root) / subset).absolute()


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
    subset: str, split: str, root: str | Path | None = None, filter_empty: bool = False
) -> SubsetDicts:
    """Dataset dicts of a split, registered and loaded through the catalog, in order of image id.

    Records are those of `detectron2.data.datasets.load_coco_json`, plus the annotations' ``id``.
    Unlabelled splits have no ``annotations`` key.

    Args:
        filter_empty: leave out images that have no object except crowd regions.

    Raises:
        UserError: if the subset isn't there, or its files hold anything that would become a wrong
            label.
    """
    name = register_subset(subset, split, root)
    if filter_empty and not num_images(subset, split, root, filter_empty=True):
        raise UserError(f"dataset {name!r} has no annotated image to train on")
    records = get_detection_dataset_dicts(name, filter_empty=filter_empty)
    return SubsetDicts(records, MetadataCatalog.get(name).thing_classes)


def class_names(subset: str, root: str | Path | None = None) -> list[str]:
    """The classes of a subset in the order of ``category_id``."""
    folder = subset_dir(subset, root)
    files = sorted(folder.glob("annotations/*.json"))
    if not files:
        raise UserError(_missing(subset, folder))
    summary = _summary(files[0])
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
    return (
        f"{unknown_name('subset', subset, [*known, SCENES])}: no annotations in {folder}; make it "
        f"with `python datasets/prepare_coco_subset.py --name {subset} --root {folder.parent} "
        f"...` (see datasets/README.md), or point DETECTRON2_DATASETS at the folder that holds it"
    )


def _load_split(subset: str, split: str, json_file: str, image_root: str) -> list[dict]:
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


def _records(file: CocoFile, index: dict[int, int], image_root: str) -> list[dict]:
    images = sorted(file.images, key=lambda image: image.id)
    records = {
        image.id: {
            "file_name": os.path.join(image_root, image.file_name),
            "height": image.height,
            "width": image.width,
            "image_id": image.id,
        }
        for image in images
    }
    if file.annotations is None:
        return list(records.values())
    for record in records.values():
        record["annotations"] = []
    for annotation in file.annotations:
        record = records[annotation.image_id]
        record["annotations"].append(_object(file, annotation, record, index))
    return list(records.values())


def _object(file: CocoFile, annotation, record: dict, index: dict[int, int]) -> dict:
    where = f"{file.path}: annotation {annotation.id} of image {record['image_id']}"
    if annotation.ignore:
        raise UserError(f"{where} is marked 'ignore', which training can't honour; leave it out")
    checked = check_mask(annotation.segmentation, record["height"], record["width"])
    if checked.problem:
        raise UserError(
            f"{where}: {checked.problem}; datasets/prepare_coco_subset.py leaves such annotations "
            f"out and lists them"
        )
    if annotation.bbox is None or min(annotation.bbox[2:]) <= 0:
        raise UserError(f"{where}: bbox {annotation.bbox} has no extent")
    return {
        "id": annotation.id,
        "iscrowd": int(bool(annotation.iscrowd)),
        "bbox": list(annotation.bbox),
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": index[annotation.category_id],
        "segmentation": _segmentation(checked.mask),
    }


def _segmentation(mask: list | Rle) -> list | dict:
    """Polygons as they are; RLE compressed, as the mapper and pycocotools decode it."""
    if not isinstance(mask, Rle):
        return mask
    size = list(mask.size)
    if isinstance(mask.counts, str):
        return {"size": size, "counts": mask.counts}
    from pycocotools import mask as coco_mask

    return coco_mask.frPyObjects({"size": size, "counts": mask.counts}, *size)
