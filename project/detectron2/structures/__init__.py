"""Boxes, masks, batches of images, and records of what is in an image.

Follows the API of ``detectron2.structures``.
"""

from ..utils.aliases import names_of_submodules
from .boxes import Boxes, BoxMode, pairwise_ioa, pairwise_iou, pairwise_point_box_distance
from .image_list import ImageList
from .instances import Instances
from .masks import BitMasks, PolygonMasks, ROIMasks, polygons_to_bitmask

__all__ = [
    "BitMasks",
    "BoxMode",
    "Boxes",
    "ImageList",
    "Instances",
    "PolygonMasks",
    "ROIMasks",
    "pairwise_ioa",
    "pairwise_iou",
    "pairwise_point_box_distance",
    "polygons_to_bitmask",
]

__getattr__ = names_of_submodules(
    __name__, {"boxes": ["matched_pairwise_iou", "pairwise_intersection"]}
)
