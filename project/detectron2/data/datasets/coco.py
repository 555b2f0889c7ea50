"""COCO instance annotations → records.

Follows the API of ``detectron2.data.datasets.load_coco_json`` and ``register_coco_instances``. What
is better here: messages name the file, the image and the annotation that is wrong.
"""

from __future__ import annotations

import functools
import json
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from ...structures import BoxMode
from ...structures.rle import compressed_rle
from ...utils.file_io import PathManager
from ..catalog import DatasetCatalog, MetadataCatalog

__all__ = ["load_coco_json", "register_coco_instances"]

logger = logging.getLogger(__name__)

_KEPT_KEYS = ("iscrowd", "bbox", "keypoints", "category_id")


def register_coco_instances(name: str, metadata: dict, json_file: str, image_root: str) -> None:
    """Make a COCO dataset known under ``name``; its file isn't read before it is used.

    A name that is registered already keeps its loader.

    Args:
        name: of the dataset.
        metadata: further fields for `MetadataCatalog`.
        json_file: COCO annotations.
        image_root: the folder to which the file names in ``json_file`` are relative.

    Raises:
        AssertionError: for arguments of a wrong type, or metadata that contradict earlier ones.
    """
    assert isinstance(name, str), f"A dataset name is a string, got {name!r}"
    for path in (json_file, image_root):
        assert isinstance(path, (str, os.PathLike)), f"Expected a path, got {path!r}"
    if name not in DatasetCatalog:
        loader = functools.partial(load_coco_json, json_file, image_root, name)
        DatasetCatalog.register(name, loader)
    MetadataCatalog.get(name).set(
        json_file=json_file, image_root=image_root, evaluator_type="coco", **metadata
    )


def load_coco_json(
    json_file: str,
    image_root: str,
    dataset_name: str | None = None,
    extra_annotation_keys: Sequence[str] | None = None,
) -> list[dict]:
    """One record for each image of a COCO annotation file, sorted by image id.

    Args:
        json_file: instances in COCO's format; may lack annotations (a test set).
        image_root: folder to which the file names in ``json_file`` are relative.
        dataset_name: its metadata are given ``thing_classes`` (names by ascending category id) and
            ``thing_dataset_id_to_contiguous_id`` (category id → 0..K-1), and category ids become
            contiguous. None keeps the ids of the file.
        extra_annotation_keys: further keys of annotations to keep.

    Returns:
        Dicts with ``file_name``, ``height``, ``width``, ``image_id`` and ``annotations``: dicts
        with ``bbox`` (XYWH pixels), ``bbox_mode``, ``category_id``, and where the file has them
        ``iscrowd``, ``segmentation`` (polygons, or compressed RLE) and ``keypoints`` (half a pixel
        added: COCO counts pixels, records hold continuous coordinates). Polygons of fewer than
        three points are dropped, and so are annotations that had no others.

    Raises:
        KeyError: if an annotation's category isn't in the file (with ``dataset_name``).
        ValueError: if an annotation has an empty ``bbox``.
        AssertionError: if annotation ids aren't unique, or an annotation has ``ignore`` set.
    """
    with open(PathManager.get_local_path(json_file), encoding="utf-8") as file:
        content = json.load(file)
    annotations = content.get("annotations", [])
    _check_unique_ids(annotations, str(json_file))
    id_map = None
    if dataset_name is not None:
        id_map = _register_categories(content["categories"], dataset_name)

    by_image = defaultdict(list)
    for annotation in annotations:
        by_image[annotation["image_id"]].append(annotation)
    reader = _AnnotationReader(str(json_file), id_map, extra_annotation_keys or ())
    records = [
        {
            "file_name": os.path.join(image_root, image["file_name"]),
            "height": image["height"],
            "width": image["width"],
            "image_id": image["id"],
            "annotations": reader.read_all(by_image[image["id"]]),
        }
        for image in sorted(content["images"], key=lambda image: image["id"])
    ]
    logger.info("Loaded %d images of %s", len(records), json_file)
    if reader.dropped:
        logger.warning(
            "%s: dropped %d annotations without a valid polygon (6 values or more, evenly many)",
            json_file,
            reader.dropped,
        )
    return records


def _check_unique_ids(annotations: Iterable[dict], json_file: str) -> None:
    if "minival" in json_file:
        return  # the published COCO minival files repeat ids, harmlessly
    repeated = [i for i, n in Counter(a["id"] for a in annotations if "id" in a).items() if n > 1]
    assert not repeated, f"{json_file}: annotation ids must be unique, repeated: {repeated[:5]}"


def _register_categories(categories: list[dict], dataset_name: str) -> dict[int, int]:
    """Write class names and id map of the file to the metadata; returns the map."""
    categories = sorted(categories, key=lambda category: category["id"])
    ids = [category["id"] for category in categories]
    id_map = {category_id: index for index, category_id in enumerate(ids)}
    if ids != list(range(1, len(ids) + 1)):
        logger.warning(
            "Category ids of %s aren't 1..%d; they are mapped to 0..%d in ascending order",
            dataset_name,
            len(ids),
            len(ids) - 1,
        )
    MetadataCatalog.get(dataset_name).set(
        thing_classes=[category["name"] for category in categories],
        thing_dataset_id_to_contiguous_id=id_map,
    )
    return id_map


class _AnnotationReader:
    """Turns annotations of a file into those of records; counts in ``dropped`` those it can't."""

    def __init__(
        self, json_file: str, id_map: dict[int, int] | None, extra_keys: Sequence[str]
    ) -> None:
        self._json_file = json_file
        self._id_map = id_map
        self._keys = (*_KEPT_KEYS, *extra_keys)
        self.dropped = 0

    def read_all(self, annotations: list[dict]) -> list[dict]:
        """The usable ones, in the order of the file."""
        read = [self._read(annotation) for annotation in annotations]
        self.dropped += read.count(None)
        return [annotation for annotation in read if annotation is not None]

    def _read(self, annotation: dict) -> dict | None:
        where = (
            f"{self._json_file}, image {annotation['image_id']}, annotation {annotation.get('id')}"
        )
        assert annotation.get("ignore", 0) == 0, f"{where}: 'ignore' isn't supported"
        record = {key: annotation[key] for key in self._keys if key in annotation}
        if "bbox" in record and len(record["bbox"]) == 0:
            raise ValueError(f"{where}: the bbox is empty")
        if annotation.get("segmentation"):
            record["segmentation"] = _readable(annotation["segmentation"])
            if not record["segmentation"]:
                return None
        if record.get("keypoints"):
            record["keypoints"] = [
                value if place % 3 == 2 else value + 0.5  # x, y, visibility
                for place, value in enumerate(record["keypoints"])
            ]
        record["bbox_mode"] = BoxMode.XYWH_ABS
        if self._id_map is not None:
            record["category_id"] = self._contiguous(annotation["category_id"], where)
        return record

    def _contiguous(self, category_id: int, where: str) -> int:
        if category_id not in self._id_map:
            raise KeyError(
                f"{where}: category_id {category_id} is none of the file's categories "
                f"{list(self._id_map)}"
            )
        return self._id_map[category_id]


def _readable(segmentation: dict | list) -> dict | list:
    """RLE in compressed form, or the polygons that enclose something (maybe none)."""
    if isinstance(segmentation, dict):
        return compressed_rle(segmentation)
    return [part for part in segmentation if len(part) >= 6 and len(part) % 2 == 0]
