"""Which annotations and images of a COCO file go into a subset; nothing is written here."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from project.data.coco_file import CocoAnnotation, CocoFile, CocoImage
from project.data.coco_masks import check_mask, mask_area, mask_box
from project.errors import UserError, unknown_name

import msgspec

# Evaluation splits draw first: asking for more training images never changes them.
DRAWING_ORDER = ("test", "val", "train")


class Note(msgspec.Struct):
    """An annotation of the source file that was repaired or left out, and why."""

    annotation: int
    image: int
    file_name: str
    class_name: str
    reason: str


@dataclass
class ClassLabels:
    """The annotations of the chosen classes in one source file.

    Attributes:
        category_ids: class name → id in the source file, in the order that was asked for.
        annotations: source image id → usable annotations, as COCO dictionaries with new category
            ids 1..K and the source's id under ``source_id``; ``id`` and ``image_id`` come later.
        touched: images with any annotation of the classes, usable or not: never negatives.
        repaired, left_out: in the order of the source file.
    """

    category_ids: dict[str, int]
    annotations: dict[int, list[dict]] = field(default_factory=lambda: defaultdict(list))
    touched: set[int] = field(default_factory=set)
    repaired: list[Note] = field(default_factory=list)
    left_out: list[Note] = field(default_factory=list)


def select_labels(file: CocoFile, classes: Sequence[str]) -> ClassLabels:
    """The usable annotations of ``classes``, and what had to be repaired or left out.

    Raises:
        UserError: if the file has no category of one of the names, or no annotations at all.
    """
    if file.annotations is None:
        raise UserError(f"{file.path} has no annotations; give its images as an unlabelled folder")
    known = {category.name: category.id for category in file.categories}
    for name in classes:
        if name not in known:
            raise UserError(f"{file.path}: {unknown_name('class', name, known)}")
    labels = ClassLabels({name: known[name] for name in classes})
    positions = {known[name]: position for position, name in enumerate(classes)}
    images = {image.id: image for image in file.images}
    for annotation in file.annotations:
        position = positions.get(annotation.category_id)
        if position is None:
            continue
        image = images[annotation.image_id]
        labels.touched.add(image.id)
        record, problem = _clean(annotation, image.height, image.width)
        if problem:
            name = classes[position]
            note = Note(annotation.id, image.id, image.file_name, name, problem)
            (labels.repaired if record else labels.left_out).append(note)
        if record:
            record["category_id"] = position + 1
            labels.annotations[image.id].append(record)
    return labels


def _clean(annotation: CocoAnnotation, height: int, width: int) -> tuple[dict | None, str]:
    """The annotation as it goes into the subset (None: left out), and what was wrong with it."""
    if annotation.ignore:
        return None, "it is marked 'ignore'"
    checked = check_mask(annotation.segmentation, height, width)
    if checked.mask is None:
        return None, checked.problem
    problems = [checked.problem] if checked.problem else []
    box = annotation.bbox
    if box is None or min(box[2:]) <= 0:
        box = mask_box(checked.mask)
        problems.append("box taken from the mask")
    if min(box[2:]) <= 0:
        return None, "neither box nor mask has any extent"
    area = annotation.area
    if area is None:
        area = mask_area(checked.mask)
        problems.append("area taken from the mask")
    record = {
        "bbox": box,
        "area": area,
        "iscrowd": int(bool(annotation.iscrowd)),
        # Unchanged masks are written as the very text that was read.
        "segmentation": checked.mask if checked.problem else annotation.segmentation,
        "source_id": annotation.id,
    }
    return record, "; ".join(problems)


@dataclass(frozen=True)
class Pool:
    """Where one split draws its images from: a labelled file and its image folder."""

    file: CocoFile
    labels: ClassLabels
    images_dir: Path  # resolved


def draw_images(
    pools: Mapping[str, Pool],
    counts: Mapping[str, int | None],
    *,
    negatives: float | None,
    seed: int,
) -> dict[str, list[int]]:
    """Source image ids of each split, in the order of the source file; splits never share a file.

    The draw sorts the images by a hash of seed and id: it doesn't depend on the order of the file
    or on the library version, and a larger draw contains the smaller one.

    Args:
        pools: split → where it draws from.
        counts: split → number of images; None takes every image that has an annotation.
        negatives: share (0-1) of the images of a split without any object of the classes; None
            takes all of them where the count is None, and none elsewhere.

    Raises:
        UserError: if a pool holds too few images.
    """
    taken: set[str] = set()
    chosen = {}
    for split in sorted(pools, key=DRAWING_ORDER.index):
        pool, count = pools[split], counts[split]
        free = [i for i in pool.file.images if _keys(pool, i).isdisjoint(taken)]
        order = sorted((image.id for image in free), key=lambda number: rank(seed, number))
        positive = [i for i in order if i in pool.labels.annotations]
        negative = [i for i in order if i not in pool.labels.touched]
        if negatives is None:
            num_negative = len(negative) if count is None else 0
        else:
            num_negative = num_negatives(len(positive), count, negatives)
        num_positive = len(positive) if count is None else count - num_negative
        where = f"{pool.file.path} has too few images for {split!r}"
        need_images(
            f"{where} with {_listed(pool.labels.category_ids)}", num_positive, len(positive)
        )
        need_images(f"{where} without any of the classes", num_negative, len(negative))
        keep = {*positive[:num_positive], *negative[:num_negative]}
        for image in free:
            if image.id in keep:
                taken |= _keys(pool, image)
        chosen[split] = [image.id for image in free if image.id in keep]
    return chosen


def chosen_images(pool: Pool, ids: Iterable[int]) -> list[CocoImage]:
    """The images of ``ids``, in the order of the file."""
    wanted = set(ids)
    return [image for image in pool.file.images if image.id in wanted]


def chosen_paths(pool: Pool, ids: Iterable[int]) -> list[str]:
    """Absolute paths of the image files of ``ids``."""
    return [_path(pool, image) for image in chosen_images(pool, ids)]


def _path(pool: Pool, image: CocoImage) -> str:
    return os.path.normpath(os.path.join(pool.images_dir, image.file_name))


def _keys(pool: Pool, image: CocoImage) -> set[str]:
    # One picture may be met through two annotation files, or through two image folders.
    return {_path(pool, image), f"{pool.file.sha256} {image.id}"}


def rank(seed: int, number: int | str) -> bytes:
    """Where an image id or file name stands in the draw of ``seed``."""
    return hashlib.sha256(f"{seed}/{number}".encode()).digest()


def num_negatives(num_positive: int, count: int | None, share: float) -> int:
    """Images without the classes: ``share`` of ``count``, or of all when it is None."""
    if count is None:
        return round(num_positive * share / (1 - share))
    return round(count * share)


def need_images(where: str, asked: int, there: int) -> None:
    """Raise a `UserError` if more images are asked for than there are."""
    if asked > there:
        raise UserError(f"{where}: {asked} asked for, {there} there (images of other splits apart)")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def draw_files(names: Sequence[str], count: int | None, seed: int) -> list[str]:
    """``count`` of the file ``names`` of an unlabelled folder (None: all), sorted."""
    order = sorted(names, key=lambda name: rank(seed, name))
    return sorted(order[:count])
