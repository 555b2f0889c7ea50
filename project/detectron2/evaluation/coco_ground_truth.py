"""COCO ground truth that pycocotools can evaluate: loading, repairing.

Part of the implementation of `COCOEvaluator`.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator

import numpy as np

from ..structures.rle import compressed_rle
from ..utils.file_io import PathManager

logger = logging.getLogger(__name__)

_AREA_CHUNK = 255  # pycocotools 2.0.11 under NumPy 2.4 fails on longer lists


@contextlib.contextmanager
def quiet_pycocotools() -> Iterator[None]:
    """What pycocotools prints goes to the log (DEBUG); its NumPy warnings go nowhere."""
    printed = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
        warnings.simplefilter("ignore")
        yield
    for line in filter(str.strip, printed.getvalue().splitlines()):
        logger.debug("pycocotools: %s", line)


def coco_index(dataset: dict):
    """A ``pycocotools.coco.COCO`` over a dataset in COCO's json form."""
    from pycocotools.coco import COCO

    with quiet_pycocotools():
        coco = COCO()
        coco.dataset = dataset
        coco.createIndex()
    return coco


def load_ground_truth(json_file: str) -> dict:
    """The content of an annotation file, repaired by `repair`."""
    with PathManager.open(json_file) as file:
        return repair(json.load(file), json_file)


def repair(dataset: dict, name: str = "ground truth") -> dict:
    """Make a dataset in COCO's json form safe for pycocotools, in place.

    * missing ``info`` and ``licenses`` are added;
    * annotation ids below 1, or ones that come twice, are replaced by 1, 2, ...: pycocotools takes
      id 0 for "no match", which silently ruins AP;
    * polygons of fewer than 3 points or of odd length are removed;
    * missing ``iscrowd`` and ``area`` are filled in.

    Args:
        dataset: images, categories, annotations; without annotations nothing is repaired.
        name: for the log.
    """
    dataset.setdefault("info", {})
    dataset.setdefault("licenses", [])
    annotations = dataset.get("annotations", [])
    ids = [annotation.get("id", 0) for annotation in annotations]
    if len(set(ids)) < len(ids) or min(ids, default=1) < 1:
        logger.warning("%s: annotation ids below 1 or repeated; numbered anew from 1", name)
        for number, annotation in enumerate(annotations, 1):
            annotation["id"] = number
    sizes = {image["id"]: (image["height"], image["width"]) for image in dataset["images"]}
    for annotation in annotations:
        annotation.setdefault("iscrowd", 0)
        segmentation = annotation.get("segmentation")
        if isinstance(segmentation, list):
            annotation["segmentation"] = [p for p in segmentation if _is_polygon(p)]
        if "area" not in annotation:
            annotation["area"] = _area(annotation, sizes)
    return dataset


def _is_polygon(part) -> bool:
    return len(part) >= 6 and len(part) % 2 == 0


def _area(annotation: dict, sizes: dict) -> float:
    """Pixels of the mask, else of the box."""
    if annotation.get("segmentation"):
        rle = to_rle(annotation["segmentation"], *sizes[annotation["image_id"]])
        return float(mask_areas([rle])[0])
    _, _, width, height = annotation["bbox"]
    return width * height


def to_rle(segmentation: list | dict, height: int, width: int) -> dict:
    """Polygons or RLE (counts as list, text or bytes) as one RLE with compressed counts."""
    if isinstance(segmentation, dict):
        return compressed_rle(segmentation)
    from pycocotools import mask as coco_mask

    return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))


def mask_areas(rles: list[dict]) -> np.ndarray:
    """Pixels of each RLE, int64 [N]."""
    from pycocotools import mask as coco_mask

    chunks = [rles[i : i + _AREA_CHUNK] for i in range(0, len(rles), _AREA_CHUNK)]
    with quiet_pycocotools():
        areas = [np.asarray(coco_mask.area(chunk), dtype=np.int64) for chunk in chunks]
    return np.concatenate([np.zeros(0, dtype=np.int64), *areas])


def with_masks_only(dataset: dict) -> dict:
    """The dataset without annotations that have no mask: segmentation can't be judged there."""
    annotations = dataset["annotations"]
    kept = [annotation for annotation in annotations if annotation.get("segmentation")]
    if len(kept) == len(annotations):
        return dataset
    left_out = len(annotations) - len(kept)
    logger.warning("%d annotations without a mask are left out of the task 'segm'", left_out)
    return {**dataset, "annotations": kept}
