"""From one dataset dict to what a semantic model takes: a picture and the class of each pixel."""

from __future__ import annotations

from collections.abc import Sequence

from project.data.images import planes
from project.data.objects import record_objects
from project.data.occlusion import hidden_pixels
from project.data.picture_reader import PictureReader
from project.data.semantic_labels import IGNORED, truth_map
from project.errors import UserError

import numpy as np
import torch
from detectron2.data import transforms as T


class SemanticMapper(PictureReader):
    """Reads and augments one image of a dataset; its labels are painted from its objects' masks.

    Masks are transformed first and painted afterwards, by the rule of
    `project.data.semantic_labels`: outlines stay as sharp as polygons are. What an occluder hides
    is background.

    Args:
        is_train: else annotations are dropped and only the image is read.
        augmentations: applied in order; their randomness is numpy's global generator.
        final_augmentations: applied in order to the picture after that; nothing that moves pixels.
        num_classes: of the dataset; the label of the background.
        image_format: channel order of the model's input, "BGR" or "RGB".
        cache_mb: room for decoded images, in units of 2^20 bytes, in every process that loads; what
            comes out is the same. See `project.data.images.ImageCache`.
    """

    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation | T.Transform],
        final_augmentations: Sequence[T.Augmentation | T.Transform] = (),
        num_classes: int,
        image_format: str = "BGR",
        cache_mb: float = 0,
    ) -> None:
        if not 1 <= num_classes < IGNORED:
            raise UserError(f"num_classes={num_classes}: a map of classes holds 1 to {IGNORED - 1}")
        super().__init__(augmentations, final_augmentations, image_format, cache_mb)
        self.is_train = is_train
        self.num_classes = num_classes

    def __call__(self, record: dict) -> dict:
        """The model's input for ``record``, which stays as it is.

        Returns:
            The record without ``annotations``, with ``image`` (uint8 or float tensor [C, H, W],
            EXIF orientation applied) and in training ``sem_seg``: int64 tensor [H, W] of the
            dataset's classes, ``num_classes`` for background and 255 where only a crowd region is;
            ``height`` and ``width`` are the original's.

        Raises:
            BrokenImage: if the image can't be read or has another size than its record says.
            UserError: if an annotation has no usable mask or a class that there isn't, or a final
                augmentation moves pixels.
        """
        result = {key: value for key, value in record.items() if key != "annotations"}
        image, transforms = self._opened(result)
        image, last = self._finished(image, record)
        result["image"] = planes(image)
        if self.is_train:
            labels = self._labels(record, transforms, last, image.shape[:2])
            result["sem_seg"] = torch.from_numpy(labels.astype(np.int64))
        return result

    def _labels(
        self, record: dict, moved: T.TransformList, last: T.TransformList, size: tuple[int, int]
    ) -> np.ndarray:
        """int32 [H, W] labels of the picture after all transforms."""
        objects = record_objects(record, moved, size)
        if (objects.classes >= self.num_classes).any():
            raise UserError(
                f"image {record['file_name']} has an object of class {objects.classes.max()}, and "
                f"the mapper's num_classes is {self.num_classes}; leave it to the config"
            )
        crowds = record_objects(record, moved, size, crowds=True)
        labels, counts = truth_map(
            objects.drawn().masks,
            objects.classes.tolist(),
            crowds.drawn().masks,
            size,
            self.num_classes,
        )
        labels[~counts] = IGNORED
        hidden = hidden_pixels([*moved.transforms, *last.transforms])
        if hidden is not None:
            labels[hidden[0]] = self.num_classes
        return labels
