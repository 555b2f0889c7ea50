"""Pictures of what a model sees in training: images after all augmentation, with their labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from project.data.seeding import sample_randomness
from project.data.semantic_labels import IGNORED
from project.data.statistics import class_statistics
from project.errors import UserError
from project.visualization.files import choose_images, write_png
from project.visualization.overlay import OverlayStyle, draw_overlay, fit_for_drawing
from project.visualization.records import BoxMask, DrawnObject, crop_mask
from project.visualization.render import SHEET_NAME, check_choices, count_words, picture_files
from project.visualization.sheet import contact_sheet, present_classes, side_by_side

import numpy as np
from detectron2.data.detection_utils import convert_image_to_rgb
from detectron2.structures import BitMasks, Instances, PolygonMasks, polygons_to_bitmask

_PER_ROW = 4  # draws beside each other


def render_augmented(
    dataset: Sequence[dict],
    mapper: Callable[[dict], dict],
    output_dir: Path,
    *,
    seed: int = 0,
    draws: int = 4,
    start: int = 0,
    limit: int = 16,
    choice: int = 0,
    images: Sequence[str] = (),
    columns: int | None = None,
) -> list[Path]:
    """Draw training images as ``mapper`` gives them to the model, each under several draws.

    Each has the augmentation that a sample at its position would have in a run with this ``seed``;
    positions count from ``start`` through all draws of the first image, then of the next.

    Args:
        dataset: labelled dataset dicts.
        mapper: dataset dict → model input with ``instances`` or, of a semantic model, ``sem_seg``;
            its ``image_format`` is asked for.
        output_dir: made if missing; pictures of the same name are replaced.
        start: position in the run, in samples; augmentation that closes early has ended behind it.
        limit, choice, images: which images; see `project.visualization.render.choose_images`, of
            which ``choice`` is the seed.
        columns: of the contact sheet of all images; None chooses.

    Returns:
        The PNG files written: one per image, then the contact sheet.

    Raises:
        UserError: if a number is out of range, an image or annotation can't be used, or an image
            would be replaced.
    """
    if draws < 1:
        raise UserError(f"the number of draws must be at least 1, got {draws}")
    if start < 0 or not isinstance(seed, int) or seed < 0:
        raise UserError(f"seed and start must be at least 0, got {seed} and {start}")
    check_choices(0.0, columns)
    statistics = class_statistics(dataset)
    if hasattr(mapper, "bind"):
        mapper.bind(dataset, statistics)
    chosen = choose_images(dataset, limit, choice, images)
    names = [record["file_name"] for record in chosen]
    files = picture_files(names, output_dir, (record["file_name"] for record in dataset))
    pictures, classes = [], set()
    for number, (record, file) in enumerate(zip(chosen, files, strict=True)):
        panels, shown = [], set()
        first = start + number * draws
        for position in range(first, first + draws):
            with sample_randomness(seed, position):
                sample = mapper({**record, "position": position})
            panel, objects = _draw_sample(sample, statistics.class_names, mapper.image_format)
            title = f"Position {position}: {_count(sample, objects)}"
            panels.append(side_by_side([(title, panel)]))
            shown |= present_classes(objects)
        write_png(file, contact_sheet(panels, _PER_ROW, shown))
        pictures.append(contact_sheet(panels, _PER_ROW))
        classes |= shown
    sheet = Path(output_dir) / SHEET_NAME
    write_png(sheet, contact_sheet(pictures, columns or 1, classes))
    return [*files, sheet]


def _count(sample: dict, objects: Sequence[DrawnObject]) -> str:
    if "instances" in sample:
        return count_words(len(objects))
    number = sum(not obj.iscrowd for obj in objects)
    return f"{number} class{'' if number == 1 else 'es'}"


def _draw_sample(
    sample: dict, class_names: Sequence[str], image_format: str
) -> tuple[np.ndarray, list[DrawnObject]]:
    """The uint8 RGB picture of a model's input with its labels drawn on it, and the labels."""
    pixels = sample["image"].permute(1, 2, 0).contiguous().numpy()
    pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    image = np.ascontiguousarray(convert_image_to_rgb(pixels, image_format))
    if "instances" in sample:
        objects, style = objects_from_instances(sample["instances"], class_names), None
    elif "sem_seg" in sample:  # a box around all there is of a class would tell nothing
        objects = objects_from_labels(sample["sem_seg"].numpy(), class_names)
        style = OverlayStyle(boxes=False, labels=False)
    else:
        raise UserError("the mapper gives no labels to draw; set its is_train=True")
    return draw_overlay(*fit_for_drawing(image, objects), style), objects


def objects_from_instances(instances: Instances, class_names: Sequence[str]) -> list[DrawnObject]:
    """The labelled objects of a model's input; without ``gt_masks`` only their boxes."""
    boxes = instances.gt_boxes.tensor.tolist()
    categories = instances.gt_classes.tolist()
    masks: list = [None] * len(boxes)
    if instances.has("gt_masks"):
        masks = _masks(instances.gt_masks, instances.image_size)
    return [
        DrawnObject(k, str(class_names[k]), tuple(box), mask)
        for box, k, mask in zip(boxes, categories, masks, strict=True)
    ]


def objects_from_labels(labels: np.ndarray, class_names: Sequence[str]) -> list[DrawnObject]:
    """What a map of classes (integers ``[H, W]``) shows: one object for each class that is there.

    Pixels that don't count are a crowd called "ignored"; the background is nothing.
    """
    names = dict(enumerate(map(str, class_names))) | {IGNORED: "ignored"}
    objects = []
    for index, name in names.items():
        if (mask := crop_mask(labels == index)) is not None:
            box = mask.x, mask.y, mask.x + mask.pixels.shape[1], mask.y + mask.pixels.shape[0]
            objects.append(DrawnObject(index, name, box, mask, iscrowd=index == IGNORED))
    return objects


def _masks(masks: BitMasks | PolygonMasks, size: tuple[int, int]) -> list[BoxMask | None]:
    if isinstance(masks, PolygonMasks):
        return [crop_mask(polygons_to_bitmask(parts, *size)) for parts in masks.polygons]
    return [crop_mask(bitmap) for bitmap in masks.tensor.numpy()]
