"""The ordinary way from a dataset dict to tensors: what `InstanceMapper` is measured against.

Pillow decodes and resizes, every annotation is copied, transformed and rasterised by itself, and
boxes and emptiness are taken from masks of the whole picture. The output is that of
`project.data.mapper.InstanceMapper`, pixels to one grey level.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from detectron2.structures import BitMasks


class PlainMapper:
    """A training mapper in BGR; ``mask_format`` as `InstanceMapper` has it."""

    def __init__(
        self, *, augmentations: Sequence[T.Augmentation], mask_format: str = "bitmask"
    ) -> None:
        self.augmentations, self.mask_format = list(augmentations), mask_format

    def __call__(self, record: dict) -> dict:
        """The record without annotations, with ``image`` and ``instances``."""
        result = copy.deepcopy(record)
        image, steps = self._augmented(read_with_pillow(record["file_name"]))
        size = image.shape[:2]
        annotations = [
            detection_utils.transform_instance_annotations(annotation, steps, size)
            for annotation in result.pop("annotations")
            if not annotation["iscrowd"]
        ]
        if self.mask_format == "bitmask":
            for annotation in annotations:
                annotation["segmentation"] = rasterised(annotation["segmentation"], size)
        instances = detection_utils.annotations_to_instances(annotations, size, self.mask_format)
        if annotations:
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        elif self.mask_format == "bitmask":
            instances.gt_masks = BitMasks(torch.zeros(0, *size))
        result["instances"] = detection_utils.filter_empty_instances(instances)
        result["image"] = torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return result

    def _augmented(self, image: np.ndarray) -> tuple[np.ndarray, T.TransformList]:
        steps = []
        for augmentation in self.augmentations:
            step = augmentation.get_transform(image)
            resize = isinstance(step, T.ResizeTransform)
            image = resize_with_pillow(image, step) if resize else step.apply_image(image)
            steps.append(step)
        return image, T.TransformList(steps)


def read_with_pillow(file_name: str) -> np.ndarray:
    """BGR pixels of a file, upright."""
    from PIL import Image, ImageOps

    with Image.open(file_name) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))[:, :, ::-1]


def resize_with_pillow(image: np.ndarray, step: T.ResizeTransform) -> np.ndarray:
    """``image`` in the size that ``step`` is for."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((step.new_w, step.new_h), Image.Resampling.BILINEAR))


def rasterised(mask: list[np.ndarray] | np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Polygons as a mask of the whole picture, by pycocotools; a mask as it is."""
    from pycocotools import mask as coco_mask

    if isinstance(mask, np.ndarray):
        return mask
    parts = coco_mask.frPyObjects([part.tolist() for part in mask], *size)
    return coco_mask.decode(coco_mask.merge(parts)).astype(bool)
