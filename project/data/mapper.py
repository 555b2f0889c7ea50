"""From one dataset dict to what a model takes: pictures, boxes, classes and masks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from project.data.broken_images import BrokenImage
from project.data.images import ImageCache, planes
from project.data.instances import MASK_FORMATS, named, record_instances
from project.errors import UserError, unknown_name

import numpy as np
from detectron2.data import detection_utils
from detectron2.data import transforms as T


class InstanceMapper:
    """Reads and augments one image of a dataset; polygons and RLE may be mixed.

    It gives what `detectron2.data.DatasetMapper` gives with ``use_instance_mask``, bit masks and
    ``recompute_boxes``, several times faster. Beyond that, images without objects work (no masks of
    the image's size instead of an exception), and what is wrong is told with file, image and
    annotation.

    Args:
        is_train: else annotations are dropped and only the image is read.
        augmentations: applied in order; their randomness is numpy's global generator.
        image_format: channel order of the model's input, "BGR" or "RGB".
        mask_format: of ``gt_masks``. "bitmask" holds for every augmentation, and mask targets are
            cut out on the model's device; it costs a byte for every pixel of the image and object,
            in shared memory where loader processes hand them over. "polygon" costs next to nothing
            there, and mask targets are filled on the CPU, where the model waits for them; see
            `project.data.instances.record_instances`.
        cache_mb: room for decoded images, in units of 2^20 bytes, in every process that loads (with
            ``num_workers=4``, four times); what comes out is the same. See `ImageCache`.
    """

    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation | T.Transform],
        image_format: str = "BGR",
        mask_format: str = "bitmask",
        cache_mb: float = 0,
    ) -> None:
        if mask_format not in MASK_FORMATS:
            raise UserError(unknown_name("mask_format", mask_format, MASK_FORMATS))
        self.is_train = is_train
        self.augmentations = T.AugmentationList(list(augmentations))
        self.image_format = image_format
        self.mask_format = mask_format
        self.cache = ImageCache(cache_mb)

    def __call__(self, record: dict) -> dict:
        """The model's input for ``record``, which stays as it is.

        Returns:
            The record without ``annotations``, with ``image`` (uint8 or float tensor [C, H, W],
            EXIF orientation applied) and in training ``instances``: ``gt_boxes`` (tight around the
            transformed masks), ``gt_classes`` and ``gt_masks``. Crowd regions and objects that left
            the picture are dropped; ``height`` and ``width`` are the original's.

        Raises:
            BrokenImage: if the image can't be read or has another size than its record says.
            UserError: if an annotation has no usable mask.
        """
        result = {key: value for key, value in record.items() if key != "annotations"}
        aug_input = T.AugInput(self._read(result))
        transforms = self.augmentations(aug_input)
        image = aug_input.image
        result["image"] = planes(image)
        if self.is_train:
            size = image.shape[:2]
            result["instances"] = record_instances(record, transforms, size, self.mask_format)
        return result

    def _read(self, record: dict) -> np.ndarray:
        decode = partial(detection_utils.read_image, format=self.image_format)
        try:
            image = self.cache.read(record["file_name"], decode)
        except Exception as error:  # decoders of damaged files raise anything
            what = f"{named(record)} can't be read: {error}"
            raise BrokenImage(what, record["file_name"]) from None
        size = record.get("height", image.shape[0]), record.get("width", image.shape[1])
        if size != image.shape[:2]:
            raise BrokenImage(
                f"{named(record)} is {image.shape[0]} by {image.shape[1]} pixels (height, width), "
                f"but its annotations are for {size[0]} by {size[1]}",
                record["file_name"],
            )
        detection_utils.check_image_size(record, image)
        return image
