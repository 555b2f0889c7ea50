"""How well the labels fit a detector: its input size, its anchors, its pyramid.

All of it is arithmetic on boxes; anchors and strides come in as numbers, from any model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SIZE_DIVISOR = 32  # images are padded to multiples of it


@dataclass(frozen=True, eq=False)
class AnchorGrid:
    """Anchors of a detector, one set of boxes on each cell of each level's grid.

    Attributes:
        cells: per level float [A, 4], XYXY in pixels around the centre of a cell.
        strides: per level, distance of the centres in pixels.
        offset: of the first centre from the image's corner, in strides.
    """

    cells: tuple[np.ndarray, ...]
    strides: tuple[int, ...]
    offset: float = 0.0


@dataclass(frozen=True)
class InputSize:
    """How images are resized: the short side to ``shortest``, the long one to ``longest`` at most.

    ``shortest`` 0 leaves images as they are.
    """

    shortest: int
    longest: int


def input_sizes(image_sizes: np.ndarray, size: InputSize) -> np.ndarray:
    """int64 [N, 2]: height and width of images [N, 2] as the model gets them, before padding.

    Rounds as Detectron2's ``ResizeShortestEdge`` does.
    """
    image_sizes = np.asarray(image_sizes, np.int64).reshape(-1, 2)
    if not size.shortest:
        return image_sizes
    scaled = image_sizes * (size.shortest / image_sizes.min(1, keepdims=True))
    shrink = np.minimum(size.longest / np.maximum(scaled.max(1, keepdims=True), 1e-9), 1)
    return np.floor(scaled * shrink + 0.5).astype(np.int64)


def boxes_at_input(
    boxes_xyxy: np.ndarray, image_sizes: np.ndarray, sizes_at_input: np.ndarray
) -> np.ndarray:
    """float64 [M, 4]: boxes after a resize of their images [M, 2] to ``sizes_at_input`` [M, 2]."""
    factors = np.asarray(sizes_at_input, float) / np.asarray(image_sizes, float)
    return np.asarray(boxes_xyxy, float) * factors[:, [1, 0, 1, 0]]


def best_anchors(
    boxes_xyxy: np.ndarray, sizes_at_input: np.ndarray, grid: AnchorGrid
) -> tuple[np.ndarray, np.ndarray]:
    """The IoU (0-1) float64 [M] and the level int64 [M] of the anchor that fits each box best.

    A box that no anchor overlaps, as one without extent, has an IoU of 0 and the level -1.

    Exact without looking at all anchors: for one shape, the overlap is a product of one in x and
    one in y, both of which only fall with the distance of the centres; so the best anchor of each
    shape is the one on the nearest cell of the grid.

    Args:
        boxes_xyxy: [M, 4] in pixels of the model's input.
        sizes_at_input: [M, 2], height and width of the image of each box.
    """
    boxes = np.asarray(boxes_xyxy, float).reshape(-1, 4)
    sizes = np.asarray(sizes_at_input, float).reshape(-1, 2)
    best, level = np.zeros(len(boxes)), np.full(len(boxes), -1)
    for number, (cell, stride) in enumerate(zip(grid.cells, grid.strides, strict=True)):
        padded = np.ceil(sizes / SIZE_DIVISOR) * SIZE_DIVISOR
        last = np.ceil(padded / stride)[:, ::-1] - 1  # index of the last column and row
        for anchor in np.asarray(cell, float):
            middle = (anchor[:2] + anchor[2:]) / 2 + grid.offset * stride
            wanted = ((boxes[:, :2] + boxes[:, 2:]) / 2 - middle) / stride
            place = np.clip(np.round(wanted), 0, last) * stride + grid.offset * stride
            iou = _iou(boxes, np.tile(place, 2) + anchor)
            better = iou > best
            best[better], level[better] = iou[better], number
    return best, level


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU [M] of boxes [M, 4] with their partners [M, 4]; 0 for boxes without extent."""
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    inter = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = [np.prod(np.clip(x[:, 2:] - x[:, :2], 0, None), axis=1) for x in (a, b)]
    union = areas[0] + areas[1] - inter
    return np.divide(inter, union, out=np.zeros(len(a)), where=union > 0)


def pyramid_levels(
    boxes_xyxy: np.ndarray, levels: Sequence[int], canonical_size: int = 224, canonical_level=4
) -> np.ndarray:
    """int64 [M]: the level whose features describe each box, one of ``levels``.

    floor(4 + log2(sqrt(area) / 224)), Lin et al. 2017 ("Feature Pyramid Networks", equation 1).
    """
    boxes = np.asarray(boxes_xyxy, float).reshape(-1, 4)
    side = np.sqrt(np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1))
    level = np.floor(canonical_level + np.log2(side / canonical_size + 1e-8))
    return np.clip(level, min(levels), max(levels)).astype(np.int64)


def vanishing(boxes_xyxy: np.ndarray, finest_stride: int) -> np.ndarray:
    """bool [M]: boxes [M, 4] that are smaller than one cell of the finest feature map both ways."""
    boxes = np.asarray(boxes_xyxy, float).reshape(-1, 4)
    return ((boxes[:, 2:] - boxes[:, :2]) < finest_stride).all(1)


@dataclass(frozen=True)
class Detector:
    """The numbers of a model that labels are held against.

    ``roi_levels`` are the pyramid levels that regions are pooled from, finest first; level l has
    stride 2^l.
    """

    name: str
    input_size: InputSize
    anchors: AnchorGrid
    roi_levels: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class ModelFit:
    """How M boxes fit a detector.

    Attributes:
        iou: float64 [M], 0-1, of the best anchor of all.
        anchor_level: int64 [M], 0 for the finest, of that anchor; -1 where none overlaps.
        roi_level: int64 [M], the level whose features describe the box.
        vanishes: bool [M], smaller than a cell of the finest level.
        median_scale: of the images at the model's input; NaN without images.
    """

    iou: np.ndarray
    anchor_level: np.ndarray
    roi_level: np.ndarray
    vanishes: np.ndarray
    median_scale: float


def fit_to_model(
    boxes_xyxy: np.ndarray, image_index: np.ndarray, image_sizes: np.ndarray, detector: Detector
) -> ModelFit:
    """The fit of boxes [M, 4] on images ``image_index`` [M] of sizes [N, 2] (height, width)."""
    at_input = input_sizes(image_sizes, detector.input_size)
    boxes = boxes_at_input(boxes_xyxy, image_sizes[image_index], at_input[image_index])
    iou, level = best_anchors(boxes, at_input[image_index], detector.anchors)
    scales = at_input[:, 0] / np.asarray(image_sizes, float).reshape(-1, 2)[:, 0]
    return ModelFit(
        iou=iou,
        anchor_level=level,
        roi_level=pyramid_levels(boxes, detector.roi_levels),
        vanishes=vanishing(boxes, 2 ** min(detector.roi_levels)),
        median_scale=float(np.median(scales)) if len(scales) else float("nan"),
    )


def recall(ious: np.ndarray, threshold: float = 0.5) -> float:
    """Percent of boxes whose best IoU reaches ``threshold``; NaN without boxes."""
    return 100 * float((ious >= threshold).mean()) if len(ious) else float("nan")
