"""The built-in scenes as COCO files on disk, made on first use.

The tree is the one that every subset of this project has::

    <root>/scenes/<version>/manifest.json
    <root>/scenes/<version>/annotations/{train,val,test}.json
    <root>/scenes/<version>/images/{train,val,test}/000001.jpg ...

``<version>`` names the generator, the seed and the sizes, so a changed generator makes a new folder
and never mixes with an old one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from project.data.publish import new_folder
from project.data.scenes.scene import SCENES_CLASSES, Scene, SceneObject, draw_scene
from project.errors import UserError, unknown_name

import numpy as np

GENERATOR_VERSION = 1  # raise it with every change of a pixel or of a record
DEFAULT_SIZES = {"train": 400, "val": 240, "test": 30}
_FIRST_INDEX = {"train": 0, "val": 1_000_000, "test": 2_000_000}  # splits never share a scene
_JPEG_QUALITY = 95
_MIN_POLYGON_IOU = 0.95


def make_scenes(root: str | Path, sizes: Mapping[str, int] | None = None, seed: int = 0) -> Path:
    """The folder ``<root>/scenes/<version>`` with the scenes; it is drawn if it isn't there yet.

    Several processes may call it at once: one draws, the others wait. The folder appears complete or
    not at all.

    Args:
        sizes: images per split, of the splits "train", "val" and "test"; splits that it doesn't name
            aren't made. None: `DEFAULT_SIZES`.
        seed: 0 or more; another seed, another world.

    Raises:
        UserError: for an unknown split, a size below 1 or a negative seed.
    """
    from iopath.common.file_io import file_lock

    sizes = _checked_sizes(DEFAULT_SIZES if sizes is None else sizes)
    if seed < 0:
        raise UserError(f"the scenes' seed is {seed}; expected 0 or more")
    folder = Path(root) / "scenes" / scenes_version(sizes, seed)
    if folder.is_dir():
        return folder
    with file_lock(str(folder)):
        if not folder.is_dir():
            _write_folder(folder, sizes, seed)
    return folder


def scenes_version(sizes: Mapping[str, int], seed: int) -> str:
    """Name of the folder for these ``sizes`` and ``seed``, such as ``v1-0f3a9c21``."""
    key = json.dumps([GENERATOR_VERSION, seed, sorted(sizes.items())])
    return f"v{GENERATOR_VERSION}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def scene_record(scene: Scene, image_id: int, first_annotation_id: int) -> tuple[dict, list[dict]]:
    """The COCO ``images`` entry of a scene and its ``annotations``, numbered from the given ids."""
    height, width = scene.image.shape[:2]
    image = {
        "id": image_id,
        "file_name": f"{image_id:06d}.jpg",
        "height": height,
        "width": width,
        "scene_seed": scene.seed,
        "scene_index": scene.index,
    }
    annotations = [
        {"id": first_annotation_id + i, "image_id": image_id, **_annotation(item)}
        for i, item in enumerate(scene.objects)
    ]
    return image, annotations


def _checked_sizes(sizes: Mapping[str, int]) -> dict[str, int]:
    for split, size in sizes.items():
        if split not in _FIRST_INDEX:
            raise UserError(unknown_name("split of the scenes", split, _FIRST_INDEX))
        if size < 1:
            raise UserError(f"size of the scenes' split {split!r} is {size}; expected 1 or more")
    return {split: int(sizes[split]) for split in _FIRST_INDEX if split in sizes}


def _write_folder(folder: Path, sizes: Mapping[str, int], seed: int) -> None:
    """Draw everything; nobody ever sees half a folder."""
    splits = {}
    with new_folder(folder) as work:
        (work / "annotations").mkdir()
        for split, size in sizes.items():
            coco = _write_split(work / "images" / split, split, size, seed)
            _write_json(work / "annotations" / f"{split}.json", coco)
            splits[split] = {"images": size, "annotations": len(coco["annotations"])}
        manifest = {
            "name": "scenes",
            "version": folder.name,
            "generator": GENERATOR_VERSION,
            "seed": seed,
            "classes": list(SCENES_CLASSES),
            "splits": splits,
        }
        _write_json(work / "manifest.json", manifest)


def _write_split(image_dir: Path, split: str, size: int, seed: int) -> dict:
    """Draw the pictures of one split into ``image_dir``; returns its COCO dictionary."""
    import cv2

    image_dir.mkdir(parents=True)
    images, annotations = [], []
    for i in range(size):
        scene = draw_scene(seed, _FIRST_INDEX[split] + i)
        image, items = scene_record(scene, i + 1, len(annotations) + 1)
        options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        done, data = cv2.imencode(".jpg", scene.image[..., ::-1], options)
        assert done, image["file_name"]
        (image_dir / image["file_name"]).write_bytes(data.tobytes())
        images.append(image)
        annotations.extend(items)
    return {
        "info": {"description": f"built-in scenes, {split}", "version": GENERATOR_VERSION},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": i, "name": name, "supercategory": "scenes"}
            for i, name in enumerate(SCENES_CLASSES, start=1)
        ],
    }


def _write_json(file: Path, content: dict) -> None:
    file.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")


def _annotation(item: SceneObject) -> dict:
    import cv2

    x, y, width, height = cv2.boundingRect(item.visible.view(np.uint8))
    return {
        "category_id": SCENES_CLASSES.index(item.name) + 1,
        "bbox": [x, y, width, height],
        "area": int(item.visible.sum()),
        "segmentation": _segmentation(item),
        "iscrowd": int(item.crowd),
        "occlusion": round(item.occlusion, 4),
    }


def _segmentation(item: SceneObject) -> list[list[float]] | dict:
    """Polygons where they tell the visible mask well; run lengths for crowds, holes and crumbs."""
    from pycocotools import mask as coco_mask

    rle = coco_mask.encode(np.asfortranarray(item.visible.view(np.uint8)))
    polygons = None if item.crowd else _polygons(item.visible)
    if polygons:
        drawn = coco_mask.merge(coco_mask.frPyObjects(polygons, *item.visible.shape))
        if coco_mask.iou([drawn], [rle], [False])[0, 0] >= _MIN_POLYGON_IOU:
            return polygons
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("utf-8")}


def _polygons(mask: np.ndarray) -> list[list[float]] | None:
    """Outlines of ``mask`` in picture coordinates; None where it has a hole.

    Outlines run along the pixels' borders: OpenCV traces the centres of border pixels, so they are
    traced on a mask of four times the size, where the difference is an eighth of a pixel.
    """
    import cv2

    fine = cv2.resize(mask.view(np.uint8), None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
    outlines, tree = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if (tree[0, :, 3] >= 0).any():
        return None
    polygons = []
    for outline in outlines:
        points = cv2.approxPolyDP(outline, 2.2, closed=True)[:, 0]
        if len(points) >= 3:
            polygons.append(((points + 0.5) / 4).round(2).ravel().tolist())
    return polygons
