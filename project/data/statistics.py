"""How often each class occurs: the plain arrays that sampling and reports work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from project.data.records import flat_records
from project.errors import UserError

import numpy as np


@dataclass(frozen=True, eq=False)
class ClassStatistics:
    """Objects of each class in each image.

    Attributes:
        counts: int64 [N, K], number of objects (crowd regions not counted) of class k in image i.
        class_names: the K names.
    """

    counts: np.ndarray
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.counts.ndim != 2 or self.counts.shape[1] != len(self.class_names):
            raise ValueError(
                f"counts of shape {self.counts.shape} don't fit {len(self.class_names)} classes"
            )

    @property
    def present(self) -> np.ndarray:
        """bool [N, K]: class k occurs in image i."""
        return self.counts > 0

    @property
    def instances(self) -> np.ndarray:
        """int64 [K]: objects of each class."""
        return self.counts.sum(0)

    @property
    def images(self) -> np.ndarray:
        """int64 [K]: images that show each class."""
        return self.present.sum(0)


def class_statistics(
    dataset_dicts: Sequence[dict], class_names: Sequence[str] | None = None
) -> ClassStatistics:
    """Statistics of Detectron2 dataset dicts.

    Args:
        class_names: None takes the dicts' own (`project.data.catalog.SubsetDicts`), else numbers.

    Raises:
        UserError: if an annotation has a category that isn't one of the K.
    """
    own_names = getattr(dataset_dicts, "class_names", None)
    if class_names is None and own_names is not None and (flat := flat_records(dataset_dicts)):
        return ClassStatistics(flat.category_counts(len(own_names)), tuple(own_names))
    ids = [
        (i, annotation["category_id"], record.get("image_id", i))
        for i, record in enumerate(dataset_dicts)
        for annotation in record.get("annotations", ())
        if not annotation.get("iscrowd", 0)
    ]
    if class_names is None:
        class_names = own_names
    if class_names is None:
        class_names = [str(k) for k in range(1 + max((k for _, k, _ in ids), default=-1))]
    counts = np.zeros((len(dataset_dicts), len(class_names)), np.int64)
    for i, category, image_id in ids:
        if not 0 <= category < len(class_names):
            raise UserError(
                f"image {image_id} has category_id {category}; expected 0 to {len(class_names) - 1}"
            )
        counts[i, category] += 1
    return ClassStatistics(counts, tuple(class_names))
