"""What is drawn: one record per object, made from dataset dicts or from COCO results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from project.data.coco_masks import Rle, polygon_problem, rle_runs
from project.errors import UserError

import numpy as np
from detectron2.structures import BoxMode


@dataclass(frozen=True, eq=False)
class BoxMask:
    """The part of a mask that lies in its box.

    ``pixels`` is bool ``[h, w]``; its first pixel is (``x``, ``y``) of the image.
    """

    pixels: np.ndarray
    x: int
    y: int


@dataclass(frozen=True, eq=False)
class DrawnObject:
    """One labelled or predicted object.

    ``box_xyxy`` is in pixels of the image; ``class_index`` is contiguous and decides the colour;
    ``score`` is 0..1, None for labels.
    """

    class_index: int
    class_name: str
    box_xyxy: tuple[float, float, float, float]
    mask: BoxMask | None = None
    score: float | None = None
    iscrowd: bool = False

    @property
    def area(self) -> float:
        """Area of the box in pixels."""
        x0, y0, x1, y1 = self.box_xyxy
        return max(x1 - x0, 0.0) * max(y1 - y0, 0.0)


def crop_mask(bitmap: np.ndarray) -> BoxMask | None:
    """The `BoxMask` of a bool ``[H, W]`` mask; None if no pixel is set."""
    rows, columns = np.flatnonzero(bitmap.any(1)), np.flatnonzero(bitmap.any(0))
    if not len(rows):
        return None
    y, x = int(rows[0]), int(columns[0])
    pixels = bitmap[y : rows[-1] + 1, x : columns[-1] + 1].astype(bool)
    return BoxMask(pixels, x, y)


def mask_from_segmentation(segmentation, height: int, width: int) -> BoxMask | None:
    """The mask of COCO polygons, an RLE dict (list or string counts) or a ``[H, W]`` array.

    No segmentation, or one without a pixel, gives None.

    Raises:
        ValueError: if it has another size than the image, or can't be read as a mask.
    """
    if segmentation is None or len(segmentation) == 0:
        return None
    if isinstance(segmentation, np.ndarray):
        bitmap = segmentation
    else:
        bitmap = _decode(segmentation, height, width)
    if bitmap.shape != (height, width):
        raise ValueError(f"its mask is {bitmap.shape}, the image {(height, width)} (height, width)")
    return crop_mask(bitmap)


def _decode(segmentation, height: int, width: int) -> np.ndarray:
    if isinstance(segmentation, Mapping):
        return _decode_rle(segmentation, height, width)
    from pycocotools import mask as coco_mask

    parts = [list(map(float, p)) for p in segmentation if len(p) >= 6 and len(p) % 2 == 0]
    if not parts:
        return np.zeros((height, width), bool)
    if problem := polygon_problem(parts, height, width):
        raise ValueError(problem)
    rle = coco_mask.merge(coco_mask.frPyObjects(parts, height, width))
    return _decode_rle(rle, height, width)


def _decode_rle(segmentation: Mapping, height: int, width: int) -> np.ndarray:
    # Results files come from anywhere, and pycocotools writes past its buffer on wrong runs.
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, (list, tuple)) or not isinstance(counts, (list, str, bytes)):
        raise ValueError(f"its RLE has keys {sorted(segmentation)}, expected 'size' and 'counts'")
    if tuple(size) != (height, width):
        raise ValueError(f"its mask is {tuple(size)}, the image {(height, width)} (height, width)")
    counts = counts.decode("ascii", "replace") if isinstance(counts, bytes) else counts
    runs = rle_runs(Rle((height, width), counts))
    if runs is None or min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError("the runs of its RLE don't add up to the image")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(height, width, order="F")


def objects_from_dataset_dict(record: Mapping, class_names: Sequence[str]) -> list[DrawnObject]:
    """The labelled objects of a Detectron2 dataset dict (boxes, polygons, RLE, crowds).

    Raises:
        UserError: names the image and the annotation that can't be drawn.
    """
    objects = []
    for number, annotation in enumerate(record.get("annotations") or []):
        where = f"annotation {number} of image {record['file_name']}"
        box = BoxMode.convert(
            [float(v) for v in annotation["bbox"]], annotation["bbox_mode"], BoxMode.XYXY_ABS
        )
        mask = _mask_at(where, annotation.get("segmentation"), record)
        index = int(annotation["category_id"])
        objects.append(
            DrawnObject(
                class_index=index,
                class_name=_class_name(where, index, class_names),
                box_xyxy=tuple(float(v) for v in box),
                mask=mask,
                iscrowd=bool(annotation.get("iscrowd", 0)),
            )
        )
    return objects


def objects_from_results(
    entries: Sequence[Mapping],
    record: Mapping,
    class_names: Sequence[str],
    contiguous_ids: Mapping[int, int] | None = None,
    *,
    threshold: float = 0.0,
) -> list[DrawnObject]:
    """The predicted objects of one image from entries of a COCO results list.

    Args:
        entries: dicts with ``category_id``, ``score``, and ``bbox`` (XYWH) or ``segmentation``.
        record: the image's dataset dict (``height``, ``width``, ``file_name``).
        class_names: by contiguous index.
        contiguous_ids: the file's category id → contiguous index
            (``thing_dataset_id_to_contiguous_id``); None: ids are contiguous already.
        threshold: objects with a lower score are left out.

    Returns:
        The objects, highest score first.

    Raises:
        UserError: names the image and the entry that can't be drawn.
    """
    objects = []
    for entry in entries:
        if not isinstance(entry.get("score"), (int, float)):
            where = f"a result for image {record['file_name']}"
            raise UserError(f"{where} has no score; expected a file made by COCOEvaluator")
        if entry["score"] >= threshold:
            objects.append(_object_from_entry(entry, record, class_names, contiguous_ids))
    return sorted(objects, key=lambda o: -o.score)


def _object_from_entry(entry, record, class_names, contiguous_ids) -> DrawnObject:
    where = f"a result for image {record['file_name']}"
    category = entry.get("category_id")
    known = range(len(class_names)) if contiguous_ids is None else contiguous_ids
    if not isinstance(category, int) or category not in known:
        raise UserError(
            f"{where} has category id {category!r}, which the dataset lacks (it has "
            f"{', '.join(map(str, sorted(known)[:20])) or 'none'}); was it made on another one?"
        )
    index = category if contiguous_ids is None else contiguous_ids[category]
    mask = _mask_at(where, entry.get("segmentation"), record)
    if (box := entry.get("bbox")) is not None:
        box = _checked_box(where, box)
    elif mask is not None:
        box = (mask.x, mask.y, mask.pixels.shape[1], mask.pixels.shape[0])
    else:
        raise UserError(f"{where} has neither a bbox nor a mask; nothing can be drawn")
    x, y, w, h = (float(v) for v in box)
    name = _class_name(where, index, class_names)
    return DrawnObject(index, name, (x, y, x + w, y + h), mask, float(entry["score"]))


def _checked_box(where: str, box) -> list[float]:
    numbers = isinstance(box, list) and all(isinstance(v, (int, float)) for v in box)
    if not numbers or len(box) != 4 or not np.isfinite(box).all():
        raise UserError(f"{where} has bbox {box!r}, expected four numbers: x, y, width, height")
    return box


def _mask_at(where: str, segmentation, record: Mapping) -> BoxMask | None:
    try:
        return mask_from_segmentation(segmentation, int(record["height"]), int(record["width"]))
    except (ValueError, TypeError) as error:
        raise UserError(f"{where} can't be drawn: {error}") from error


def _class_name(where: str, index: int, class_names: Sequence[str]) -> str:
    if not 0 <= index < len(class_names):
        raise UserError(
            f"{where} has class {index}, but the dataset has {len(class_names)} classes"
        )
    return str(class_names[index])


def scale_object(obj: DrawnObject, factor: float, size: tuple[int, int]) -> DrawnObject:
    """``obj`` on an image resized by ``factor`` to ``size`` (height, width), mask edges smooth."""
    import cv2

    box = tuple(v * factor for v in obj.box_xyxy)
    if obj.mask is None or factor == 1:
        return replace(obj, box_xyxy=box)
    # One empty pixel around the crop keeps its edge from being stretched to the border.
    pixels = np.pad(obj.mask.pixels.astype(np.uint8) * 255, 1)
    x0, y0 = (obj.mask.x - 1) * factor, (obj.mask.y - 1) * factor
    x, y = int(np.floor(x0)), int(np.floor(y0))
    width = int(np.ceil(x0 + pixels.shape[1] * factor)) - x
    height = int(np.ceil(y0 + pixels.shape[0] * factor)) - y
    # Centre of drawn pixel i is i + 0.5, and cv2 counts from the centre of the first pixel.
    shift = np.array(
        [
            [1 / factor, 0, (x + 0.5 - x0) / factor - 0.5],
            [0, 1 / factor, (y + 0.5 - y0) / factor - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    drawn = cv2.warpAffine(pixels, shift, (width, height), flags=flags) >= 128
    cut_y, cut_x = max(-y, 0), max(-x, 0)
    inside = crop_mask(drawn[cut_y : max(size[0] - y, 0), cut_x : max(size[1] - x, 0)])
    if inside is None:  # a mask that vanishes when shrunk
        return replace(obj, box_xyxy=box, mask=None)
    mask = BoxMask(inside.pixels, inside.x + x + cut_x, inside.y + y + cut_y)
    return replace(obj, box_xyxy=box, mask=mask)
