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
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from project.data.publish import new_folder
from project.data.scenes.records import scene_record
from project.data.scenes.scene import SCENES_CLASSES, draw_scene
from project.errors import UserError, unknown_name

GENERATOR_VERSION = 1  # raise it with every change of a pixel or of a record
DEFAULT_SIZES = {"train": 400, "val": 240, "test": 30}
FIRST_INDEX = {"train": 0, "val": 1_000_000, "test": 2_000_000}  # splits never share a scene
_JPEG_QUALITY = 95


def make_scenes(root: str | Path, sizes: Mapping[str, int] | None = None, seed: int = 0) -> Path:
    """The folder ``<root>/scenes/<version>`` with the scenes; drawn if it isn't there yet.

    Several processes may call it at once: one draws, the others wait. The folder appears complete
    or not at all.

    Args:
        sizes: images per split, of the splits "train", "val" and "test"; a split that it doesn't
            name isn't made. None: `DEFAULT_SIZES`.
        seed: 0 or more; another seed, another world.

    Raises:
        UserError: for no split, an unknown one, a size below 1 or a negative seed; if the folder
            can't be written.
    """
    sizes = _checked_sizes(DEFAULT_SIZES if sizes is None else sizes)
    if seed < 0:
        raise UserError(f"the scenes' seed is {seed}; expected 0 or more")
    folder = Path(root) / "scenes" / scenes_version(sizes, seed)
    make_once(folder, partial(_write_folder, sizes=sizes, seed=seed))
    return folder


def make_once(folder: Path, write: Callable[[Path], None]) -> None:
    """Have ``write(folder)`` make a folder unless it is there; of several processes one does it.

    Raises:
        UserError: if the folder can't be written.
    """
    if folder.is_dir():
        return
    from iopath.common.file_io import file_lock

    try:
        lock = file_lock(str(folder))
        lock.acquire()
    except OSError as error:
        raise UserError(f"can't write {folder}: {error.strerror}") from None
    try:
        if not folder.is_dir():  # else another process has made it while this one waited
            write(folder)
    finally:
        lock.release()


def scenes_version(sizes: Mapping[str, int], seed: int) -> str:
    """Name of the folder for these ``sizes`` and ``seed``, such as ``v1-0f3a9c21``."""
    key = json.dumps([GENERATOR_VERSION, seed, sorted(sizes.items())])
    return f"v{GENERATOR_VERSION}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def _checked_sizes(sizes: Mapping[str, int]) -> dict[str, int]:
    if not sizes:
        raise UserError(f"no split of the scenes to make; expected some of {list(FIRST_INDEX)}")
    for split, size in sizes.items():
        if split not in FIRST_INDEX:
            raise UserError(unknown_name("split of the scenes", split, FIRST_INDEX))
        if size < 1:
            raise UserError(f"size of the scenes' split {split!r} is {size}; expected 1 or more")
    return {split: int(sizes[split]) for split in FIRST_INDEX if split in sizes}


def _write_folder(folder: Path, sizes: Mapping[str, int], seed: int) -> None:
    with new_folder(folder) as work:
        (work / "annotations").mkdir()
        splits = {}
        for split, size in sizes.items():
            coco = _write_split(work / "images" / split, split, size, seed)
            write_json(work / "annotations" / f"{split}.json", coco)
            splits[split] = split_record(split, coco)
        manifest = {
            "name": "scenes",
            "classes": list(SCENES_CLASSES),
            "seed": seed,
            "negatives": round(1 / 16, 4),  # one scene of sixteen is empty
            "splits": splits,
            "format": 1,
            "version": folder.name,
        }
        write_json(work / "manifest.json", manifest)


def _write_split(image_dir: Path, split: str, size: int, seed: int) -> dict:
    """Draw the pictures of one split into ``image_dir``; returns its COCO dictionary."""
    import cv2

    image_dir.mkdir(parents=True)
    images, annotations = [], []
    for i in range(size):
        scene = draw_scene(seed, FIRST_INDEX[split] + i)
        image, items = scene_record(scene, i + 1, len(annotations) + 1)
        options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        done, data = cv2.imencode(".jpg", scene.image[..., ::-1], options)
        assert done, image["file_name"]
        (image_dir / image["file_name"]).write_bytes(data)
        images.append(image)
        annotations.extend(items)
    return {
        "info": {"description": f"built-in scenes, {split}", "version": f"{GENERATOR_VERSION}"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": i, "name": name, "supercategory": "scenes"}
            for i, name in enumerate(SCENES_CLASSES, start=1)
        ],
    }


def split_record(split: str, coco: dict) -> dict:
    """The split's entry in the manifest, with the keys of `project.data.manifest.SplitRecord`."""
    counts = {}
    for category in coco["categories"]:
        items = [a for a in coco["annotations"] if a["category_id"] == category["id"]]
        counts[category["name"]] = {
            "annotations": len(items),
            "crowds": sum(a["iscrowd"] for a in items),
            "images": len({a["image_id"] for a in items}),
        }
    shown = {a["image_id"] for a in coco["annotations"]}
    return {
        "images": f"images/{split}",
        "annotations": f"annotations/{split}.json",
        "num_images": len(coco["images"]),
        "num_negatives": len(coco["images"]) - len(shown),
        "class_counts": counts,
    }


def write_json(file: Path, content: dict) -> None:
    """Write the compact JSON that the scenes' files are."""
    file.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")
