"""Records of any registered dataset → a COCO annotation file.

Follows the API of ``detectron2.data.datasets.convert_to_coco_json``. `COCOEvaluator` uses it for
datasets that weren't COCO files to begin with.
"""

from __future__ import annotations

import json
import logging
import os

from ...structures import BoxMode, PolygonMasks
from ...structures.rle import compressed_rle
from ..catalog import DatasetCatalog, MetadataCatalog

__all__ = ["convert_to_coco_json"]

logger = logging.getLogger(__name__)


def convert_to_coco_json(dataset_name: str, output_file: str, allow_cached: bool = True) -> None:
    """Write the ground truth of ``dataset_name`` as a COCO file.

    Processes that do it at the same time wait for the first one.

    Args:
        dataset_name: a registered dataset whose metadata have ``thing_classes``.
        output_file: local path to write; its folder is made.
        allow_cached: keep a file that is already there.
    """
    from iopath.common.file_io import file_lock

    with file_lock(output_file):  # makes the folder, too
        if allow_cached and os.path.exists(output_file):
            logger.warning("Using the COCO file made before: %s", output_file)
            return
        content = _coco_content(dataset_name)
        # Written aside and moved, so that an interrupted run leaves no half file to be found.
        unfinished = output_file + ".tmp"
        with open(unfinished, "w", encoding="utf-8") as file:
            json.dump(content, file)
        os.replace(unfinished, output_file)


def _coco_content(dataset_name: str) -> dict:
    """The records in COCO's format, with annotation ids from 1 and the dataset's category ids."""
    metadata = MetadataCatalog.get(dataset_name)
    id_map = metadata.get("thing_dataset_id_to_contiguous_id", {})
    category_ids = {contiguous: original for original, contiguous in id_map.items()}
    images, annotations = [], []
    for index, record in enumerate(DatasetCatalog.get(dataset_name)):
        image_id = record.get("image_id", index)
        images.append(
            {
                "id": image_id,
                "width": int(record["width"]),
                "height": int(record["height"]),
                "file_name": str(record["file_name"]),
            }
        )
        for annotation in record.get("annotations", []):
            contiguous = annotation["category_id"]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category_ids.get(contiguous, contiguous),
                    "iscrowd": int(annotation.get("iscrowd", 0)),
                    **_geometry(annotation),
                }
            )
    categories = [
        {"id": category_ids.get(index, index), "name": name}
        for index, name in enumerate(metadata.thing_classes)
    ]
    return {
        "info": {"description": f"Made from the registered dataset {dataset_name}"},
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }


def _geometry(annotation: dict) -> dict:
    """``bbox`` (XYWH), ``area`` in square pixels, and ``segmentation`` and ``keypoints`` if any."""
    mode = BoxMode(annotation["bbox_mode"])
    box = [float(side) for side in annotation["bbox"]]
    if mode == BoxMode.XYWHA_ABS:
        box, mode = BoxMode.convert(box, mode, BoxMode.XYXY_ABS), BoxMode.XYXY_ABS
    x, y, width, height = BoxMode.convert(box, mode, BoxMode.XYWH_ABS)
    geometry = {"bbox": [x, y, width, height], "area": width * height}
    if segmentation := annotation.get("segmentation"):
        geometry |= _segmentation(segmentation)
    if "keypoints" in annotation:
        points = [float(value) for value in annotation["keypoints"]]
        geometry["keypoints"] = [v if i % 3 == 2 else v - 0.5 for i, v in enumerate(points)]
        geometry["num_keypoints"] = sum(visibility > 0 for visibility in points[2::3])
    return geometry


def _segmentation(segmentation: dict | list) -> dict:
    """``segmentation`` as JSON can hold it, and its ``area``."""
    if isinstance(segmentation, list):
        polygons = [[float(value) for value in part] for part in segmentation]
        return {"segmentation": polygons, "area": PolygonMasks([polygons]).area().item()}
    import pycocotools.mask

    segmentation = compressed_rle(segmentation)
    counts = segmentation["counts"]
    if isinstance(counts, bytes):
        counts = counts.decode("ascii")
    rle = {"size": list(segmentation["size"]), "counts": counts}
    return {"segmentation": rle, "area": float(pycocotools.mask.area(rle))}
