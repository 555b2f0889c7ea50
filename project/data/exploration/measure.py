"""One pass over the images of a label table: their pixels and their masks, in parallel.

Workers import neither torch nor Detectron2, so they start fast.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from project.data.coco_masks import check_mask
from project.data.exploration.labels import LabelTable
from project.data.exploration.masks import (
    MEAN_MASK,
    boundary_length,
    complexity,
    num_vertices,
    parts_and_holes,
    pixel_claims,
    rasterise,
    small_mask,
)
from project.data.exploration.pixels import HISTOGRAM_BINS, PixelMeasures, pixel_measures

import numpy as np

# Columns of `Measures.objects`; percent, pixels or plain numbers as in `project.data.exploration`.
OBJECT_COLUMNS = (
    "mask_pixels",
    "parts",
    "holes",
    "vertices",
    "boundary",
    "complexity",
    "fill",
    "overlap",
    "cover",
)
_SMALL_JOB = 32  # images: below it, starting workers costs more than they save


@dataclass(frozen=True, eq=False)
class Measures:
    """What the pass found; rows of images that weren't looked at (or can't be read) are NaN or 0.

    Attributes:
        looked_at: bool [N], images whose masks were measured.
        unreadable: bool [N], images that were looked at and whose file can't be read.
        histograms: int64 [N, 3, 64]; means, squares: float64 [N, 3], see `PixelMeasures`.
        brightness, sharpness: float64 [N].
        class_pixels: int64 [N, K]; crowd_pixels, background, shared: int64 [N], see `PixelClaims`.
        objects: float64 [M, 9], columns `OBJECT_COLUMNS`; NaN for crowd regions and for
            annotations without a usable mask. ``vertices`` is 0 for RLE.
        mean_masks: float64 [K, 28, 28], mean share of each cell of the mask's box, 0-1.
        mask_totals: int64 [K], masks that went into each mean.
    """

    looked_at: np.ndarray
    unreadable: np.ndarray
    histograms: np.ndarray
    means: np.ndarray
    squares: np.ndarray
    brightness: np.ndarray
    sharpness: np.ndarray
    class_pixels: np.ndarray
    crowd_pixels: np.ndarray
    background: np.ndarray
    shared: np.ndarray
    objects: np.ndarray
    mean_masks: np.ndarray
    mask_totals: np.ndarray

    def column(self, name: str) -> np.ndarray:
        """float64 [M]: one column of ``objects``."""
        return self.objects[:, OBJECT_COLUMNS.index(name)]


@dataclass(frozen=True)
class _Task:
    row: int
    file: str | None
    size: tuple[int, int]
    num_classes: int
    rows: np.ndarray  # of the image's annotations
    classes: np.ndarray
    crowd: np.ndarray
    segmentations: tuple[bytes, ...]


def measure(
    table: LabelTable,
    image_dir: str | Path | None,
    *,
    limit: int = 5000,
    seed: int = 0,
    workers: int = 0,
    progress: bool = True,
) -> Measures:
    """Measures of the images and masks of ``table``.

    Args:
        image_dir: None measures masks alone.
        limit: at most so many images, drawn with ``seed``.
        workers: processes; 0 takes one a core.
    """
    results = _blank(table)
    with _Workers(workers or len(os.sched_getaffinity(0)), len(table.image_ids)) as pool:
        found = pool.map(_measure_image, _tasks(table, image_dir, limit, seed))
        if progress:
            from tqdm import tqdm

            found = tqdm(found, f"Measuring {table.name}", min(limit, len(table.image_ids)))
        for result in found:
            _store(results, *result)
    totals = np.maximum(results.mask_totals, 1)[:, None, None]
    results.mean_masks[...] /= totals
    return results


class _Workers:
    """A pool of processes with an ordered ``map``; a plain loop for small jobs or one worker."""

    def __init__(self, workers: int, num_images: int) -> None:
        self._pool = None
        if workers > 1 and num_images >= _SMALL_JOB:
            # Not fork: the parent may hold threads (torch, OpenCV), whose locks a fork would copy.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(workers, mp_context=context)

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, kind, *_) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=kind is not None)

    def map(self, function, tasks: Sequence) -> Iterable:
        """``function`` of each task, in their order."""
        if self._pool is None:
            return map(function, tasks)
        return self._pool.map(function, tasks, chunksize=4)


def _tasks(table: LabelTable, image_dir, limit: int, seed: int) -> list[_Task]:
    rows = np.arange(len(table.image_ids))
    if len(rows) > limit:
        rows = np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))
    order = np.argsort(table.image_index, kind="stable")
    starts = np.searchsorted(table.image_index[order], np.arange(len(table.image_ids) + 1))
    tasks = []
    for row in rows.tolist():
        own = order[starts[row] : starts[row + 1]]
        file = None if image_dir is None else str(Path(image_dir, table.file_names[row]))
        tasks.append(
            _Task(
                row=row,
                file=file,
                size=tuple(table.image_sizes[row].tolist()),
                num_classes=len(table.class_names),
                rows=own,
                classes=table.class_index[own],
                crowd=table.crowd[own],
                segmentations=tuple(bytes(table.segmentations[m]) for m in own),
            )
        )
    return tasks


def _measure_image(task: _Task):
    """Everything about one image: its task, its pixels (None: unreadable), masks, claims."""
    pixels = None
    if task.file is not None and (image := read_rgb(task.file)) is not None:
        pixels = pixel_measures(image)
    numbers = np.full((len(task.rows), len(OBJECT_COLUMNS)), np.nan)
    masks, crowds, used = [], [], []
    sums, totals = {}, {}
    for i, raw in enumerate(task.segmentations):
        mask = check_mask(raw, *task.size).mask
        pieces = rasterise(mask, *task.size) if mask else None
        if pieces is None:
            continue
        if task.crowd[i]:
            crowds.append(pieces)
            continue
        masks.append(pieces)
        used.append(i)
        numbers[i] = _structure(mask, pieces.pixels)
        k = int(task.classes[i])
        sums[k] = sums.get(k, 0) + small_mask(pieces.pixels)
        totals[k] = totals.get(k, 0) + 1
    classes = task.classes[used].tolist()
    claims = pixel_claims(masks, classes, crowds, task.size, task.num_classes)
    numbers[used, -2], numbers[used, -1] = claims.overlap, claims.cover
    return task.row, task.rows, task.file, pixels, numbers, claims, sums, totals


def _structure(mask, pixels: np.ndarray) -> list[float]:
    """`OBJECT_COLUMNS` of one mask; the last two need the whole image and are NaN here."""
    area = int(pixels.sum())
    boundary = boundary_length(mask, pixels)
    shape = complexity(boundary, area)
    parts, holes = parts_and_holes(pixels)
    fill = 100 * area / pixels.size
    nan = float("nan")
    return [area, parts, holes, num_vertices(mask), boundary, shape, fill, nan, nan]


def read_rgb(file: str) -> np.ndarray | None:
    """uint8 RGB [H, W, 3] of an image file; None if it can't be read."""
    import cv2

    try:
        data = np.fromfile(file, np.uint8)
    except OSError:
        return None
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    return None if image is None else np.ascontiguousarray(image[..., ::-1])


def _blank(table: LabelTable) -> Measures:
    n, m, k = len(table.image_ids), len(table.annotation_ids), len(table.class_names)
    return Measures(
        looked_at=np.zeros(n, bool),
        unreadable=np.zeros(n, bool),
        histograms=np.zeros((n, 3, HISTOGRAM_BINS), np.int64),
        means=np.zeros((n, 3)),
        squares=np.zeros((n, 3)),
        brightness=np.full(n, np.nan),
        sharpness=np.full(n, np.nan),
        class_pixels=np.zeros((n, k), np.int64),
        crowd_pixels=np.zeros(n, np.int64),
        background=np.zeros(n, np.int64),
        shared=np.zeros(n, np.int64),
        objects=np.full((m, len(OBJECT_COLUMNS)), np.nan),
        mean_masks=np.zeros((k, MEAN_MASK, MEAN_MASK)),
        mask_totals=np.zeros(k, np.int64),
    )


def _store(to: Measures, row, rows, file, pixels: PixelMeasures | None, numbers, claims, sums, n):
    """Put what `_measure_image` found into the arrays."""
    to.looked_at[row] = True
    to.unreadable[row] = file is not None and pixels is None
    if pixels is not None:
        to.histograms[row] = pixels.histogram
        to.means[row], to.squares[row] = pixels.mean, pixels.square
        to.brightness[row], to.sharpness[row] = pixels.brightness, pixels.sharpness
    to.class_pixels[row], to.crowd_pixels[row] = claims.class_pixels, claims.crowd
    to.background[row], to.shared[row] = claims.background, claims.shared
    to.objects[rows] = numbers
    for k, total in sums.items():
        to.mean_masks[k] += total
        to.mask_totals[k] += n[k]
