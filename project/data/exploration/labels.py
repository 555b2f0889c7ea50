"""The labels of one COCO file as flat arrays: what every statistic here works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from project.data.coco_file import CocoFile, read_coco_file
from project.data.coco_masks import check_mask, mask_area, mask_box
from project.data.statistics import ClassStatistics
from project.errors import UserError, unknown_name

import msgspec
import numpy as np


@dataclass(frozen=True, eq=False)
class LabelTable:
    """N images and M annotations of K classes, in the order of the file.

    Attributes:
        name: of the split, for people.
        class_names: the K names.
        image_ids: int64 [N].
        file_names: of the N images, relative to the image folder.
        image_sizes: int64 [N, 2], height and width in pixels.
        annotation_ids: int64 [M].
        image_index: int64 [M], row of the image that an annotation belongs to.
        class_index: int64 [M], 0 to K - 1.
        boxes_xyxy: float64 [M, 4], pixels.
        areas: float64 [M], square pixels: the file's ``area``, else that of the mask.
        crowd: bool [M], annotations of a whole group (``iscrowd``). They aren't objects.
        segmentations: M pieces of JSON text, unread.
    """

    name: str
    class_names: tuple[str, ...]
    image_ids: np.ndarray
    file_names: tuple[str, ...]
    image_sizes: np.ndarray
    annotation_ids: np.ndarray
    image_index: np.ndarray
    class_index: np.ndarray
    boxes_xyxy: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    segmentations: tuple[msgspec.Raw, ...]

    @property
    def objects(self) -> np.ndarray:
        """bool [M]: annotations of one object each, crowd regions left out."""
        return ~self.crowd

    @property
    def box_sizes(self) -> np.ndarray:
        """float64 [M, 2]: height and width of the boxes, pixels."""
        return (self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2])[:, ::-1]

    def statistics(self) -> ClassStatistics:
        """Objects of each class in each image, crowd regions left out."""
        counts = np.zeros((len(self.image_ids), len(self.class_names)), np.int64)
        np.add.at(counts, (self.image_index[self.objects], self.class_index[self.objects]), 1)
        return ClassStatistics(counts, self.class_names)


def read_labels(
    json_file: str | Path,
    name: str = "",
    classes: Sequence[str] = (),
    first_classes: Sequence[str] = (),
) -> LabelTable:
    """The label table of a COCO instances file.

    A missing box or area is computed from the mask; an annotation without either has an empty box.

    Args:
        name: of the split; "" takes the file's.
        classes: the only ones to look at, by name, in this order; none: all.
        first_classes: names that come first, so that two files share their class indices; those
            that the file lacks are kept, without objects.

    Raises:
        UserError: if the file can't be read, has no annotations, or lacks one of ``classes``.
    """
    file = read_coco_file(json_file)
    if file.annotations is None:
        raise UserError(f"{json_file} has no annotations; expected a labelled COCO file")
    names = _class_names(file, classes, first_classes)
    return _table(file, name or split_name(json_file), names)


def split_name(json_file: str | Path) -> str:
    """What to call a file's content: its stem, or its folder's name where the stem says nothing."""
    path = Path(json_file)
    dull = {"labels", "annotations", "instances", "_annotations.coco", "coco"}
    return path.absolute().parent.name if path.stem.lower() in dull else path.stem


def _class_names(file: CocoFile, classes: Sequence[str], first: Sequence[str]) -> tuple[str, ...]:
    known = [category.name for category in sorted(file.categories, key=lambda c: c.id)]
    for name in classes:
        if name not in known:
            raise UserError(f"{file.path}: {unknown_name('class', name, known)}")
    return tuple(dict.fromkeys([*first, *(classes or known)]))


def _table(file: CocoFile, name: str, names: tuple[str, ...]) -> LabelTable:
    position = {name: k for k, name in enumerate(names)}
    index = {c.id: position[c.name] for c in file.categories if c.name in position}
    row = {image.id: i for i, image in enumerate(file.images)}
    kept = [a for a in file.annotations if a.category_id in index]
    boxes, areas = np.zeros((len(kept), 4)), np.zeros(len(kept))
    for m, annotation in enumerate(kept):
        image = file.images[row[annotation.image_id]]
        boxes[m], areas[m] = _box_and_area(annotation, image.height, image.width)
    boxes[:, 2:] += boxes[:, :2]
    return LabelTable(
        name=name,
        class_names=names,
        image_ids=np.array([image.id for image in file.images], np.int64),
        file_names=tuple(image.file_name for image in file.images),
        image_sizes=np.array([(i.height, i.width) for i in file.images], np.int64).reshape(-1, 2),
        annotation_ids=np.array([a.id for a in kept], np.int64),
        image_index=np.array([row[a.image_id] for a in kept], np.int64),
        class_index=np.array([index[a.category_id] for a in kept], np.int64),
        boxes_xyxy=boxes,
        areas=areas,
        crowd=np.array([bool(a.iscrowd) for a in kept], bool),
        segmentations=tuple(a.segmentation for a in kept),
    )


def _box_and_area(annotation, height: int, width: int):
    """Box (x, y, width, height) and area; from the mask where the file lacks them."""
    if annotation.bbox is not None and annotation.area is not None:
        return annotation.bbox, annotation.area
    mask = check_mask(annotation.segmentation, height, width).mask
    box = annotation.bbox or (mask_box(mask) if mask else (0, 0, 0, 0))
    area = annotation.area if annotation.area is not None else mask_area(mask) if mask else 0.0
    return box, area
