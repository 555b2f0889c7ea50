"""What mappers are made of: reading images, transforming annotations, making instances.

Follows the API of ``detectron2.data.detection_utils``; the parts live in ``image_io`` and
``annotations``.
"""

from __future__ import annotations

import numpy as np

from .annotations import (
    annotations_to_instances,
    filter_empty_instances,
    transform_annotations,
    transform_instance_annotations,
)
from .image_io import convert_image_to_rgb, read_image

__all__ = [
    "SizeMismatchError",
    "annotations_to_instances",
    "check_image_size",
    "convert_image_to_rgb",
    "filter_empty_instances",
    "read_image",
    "transform_annotations",
    "transform_instance_annotations",
]


# Their home, whatever file they stand in: saved configs and pickles name it.
for _function in (
    annotations_to_instances,
    convert_image_to_rgb,
    filter_empty_instances,
    read_image,
    transform_instance_annotations,
):
    _function.__module__ = __name__


class SizeMismatchError(ValueError):
    """An image doesn't have the size that its record says."""


def check_image_size(dataset_dict: dict, image: np.ndarray) -> None:
    """Compare the record with its image; missing ``width`` and ``height`` are written into it.

    Raises:
        SizeMismatchError: if they differ, because then the labels don't fit to the image either.
    """
    found = {"width": image.shape[1], "height": image.shape[0]}
    said = {side: dataset_dict.setdefault(side, length) for side, length in found.items()}
    if said != found:
        raise SizeMismatchError(
            f"{dataset_dict.get('file_name', 'The image')} is {found['width']} x {found['height']} "
            f"pixels, its record says {said['width']} x {said['height']}; a common cause is an "
            f"EXIF orientation that the annotation tool ignored"
        )
