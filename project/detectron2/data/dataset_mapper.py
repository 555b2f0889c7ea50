"""One record of a dataset → one input of a model.

Follows the API of ``detectron2.data.DatasetMapper``. What is better here: the annotations of an
image are transformed together, and copying a record doesn't copy its polygons.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch

from . import detection_utils as utils
from . import transforms as T

__all__ = ["DatasetMapper"]


class DatasetMapper:
    """Reads, augments and converts an image and its labels.

    Args:
        is_train: make ``instances``; else labels are dropped.
        augmentations: applied in order; plain transforms are allowed.
        image_format: see `detection_utils.read_image`.
        use_instance_mask: also give masks.
        use_keypoint: not supported; must be False.
        instance_mask_format: "polygon" or "bitmask".
        keypoint_hflip_indices: only of use with keypoints; must be None.
        precomputed_proposal_topk: not supported; must be None.
        recompute_boxes: take boxes from the transformed masks, which is tighter than transforming
            boxes where an augmentation crops or rotates.

    Raises:
        AssertionError: if boxes are to be recomputed without masks.
        NotImplementedError: for keypoints or precomputed proposals.
    """

    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation | T.Transform],
        image_format: str,
        use_instance_mask: bool = False,
        use_keypoint: bool = False,
        instance_mask_format: str = "polygon",
        keypoint_hflip_indices: np.ndarray | None = None,
        precomputed_proposal_topk: int | None = None,
        recompute_boxes: bool = False,
    ) -> None:
        if use_keypoint or keypoint_hflip_indices is not None:
            raise NotImplementedError("This Detectron2 trains no keypoints; set use_keypoint=False")
        if precomputed_proposal_topk is not None:
            raise NotImplementedError("This Detectron2 reads no precomputed proposals")
        assert use_instance_mask or not recompute_boxes, "recompute_boxes needs use_instance_mask"
        self.is_train, self.image_format = is_train, image_format
        self.augmentations = T.AugmentationList(augmentations)
        self.use_instance_mask, self.recompute_boxes = use_instance_mask, recompute_boxes
        self.instance_mask_format = instance_mask_format

    def __repr__(self) -> str:
        return (
            f"DatasetMapper(is_train={self.is_train}, augmentations={self.augmentations.augs}, "
            f"image_format={self.image_format!r}, use_instance_mask={self.use_instance_mask}, "
            f"instance_mask_format={self.instance_mask_format!r}, "
            f"recompute_boxes={self.recompute_boxes})"
        )

    def __call__(self, dataset_dict: dict) -> dict:
        """The model's input for a record, which isn't changed.

        Returns:
            All other keys of the record (``file_name``, ``image_id``; ``height`` and ``width`` of
            the *original* image), and

            * ``image``: [C, H, W] tensor, uint8 or float;
            * ``sem_seg``: int64 [H, W], if the record has ``sem_seg_file_name``;
            * ``instances``: see `detection_utils.annotations_to_instances`, in training and if the
              record has ``annotations``; without crowds and without empty instances.

        Raises:
            SizeMismatchError: if the image doesn't have the size that the record says.
            ValueError: if a mask that isn't a crowd is RLE and ``instance_mask_format`` is polygon.
        """
        annotations = dataset_dict.get("annotations")
        output = {
            key: copy.deepcopy(value)
            for key, value in dataset_dict.items()
            if key not in ("annotations", "sem_seg_file_name")
        }
        image = utils.read_image(dataset_dict["file_name"], format=self.image_format)
        utils.check_image_size(output, image)
        aug_input = T.AugInput(image, sem_seg=_read_labels(dataset_dict))
        transforms = self.augmentations(aug_input)
        output["image"] = _as_tensor(aug_input.image)
        if aug_input.sem_seg is not None:
            output["sem_seg"] = torch.from_numpy(aug_input.sem_seg.astype(np.int64))
        if self.is_train and annotations is not None:
            image_size = aug_input.image.shape[:2]
            output["instances"] = self._instances(annotations, transforms, image_size)
        return output

    def _instances(self, annotations: list[dict], transforms: T.Transform, image_size):
        unused = {"keypoints"} if self.use_instance_mask else {"keypoints", "segmentation"}
        # Dropped before the transforms, which would waste time on them.
        wanted = [
            {key: value for key, value in annotation.items() if key not in unused}
            for annotation in annotations
            if annotation.get("iscrowd", 0) == 0
        ]
        utils.transform_annotations(wanted, transforms, image_size)
        instances = utils.annotations_to_instances(wanted, image_size, self.instance_mask_format)
        if self.recompute_boxes and instances.has("gt_masks"):
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        return utils.filter_empty_instances(instances)


def _read_labels(dataset_dict: dict) -> np.ndarray | None:
    """The label map of a record, uint8 [H, W], or None if it has none."""
    if "sem_seg_file_name" not in dataset_dict:
        return None
    return utils.read_image(dataset_dict["sem_seg_file_name"], "L").squeeze(2)


def _as_tensor(image: np.ndarray) -> torch.Tensor:
    """[H, W] or [H, W, C] → contiguous tensor [C, H, W]."""
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
