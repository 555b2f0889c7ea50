"""From one dataset dict to what a model takes: pictures, boxes, classes and masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from project.data.images import planes
from project.data.instances import MASK_FORMATS, as_instances
from project.data.objects import Objects, Picture, record_objects
from project.data.occlusion import hidden_pixels
from project.data.picture_reader import PictureReader
from project.data.statistics import ClassStatistics
from project.errors import UserError, unknown_name

from detectron2.data import transforms as T


class InstanceMapper(PictureReader):
    """Reads and augments one image of a dataset; polygons and RLE may be mixed.

    It gives what `detectron2.data.DatasetMapper` gives with ``use_instance_mask``, bit masks and
    ``recompute_boxes``, several times faster. Beyond that, images without objects work (no masks of
    the image's size instead of an exception), objects may hide each other, and what is wrong is
    told with file, image and annotation.

    Args:
        is_train: else annotations are dropped and only the image is read.
        augmentations: applied in order; their randomness is numpy's global generator.
        copy_paste: puts objects of another picture, augmented alike, into this one; see
            `project.data.augmentation.CopyPaste`. Only in training.
        final_augmentations: applied in order to the picture after that, so that what was pasted
            looks like the rest: colours, blur, JPEG, occluders; nothing that moves pixels.
        image_format: channel order of the model's input, "BGR" or "RGB".
        mask_format: of ``gt_masks``. "bitmask" holds for every augmentation, and mask targets are
            cut out on the model's device; it costs a byte for every pixel of the image and object,
            in shared memory where loader processes hand them over. "polygon" costs next to nothing
            there, and mask targets are filled on the CPU, where the model waits for them; see
            `project.data.instances.as_instances`. Where an object hides part of another one,
            polygons can't tell: such pictures have bit masks in either format.
        cache_mb: room for decoded images, in units of 2^20 bytes, in every process that loads (with
            ``num_workers=4``, four times); what comes out is the same. See `ImageCache`.
    """

    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation | T.Transform],
        copy_paste: Callable[..., Picture] | None = None,
        final_augmentations: Sequence[T.Augmentation | T.Transform] = (),
        image_format: str = "BGR",
        mask_format: str = "bitmask",
        cache_mb: float = 0,
    ) -> None:
        if mask_format not in MASK_FORMATS:
            raise UserError(unknown_name("mask_format", mask_format, MASK_FORMATS))
        if copy_paste is not None and not is_train:
            raise UserError("copy_paste is for training: it needs labels")
        super().__init__(augmentations, final_augmentations, image_format, cache_mb)
        self.is_train = is_train
        self.copy_paste = copy_paste
        self.mask_format = mask_format

    def bind(self, records: Sequence[dict], statistics: ClassStatistics) -> None:
        """Say which dataset this is: called by the loader, with the records that it holds anyway.

        Raises:
            UserError: if ``copy_paste`` finds nothing in it to paste.
        """
        if self.copy_paste is not None:
            self.copy_paste.bind(records, statistics)

    def __call__(self, record: dict) -> dict:
        """The model's input for ``record``, which stays as it is.

        Returns:
            The record without ``annotations``, with ``image`` (uint8 or float tensor [C, H, W],
            EXIF orientation applied) and in training ``instances``: ``gt_boxes`` (tight around the
            transformed masks), ``gt_classes`` and ``gt_masks``. Crowd regions and objects that left
            the picture are dropped; ``height`` and ``width`` are the original's.

        Raises:
            BrokenImage: if the image can't be read or has another size than its record says.
            UserError: if an annotation has no usable mask, or a final augmentation moves pixels.
        """
        result = {key: value for key, value in record.items() if key != "annotations"}
        image, transforms = self._opened(result)
        if not self.is_train:
            image, _ = self._finished(image, record)
            return {**result, "image": planes(image)}
        picture = Picture(image, self._objects(record, transforms, image.shape[:2]))
        if self.copy_paste is not None:
            picture = self.copy_paste(picture, record.get("position"), self._picture)
        image, transforms = self._finished(picture.image, record)
        objects = _unhidden(picture.objects, transforms)
        return {
            **result,
            "image": planes(image),
            "instances": as_instances(objects, self.mask_format),
        }

    def _picture(self, record: dict) -> Picture:
        """The picture of ``record`` after ``augmentations`` alone."""
        image, transforms = self._opened(dict(record))
        return Picture(image, self._objects(record, transforms, image.shape[:2]))

    def _objects(self, record: dict, transforms: T.TransformList, size: tuple[int, int]) -> Objects:
        objects = record_objects(record, transforms, size)
        if self.mask_format == "bitmask":
            objects = objects.drawn()
        return _unhidden(objects, transforms)


def _unhidden(objects: Objects, transforms: T.TransformList) -> Objects:
    """``objects`` without what the occlusions among ``transforms`` hide."""
    hidden = hidden_pixels(transforms.transforms)
    return objects if hidden is None else objects.without(*hidden)
