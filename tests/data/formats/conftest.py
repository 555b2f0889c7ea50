"""Little pictures and label maps, and what a COCO document says about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


def decoded(annotation: dict, image: dict) -> np.ndarray:
    """The mask of an annotation, bool [H, W], by pycocotools."""
    from pycocotools import mask as coco_mask

    height, width = image["height"], image["width"]
    found = annotation["segmentation"]
    if isinstance(found, list):
        found = coco_mask.merge(coco_mask.frPyObjects(found, height, width))
    return coco_mask.decode(found).astype(bool)


@pytest.fixture(scope="session")
def masks_of():
    """``masks_of(document, "a.jpg")`` → (class name, mask, annotation) of each object."""

    def masks(document: dict, file_name: str):
        names = {category["id"]: category["name"] for category in document["categories"]}
        (image,) = [i for i in document["images"] if i["file_name"] == file_name]
        return [
            (names[a["category_id"]], decoded(a, image), a)
            for a in document["annotations"]
            if a["image_id"] == image["id"]
        ]

    return masks


@pytest.fixture(scope="session")
def save_image():
    """``save_image(path, array, palette=False)``; parent folders are made."""

    def save(path: Path, pixels: np.ndarray, palette: bool = False) -> Path:
        from PIL import Image

        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels)
        if palette:
            image = Image.fromarray(pixels, "L").convert("P")
            image = Image.frombytes("P", pixels.shape[::-1], pixels.tobytes())
            image.putpalette([value for i in range(256) for value in (i, 255 - i, i // 2)])
        image.save(path)
        return path

    return save


@pytest.fixture(scope="session")
def picture():
    """``picture(height, width)`` → grey noise, uint8 [H, W, 3]."""

    def make(height: int, width: int) -> np.ndarray:
        return np.random.default_rng(height).integers(0, 255, (height, width, 3), np.uint8)

    return make


@pytest.fixture
def converter(load_tool, tmp_path, capsys):
    """``converter("voc", ...)`` → exit code, stdout, stderr; the root is ``tmp_path / "root"``."""

    def run(name, *args):
        module = load_tool(f"datasets/convert_{name}.py")
        code = module.main([*map(str, args), "--root", str(tmp_path / "root")])
        return code, *capsys.readouterr()

    return run
