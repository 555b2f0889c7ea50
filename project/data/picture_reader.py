"""What mappers share: a record's image read, checked and augmented."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from project.data.broken_images import BrokenImage
from project.data.images import ImageCache
from project.data.objects import named
from project.data.occlusion import Occlusion
from project.errors import UserError

import numpy as np
from detectron2.data import detection_utils
from detectron2.data import transforms as T

# What may be done to a finished picture: labels needn't follow, or only lose what is hidden.
_IN_PLACE = (Occlusion, T.ColorTransform, T.BlendTransform, T.NoOpTransform)


class PictureReader:
    """Reads and augments images; what becomes of labels is for the mappers built on it.

    Args:
        augmentations: applied in order; their randomness is numpy's global generator.
        final_augmentations: applied in order to the picture at the end; nothing that moves pixels.
        image_format: channel order of the model's input, "BGR" or "RGB".
        cache_mb: room for decoded images, in units of 2^20 bytes, in every process that loads; what
            comes out is the same. See `ImageCache`.
    """

    def __init__(
        self,
        augmentations: Sequence[T.Augmentation | T.Transform],
        final_augmentations: Sequence[T.Augmentation | T.Transform],
        image_format: str,
        cache_mb: float,
    ) -> None:
        self.augmentations = T.AugmentationList(list(augmentations))
        self.final_augmentations = T.AugmentationList(list(final_augmentations))
        self.image_format = image_format
        self.cache = ImageCache(cache_mb)

    def _opened(self, record: dict) -> tuple[np.ndarray, T.TransformList]:
        """The image of ``record`` after ``augmentations``, and what they did.

        ``record`` gets its ``height`` and ``width`` where it lacks them.

        Raises:
            BrokenImage: if the image can't be read or has another size than its record says.
        """
        return self._augmented(self._read(record), self.augmentations, record)

    def _finished(self, image: np.ndarray, record: dict) -> tuple[np.ndarray, T.TransformList]:
        """``image`` after ``final_augmentations``, and what they did."""
        image, transforms = self._augmented(image, self.final_augmentations, record)
        for step in transforms.transforms:
            if not isinstance(step, _IN_PLACE):
                raise UserError(
                    f"final_augmentations must leave every pixel in its place, and "
                    f"{type(step).__name__} may not: put it into augmentations"
                )
        return image, transforms

    @staticmethod
    def _augmented(
        image: np.ndarray, augmentations: T.AugmentationList, record: dict
    ) -> tuple[np.ndarray, T.TransformList]:
        aug_input = T.AugInput(image)
        aug_input.position = record.get("position")
        transforms = augmentations(aug_input)
        return aug_input.image, transforms

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
