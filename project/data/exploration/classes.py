"""How the classes are spread: objects, images, company."""

from __future__ import annotations

from dataclasses import dataclass

from project.data.exploration.labels import LabelTable
from project.data.statistics import ClassStatistics

import numpy as np

COUNT_BINS = (1, 2, 3, 6, 11)  # 1, 2, 3-5, 6-10, 11 and more objects in an image


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """What each of K classes has.

    Attributes:
        instances: int64 [K], objects.
        images: int64 [K], images with at least one object.
        crowds: int64 [K], crowd regions.
        share: float64 [K], percent of all objects; 0 where there are none at all.
        image_share: float64 [K], percent of all images; 0 where there are none at all.
        negatives: images without any object.
    """

    instances: np.ndarray
    images: np.ndarray
    crowds: np.ndarray
    share: np.ndarray
    image_share: np.ndarray
    negatives: int

    @property
    def imbalance(self) -> float:
        """Objects of the commonest class per object of the rarest that occurs; 1 without any."""
        seen = self.instances[self.instances > 0]
        return float(seen.max() / seen.min()) if len(seen) else 1.0


def class_counts(table: LabelTable) -> ClassCounts:
    """Objects, images and crowd regions of each class."""
    statistics = table.statistics()
    crowds = np.bincount(table.class_index[table.crowd], minlength=len(table.class_names))
    return ClassCounts(
        instances=statistics.instances,
        images=statistics.images,
        crowds=crowds.astype(np.int64),
        share=100 * statistics.instances / max(statistics.instances.sum(), 1),
        image_share=100 * statistics.images / max(len(table.image_ids), 1),
        negatives=int((~statistics.present.any(1)).sum()),
    )


def co_occurrence(statistics: ClassStatistics) -> np.ndarray:
    """int64 [K, K]: images that show both classes; the diagonal holds the images of each class."""
    present = statistics.present.astype(np.int64)
    return present.T @ present


def company(together: np.ndarray) -> np.ndarray:
    """float64 [K, K]: percent of row class's images that show the column class too.

    ``together`` is what `co_occurrence` gives; rows of classes without an image are NaN.
    """
    images = np.diag(together).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return 100 * together / images[:, None]


def images_by_count(statistics: ClassStatistics) -> np.ndarray:
    """int64 [K + 1, 6]: images that hold 0, 1, 2, 3-5, 6-10, 11 or more objects of each class.

    The last row counts the objects of all classes together. Every row adds up to the N images.
    """
    counts = np.append(statistics.counts, statistics.counts.sum(1, keepdims=True), axis=1)
    bins = np.searchsorted(COUNT_BINS, counts, side="right")  # [N, K + 1], 0 to 5
    return (bins[..., None] == np.arange(len(COUNT_BINS) + 1)).sum(0)
