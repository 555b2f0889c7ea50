"""All statistics of one split at once, and beside it, where there is one, a second split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from project.data.exploration.classes import (
    ClassCounts,
    class_counts,
    co_occurrence,
    images_by_count,
)
from project.data.exploration.fit import Detector, ModelFit, fit_to_model
from project.data.exploration.labels import LabelTable
from project.data.exploration.measure import Measures, measure
from project.data.exploration.objects import (
    aspect_ratios,
    frame_contacts,
    image_shares,
    position_map,
    size_classes,
)
from project.data.exploration.pixels import PixelSummary, outliers, summarise_pixels
from project.data.exploration.plan import SamplingPlan, sampling_plan
from project.errors import UserError

import numpy as np

HIDDEN = 25.0  # percent of an object's box under others, from which on it is called occluded


@dataclass(frozen=True, eq=False)
class Objects:
    """Arrays over the M objects (crowd regions left out), in the order of the file.

    Attributes:
        rows: int64 [M], their rows in the label table.
        image_index, class_index: int64 [M].
        areas: float64 [M], square pixels: of the mask where it was measured, else the file's.
        size: int64 [M], 0 small, 1 medium, 2 large.
        share: float64 [M], percent of the image.
        aspect: float64 [M], width / height.
        frame: bool [M, 4], reaches the left, top, right, bottom frame.
    """

    rows: np.ndarray
    image_index: np.ndarray
    class_index: np.ndarray
    areas: np.ndarray
    size: np.ndarray
    share: np.ndarray
    aspect: np.ndarray
    frame: np.ndarray

    def of_class(self, k: int) -> np.ndarray:
        """bool [M]: objects of class ``k``."""
        return self.class_index == k


@dataclass(frozen=True, eq=False)
class Exploration:
    """Everything that is known about a split; see the class of each field.

    ``fit`` is over the same rows as ``objects``. ``dark`` and ``sharp`` [N] hold -1 for unusually
    dark or blurred images, 1 for unusually bright or sharp ones, else 0.
    """

    table: LabelTable
    counts: ClassCounts
    together: np.ndarray
    by_count: np.ndarray
    objects: Objects
    positions: np.ndarray
    measures: Measures
    pixels: PixelSummary
    dark: np.ndarray
    sharp: np.ndarray
    plan: SamplingPlan
    detector: Detector
    fit: ModelFit
    other: LabelTable | None
    other_counts: ClassCounts | None

    @property
    def objects_per_image(self) -> np.ndarray:
        """int64 [N]."""
        return np.bincount(self.objects.image_index, minlength=len(self.table.image_ids))


def explore(
    table: LabelTable,
    image_dir: str | Path | None,
    detector: Detector,
    *,
    other: LabelTable | None = None,
    limit: int = 5000,
    seed: int = 0,
    workers: int = 0,
    progress: bool = True,
) -> Exploration:
    """All statistics of ``table``; of ``other``, with the same classes, the class counts alone.

    Args:
        image_dir: None leaves out what needs pixels.
        limit, seed, workers: of the pass over images, see `measure`.

    Raises:
        UserError: if there are no images, or ``other`` has other classes.
    """
    if not len(table.image_ids):
        raise UserError(f"{table.name} has no images; there is nothing to explore")
    if other is not None and other.class_names != table.class_names:
        raise UserError(f"{other.name} has other classes than {table.name}; they can't be compared")
    statistics = table.statistics()
    measures = measure(table, image_dir, limit=limit, seed=seed, workers=workers, progress=progress)
    objects = describe_objects(table, measures.column("mask_pixels"))
    own_sizes = table.image_sizes[objects.image_index]
    boxes = table.boxes_xyxy[objects.rows]
    return Exploration(
        table=table,
        counts=class_counts(table),
        together=co_occurrence(statistics),
        by_count=images_by_count(statistics),
        objects=objects,
        positions=position_map(boxes, own_sizes),
        measures=measures,
        pixels=summarise_pixels(measures.histograms, measures.means, measures.squares),
        dark=outliers(measures.brightness),
        # Sharpness spans orders of magnitude; a plain image of one colour has none at all.
        sharp=outliers(np.log10(measures.sharpness + 1)),
        plan=sampling_plan(statistics),
        detector=detector,
        fit=fit_to_model(boxes, objects.image_index, table.image_sizes, detector),
        other=other,
        other_counts=None if other is None else class_counts(other),
    )


def describe_objects(table: LabelTable, mask_pixels: np.ndarray) -> Objects:
    """Sizes, shapes and frame contacts of all objects of a table.

    Args:
        mask_pixels: float64 [M], square pixels of each annotation's mask; NaN takes the file's
            area, which exporters fill with that of the box at times.
    """
    rows = np.flatnonzero(table.objects)
    areas = np.where(np.isfinite(mask_pixels), mask_pixels, table.areas)[rows]
    image_index = table.image_index[rows]
    sizes = table.image_sizes[image_index]
    return Objects(
        rows=rows,
        image_index=image_index,
        class_index=table.class_index[rows],
        areas=areas,
        size=size_classes(areas),
        share=image_shares(areas, sizes),
        aspect=aspect_ratios(table.box_sizes[rows]),
        frame=frame_contacts(table.boxes_xyxy[rows], sizes),
    )


def per_class(
    values: np.ndarray,
    class_index: np.ndarray,
    num_classes: int,
    statistic: Callable[[np.ndarray], float] = np.median,
) -> np.ndarray:
    """float64 [K]: ``statistic`` of the values [M] of each class that are numbers; NaN for none."""
    values = np.asarray(values, float)
    known = np.isfinite(values)
    groups = (values[known & (class_index == k)] for k in range(num_classes))
    return np.array([statistic(group) if len(group) else np.nan for group in groups], float)
