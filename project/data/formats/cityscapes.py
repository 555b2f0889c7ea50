"""Cityscapes, fine annotations: instance images, or the polygons they were painted from.

::

    leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png
    gtFine/train/aachen/aachen_000000_000019_gtFine_instanceIds.png
                        aachen_000000_000019_gtFine_polygons.json

An instance image holds ``1000 * class + number`` for an object and the bare class number for a
group whose members weren't told apart, which becomes a crowd region. Format: Cordts et al., The
Cityscapes Dataset, CVPR 2016, and its scripts.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

from project.data.coco_file import Side, read_bytes
from project.data.formats.document import CocoDocument
from project.data.formats.pixels import pixel_objects, read_label_map
from project.errors import UserError, unknown_name

import msgspec
import numpy as np

CITYSCAPES_CLASSES = {
    **{"person": 24, "rider": 25, "car": 26, "truck": 27, "bus": 28, "caravan": 29},
    **{"trailer": 30, "train": 31, "motorcycle": 32, "bicycle": 33},
}
_NAMES = {number: name for name, number in CITYSCAPES_CLASSES.items()}
_ENDINGS = {"pixels": "_gtFine_instanceIds.png", "polygons": "_gtFine_polygons.json"}


class _Object(msgspec.Struct):
    label: str
    polygon: list[tuple[float, float]]


class _Polygons(msgspec.Struct):
    height: Annotated[Side, msgspec.Meta(ge=1)] = msgspec.field(name="imgHeight")
    width: Annotated[Side, msgspec.Meta(ge=1)] = msgspec.field(name="imgWidth")
    objects: list[_Object]


def read_cityscapes(folder: str | Path, split: str, source: str = "pixels") -> CocoDocument:
    """The ten classes with instances, of a split ("train", "val").

    Args:
        folder: holds ``leftImg8bit`` and ``gtFine``.
        source: "pixels" reads the instance images; "polygons" paints the polygons, later ones over
            earlier ones, and comes within a pixel of the outlines of the same objects.

    Raises:
        UserError: if the folder isn't that of Cityscapes, or files are missing or damaged.
    """
    folder = Path(folder)
    ending = _ENDINGS[source]
    files = _label_files(folder, split, ending)
    result = CocoDocument(list(CITYSCAPES_CLASSES), folder / "leftImg8bit" / split)
    for file in files:
        label_map = read_label_map(file) if source == "pixels" else _painted(file)
        name = file.name.removesuffix(ending) + "_leftImg8bit.png"
        result.add_image(f"{file.parent.name}/{name}", label_map.shape)
        group = label_map < 1000
        label_map[group & ~np.isin(label_map, list(_NAMES))] = 0
        label_map[~group & ~np.isin(label_map // 1000, list(_NAMES))] = 0
        for item in pixel_objects(label_map):
            is_group = item.value < 1000
            number = item.value if is_group else item.value // 1000
            result.add_object(_NAMES[number], item.geometry, iscrowd=int(is_group))
    return result


def _label_files(folder: Path, split: str, ending: str) -> list[Path]:
    labels = folder / "gtFine"
    if not labels.is_dir() or not (folder / "leftImg8bit").is_dir():
        raise UserError(f"{folder} is no folder of Cityscapes: expected gtFine and leftImg8bit")
    if not (labels / split).is_dir():
        known = sorted(path.name for path in labels.iterdir() if path.is_dir())
        raise UserError(f"{labels}: {unknown_name('split', split, known)}")
    files = sorted((labels / split).glob(f"*/*{ending}"))
    if not files:
        raise UserError(f"{labels / split} holds no file */*{ending}")
    return files


def _painted(file: Path) -> np.ndarray:
    """The instance image, int32 [H, W], that the polygons of ``file`` paint."""
    from PIL import Image, ImageDraw

    try:
        document = msgspec.json.decode(read_bytes(file, "polygon file"), type=_Polygons)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is no polygon file of Cityscapes: {error}") from None
    canvas = Image.new("I", (document.width, document.height))
    draw = ImageDraw.Draw(canvas)
    seen: Counter[int] = Counter()
    for item in document.objects:
        if item.label == "deleted" or len(item.polygon) < 2:
            continue
        value = CITYSCAPES_CLASSES.get(item.label.removesuffix("group"), 0)
        if value and not item.label.endswith("group"):
            seen[value] += 1
            value = 1000 * value + seen[value] - 1
        draw.polygon(item.polygon, fill=value)  # 0: something else stands in front
    return np.array(canvas, np.int32)
