"""From one dataset dict to what a model takes: pictures, boxes, classes and bit masks."""

from __future__ import annotations

from collections.abc import Sequence

from project.errors import UserError

import numpy as np
import torch
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, Boxes, Instances


class InstanceMapper:
    """Reads and augments one image of a dataset; polygons and RLE may be mixed.

    It gives what `detectron2.data.DatasetMapper` gives with ``use_instance_mask``, bit masks and
    ``recompute_boxes``. Beyond that, images without objects work (no masks of the image's size
    instead of an exception), and what is wrong is told with file, image and annotation.

    Args:
        is_train: else annotations are dropped and only the image is read.
        augmentations: applied in order; their randomness is numpy's global generator.
        image_format: channel order of the model's input, "BGR" or "RGB".
    """

    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation | T.Transform],
        image_format: str = "BGR",
    ) -> None:
        self.is_train = is_train
        self.augmentations = T.AugmentationList(list(augmentations))
        self.image_format = image_format

    def __call__(self, record: dict) -> dict:
        """The model's input for ``record``, which stays as it is.

        Returns:
            The record without ``annotations``, with ``image`` (uint8 or float tensor [C, H, W],
            EXIF orientation applied) and in training ``instances``: ``gt_boxes`` (tight around the
            transformed masks), ``gt_classes`` and ``gt_masks`` (`BitMasks`). Crowd regions and
            objects that left the picture are dropped; ``height`` and ``width`` are the original's.

        Raises:
            UserError: if the image can't be read or has another size than its record says, or an
                annotation has no usable mask.
        """
        result = {key: value for key, value in record.items() if key != "annotations"}
        aug_input = T.AugInput(self._read(result))
        transforms = self.augmentations(aug_input)
        image = aug_input.image
        result["image"] = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        if self.is_train:
            result["instances"] = _instances(record, transforms, image.shape[:2])
        return result

    def _read(self, record: dict) -> np.ndarray:
        try:
            image = detection_utils.read_image(record["file_name"], self.image_format)
        except (OSError, SyntaxError, ValueError) as error:  # Pillow raises all three
            raise UserError(f"{_named(record)} can't be read: {error}") from None
        size = record.get("height", image.shape[0]), record.get("width", image.shape[1])
        if size != image.shape[:2]:
            raise UserError(
                f"{_named(record)} is {image.shape[0]} by {image.shape[1]} pixels (height, width), "
                f"but its annotations are for {size[0]} by {size[1]}"
            )
        detection_utils.check_image_size(record, image)
        return image


def _instances(record: dict, transforms: T.TransformList, size: tuple[int, int]) -> Instances:
    """The objects of ``record`` after ``transforms``, in an image of ``size`` (height, width)."""
    if "annotations" not in record:
        raise UserError(f"{_named(record)} is unlabelled and can't be trained on")
    objects = [
        _transformed(annotation, record, transforms, size)
        for annotation in record["annotations"]
        if not annotation.get("iscrowd", 0)
    ]
    if not objects:
        return Instances(
            size,
            gt_boxes=Boxes(torch.zeros(0, 4)),
            gt_classes=torch.zeros(0, dtype=torch.int64),
            gt_masks=BitMasks(torch.zeros(0, *size, dtype=torch.bool)),
        )
    instances = detection_utils.annotations_to_instances(objects, size, mask_format="bitmask")
    instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
    return detection_utils.filter_empty_instances(instances)


def _transformed(
    annotation: dict, record: dict, transforms: T.TransformList, size: tuple[int, int]
) -> dict:
    mask = annotation.get("segmentation")
    if mask is None or len(mask) == 0:
        raise UserError(f"{_named(record)}: {_annotation_name(annotation, record)} has no mask")
    if isinstance(mask, list):
        mask = [np.array(polygon, np.float64) for polygon in mask]  # transforms write into them
    try:
        return detection_utils.transform_instance_annotations(
            {**annotation, "segmentation": mask}, transforms, size
        )
    except (ValueError, TypeError) as error:
        where = f"{_named(record)}: {_annotation_name(annotation, record)}"
        raise UserError(f"{where} has no usable mask: {error}") from None


def _named(record: dict) -> str:
    return f"image {record['file_name']} (image id {record.get('image_id')})"


def _annotation_name(annotation: dict, record: dict) -> str:
    if "id" in annotation:
        return f"annotation {annotation['id']}"
    return f"annotation number {record['annotations'].index(annotation)} (counted from 0)"
