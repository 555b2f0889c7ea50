"""Which detection met which object: the records that every further figure is computed from."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Matches:
    """COCO's matching of detections with objects, one row per detection.

    An image gives at most `max_detections` rows per class. Rows are sorted by image, then
    category, then falling score (stable, as pycocotools sorts).

    Attributes:
        class_names: K names, in the order of the columns of `num_objects`.
        image_ids: int64 [N], ids of all images evaluated, with or without objects.
        iou_thresholds: float64 [T], 0.5 to 0.95 in steps of 0.05 unless asked otherwise.
        image: int32 [D], index into `image_ids`.
        category: int32 [D], index into `class_names`.
        score: float64 [D].
        matched: bool [T, D], matched to an object that counts.
        ignored: bool [T, D], counts neither as true nor as false: matched to a crowd, or to an
            object out of the area range, or unmatched and itself out of the area range.
        object_id: int64 [T, D], annotation id of the matched object, 0 for none.
        iou: float64 [D], 0-1, with the object matched at the lowest threshold, 0 for none.
        num_objects: int32 [N, K], objects that count: not crowd, inside the area range.
    """

    class_names: tuple[str, ...]
    image_ids: np.ndarray
    iou_thresholds: np.ndarray
    image: np.ndarray
    category: np.ndarray
    score: np.ndarray
    matched: np.ndarray
    ignored: np.ndarray
    object_id: np.ndarray
    iou: np.ndarray
    num_objects: np.ndarray
