"""COCO ground truth as columns: what there is to find, checked once."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from project.data.coco_file import Int64, Side
from project.data.coco_masks import polygon_problem
from project.errors import UserError
from project.evaluation.rle import compress, first_damaged

import msgspec
import numpy as np

Segmentation = list[list[float]] | dict[str, Any]

# COCO's compressed runs: 6 bits a character, of which the sixth says that the number goes on.
_COMPRESSED = re.compile("([0-o]*[0-O])?")

logger = logging.getLogger(__name__)


class _Image(msgspec.Struct, gc=False):
    id: Int64
    height: Annotated[Side, msgspec.Meta(ge=0)]
    width: Annotated[Side, msgspec.Meta(ge=0)]


class _Annotation(msgspec.Struct, gc=False):
    image_id: Int64
    category_id: Int64
    bbox: tuple[float, float, float, float]
    id: Int64 = 0
    area: float | None = None
    iscrowd: Int64 | bool = 0
    segmentation: Segmentation | None = None


class _Category(msgspec.Struct, gc=False):
    id: Int64
    name: str


class _Document(msgspec.Struct):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation] | None = None


@dataclass(frozen=True)
class GroundTruth:
    """The objects of a data set, in the order of the file.

    Attributes:
        name: for messages: the file, or "annotations".
        image_ids: int64 [N], ascending.
        sizes: int64 [N, 2], height and width of each image.
        category_ids: int64 [K], ascending.
        class_names: K names, in the order of ``category_ids``.
        labelled: False for a file without annotations (COCO's ``image_info_*``).
        ids: int64 [M], annotation ids, all different and above 0.
        image: int64 [M], index into ``image_ids``.
        category: int64 [M], index into ``category_ids``.
        boxes: float64 [M, 4], x, y, width, height in pixels.
        areas: float64 [M], pixels, of the mask.
        crowd: bool [M].
        segmentations: M polygon lists or RLE dicts; None where there is no usable mask.
    """

    name: str
    image_ids: np.ndarray
    sizes: np.ndarray
    category_ids: np.ndarray
    class_names: tuple[str, ...]
    labelled: bool
    ids: np.ndarray
    image: np.ndarray
    category: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    segmentations: Sequence[Segmentation | None]

    @cached_property
    def with_masks(self) -> GroundTruth:
        """Only the objects that have a mask: others can't be judged by masks."""
        usable = np.array([s is not None for s in self.segmentations], dtype=bool)
        if usable.all():
            return self
        left_out = int((~usable).sum())
        logger.warning("%s: %d objects without a mask are not judged by masks", self.name, left_out)
        return self._take(np.flatnonzero(usable))

    def only(self, image_ids: Sequence[int]) -> GroundTruth:
        """The part of some images.

        Raises:
            UserError: for an image that isn't there.
        """
        wanted = np.unique(np.asarray(image_ids, dtype=np.int64))
        strange = np.setdiff1d(wanted, self.image_ids)
        if strange.size:
            raise UserError(f"{self.name} has no image with the id {strange[0]}")
        part = self._take(np.flatnonzero(np.isin(self.image_ids[self.image], wanted)))
        places = np.searchsorted(self.image_ids, wanted)
        image = np.searchsorted(wanted, self.image_ids[part.image])
        return _replace(part, image_ids=wanted, sizes=self.sizes[places], image=image)

    @cached_property
    def rles(self) -> list[dict[str, Any]]:
        """The masks as RLE, by hotcoco; every object must have one (`with_masks`)."""
        sizes = self.sizes[self.image].tolist()
        return [to_rle(s, *size) for s, size in zip(self.segmentations, sizes, strict=True)]

    def _take(self, rows: np.ndarray) -> GroundTruth:
        columns = {name: getattr(self, name)[rows] for name in _ROWS}
        return _replace(self, **columns, segmentations=[self.segmentations[i] for i in rows])


_ROWS = ("ids", "image", "category", "boxes", "areas", "crowd")


def _replace(ground_truth: GroundTruth, **changes) -> GroundTruth:
    fields = {name: getattr(ground_truth, name) for name in ground_truth.__dataclass_fields__}
    return GroundTruth(**{**fields, **changes})


def load_ground_truth(annotations: str | Path | dict | GroundTruth) -> GroundTruth:
    """Ground truth from a COCO instances file, or from the dict that it holds.

    Repaired, with a warning, is what pycocotools stumbles over: annotation ids below 1 or repeated
    are numbered anew from 1 (id 0 means "no match" there), polygons of fewer than three points are
    dropped. A missing area is that of the mask, else of the box.

    Raises:
        UserError: if the file can't be read, repeats an image or category id, or has annotations
            of unknown images or categories, or with masks that are damaged or far from the image.
    """
    if isinstance(annotations, GroundTruth):
        return annotations
    name = "annotations" if isinstance(annotations, dict) else str(annotations)
    document = _decode(annotations, name)
    images = sorted(document.images, key=lambda image: image.id)
    categories = sorted(document.categories, key=lambda category: category.id)
    image_ids = np.array([image.id for image in images], dtype=np.int64)
    category_ids = np.array([category.id for category in categories], dtype=np.int64)
    _check_unique(name, image_ids, "image id")
    _check_unique(name, category_ids, "category id")
    rows = document.annotations or []
    sizes = np.array([(i.height, i.width) for i in images], dtype=np.int64).reshape(-1, 2)
    image = _places(name, rows, "image_id", image_ids)
    segmentations = [_usable(row.segmentation) for row in rows]
    _check_masks(name, rows, segmentations, sizes[image])
    return GroundTruth(
        name=name,
        image_ids=image_ids,
        sizes=sizes,
        category_ids=category_ids,
        class_names=tuple(category.name for category in categories),
        labelled=document.annotations is not None,
        ids=_annotation_ids(name, rows),
        image=image,
        category=_places(name, rows, "category_id", category_ids),
        boxes=np.array([row.bbox for row in rows], dtype=np.float64).reshape(-1, 4),
        areas=_areas(rows, segmentations, sizes[image]),
        crowd=np.array([bool(row.iscrowd) for row in rows], dtype=bool),
        segmentations=segmentations,
    )


def _decode(annotations: str | Path | dict, name: str) -> _Document:
    try:
        if isinstance(annotations, dict):
            return msgspec.convert(annotations, _Document)
        return msgspec.json.decode(Path(annotations).read_bytes(), type=_Document)
    except FileNotFoundError:
        raise UserError(f"COCO annotation file {name} doesn't exist") from None
    except OSError as error:
        raise UserError(f"COCO annotation file {name} can't be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UserError(f"{name} is no readable COCO instances file: {error}") from None


def _check_unique(name: str, ids: np.ndarray, what: str) -> None:
    repeated = ids[1:][ids[1:] == ids[:-1]]
    if repeated.size:
        raise UserError(f"{name}: {what} {repeated[0]} stands there twice; it must be unique")


def _places(name: str, rows: list[_Annotation], key: str, known: np.ndarray) -> np.ndarray:
    """Index of each annotation's image or category among the known ids."""
    ids = np.array([getattr(row, key) for row in rows], dtype=np.int64)
    places = np.searchsorted(known, ids)
    wrong = np.flatnonzero(~np.isin(ids, known))
    if wrong.size:
        row = rows[wrong[0]]
        raise UserError(
            f"{name}: annotation {row.id} has {key} {ids[wrong[0]]}, which the file doesn't have"
        )
    return places


def _usable(segmentation: Segmentation | None) -> Segmentation | None:
    if isinstance(segmentation, list):
        return [p for p in segmentation if len(p) >= 6 and len(p) % 2 == 0] or None
    return segmentation or None


def _check_masks(name: str, rows, segmentations, sizes: np.ndarray) -> None:
    """Raise a `UserError` for a mask that the kernels must not get."""
    place, problem = _first_problem(segmentations, sizes.tolist())
    if problem:
        row = rows[place]
        raise UserError(f"{name}: annotation {row.id} of image {row.image_id}: {problem}")


def _first_problem(segmentations, sizes: list[list[int]]) -> tuple[int, str]:
    """Place of a mask and what is wrong with it; "" if nothing is with any."""
    rles = []
    for place, (mask, size) in enumerate(zip(segmentations, sizes, strict=True)):
        if isinstance(mask, dict):
            rles.append(place)
            problem = _rle_problem(mask, size)
        else:
            problem = polygon_problem(mask, *size) if mask else ""
        if problem:
            return place, problem
    if damaged := first_damaged([segmentations[place] for place in rles]):
        return rles[damaged[0]], f"damaged RLE: {damaged[1]}"
    return -1, ""


def _rle_problem(rle: dict[str, Any], size: list[int]) -> str:
    found, counts = rle.get("size"), rle.get("counts")
    if not isinstance(found, (list, tuple)) or list(found) != size:
        return f"its RLE mask has the size {found}, but the image has {size} (height, width)"
    if isinstance(counts, list):
        return ""
    if not isinstance(counts, (str, bytes)):
        return f"the counts of its RLE mask are {counts!r}; expected text or a list of runs"
    text = counts if isinstance(counts, str) else counts.decode("latin-1")
    return "" if _COMPRESSED.fullmatch(text) else "damaged RLE: its counts are no compressed runs"


def _annotation_ids(name: str, rows: list[_Annotation]) -> np.ndarray:
    ids = np.array([row.id for row in rows], dtype=np.int64)
    if len(np.unique(ids)) == len(ids) and ids.min(initial=1) >= 1:
        return ids
    logger.warning("%s: annotation ids below 1 or repeated; numbered anew from 1", name)
    return np.arange(1, len(ids) + 1)


def _areas(rows, segmentations, sizes: np.ndarray) -> np.ndarray:
    areas = []
    for row, segmentation, size in zip(rows, segmentations, sizes.tolist(), strict=True):
        if row.area is not None:
            areas.append(row.area)
        elif segmentation is not None:
            areas.append(_mask_area(segmentation, *size))
        else:
            areas.append(row.bbox[2] * row.bbox[3])
    return np.array(areas, dtype=np.float64)


def _mask_area(segmentation: Segmentation, height: int, width: int) -> float:
    from pycocotools import mask as coco_mask

    if isinstance(segmentation, list):
        return float(
            coco_mask.area(coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width)))
        )
    if isinstance(segmentation["counts"], list):
        return float(sum(segmentation["counts"][1::2]))
    return float(coco_mask.area(segmentation))


def to_rle(segmentation: Segmentation, height: int, width: int) -> dict[str, Any]:
    """Polygons or RLE as one RLE, by hotcoco (equal to that of pycocotools)."""
    from hotcoco import mask as hot_mask

    if isinstance(segmentation, dict):
        if isinstance(segmentation["counts"], list):  # pycocotools' overlaps take none
            return compress([segmentation["counts"]], height, width)[0]
        return segmentation
    parts = hot_mask.frPyObjects(segmentation, height, width)
    return parts[0] if len(parts) == 1 else hot_mask.merge(parts)
