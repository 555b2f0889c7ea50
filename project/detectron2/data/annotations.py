"""The annotations of an image: transformed together with it, and turned into `Instances`.

Follows the annotation functions of ``detectron2.data.detection_utils``. What is better here: boxes
and polygons of an image are packed into one array each and transformed at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from fvcore.transforms.transform import HFlipTransform, Transform, TransformList

from ..structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks, polygons_to_bitmask
from ..structures.rle import decode_rle

__all__ = [
    "annotations_to_instances",
    "filter_empty_instances",
    "transform_annotations",
    "transform_instance_annotations",
]


def transform_instance_annotations(
    annotation: dict,
    transforms: Transform | Sequence[Transform],
    image_size: tuple[int, int],
    *,
    keypoint_hflip_indices: np.ndarray | None = None,
) -> dict:
    """One annotation, changed in place as ``transforms`` changed its image, and returned.

    Args:
        annotation: with ``bbox`` and ``bbox_mode``, and where there are any, ``segmentation``
            (polygons or RLE) and ``keypoints``.
        transforms: what was applied to the image.
        image_size: (height, width) of the image after it.
        keypoint_hflip_indices: place of the mirrored keypoint of each keypoint (int [K]); used
            where ``transforms`` hold an odd number of horizontal flips.

    Returns:
        ``annotation``: ``bbox`` XYXY, clipped to the image; polygons as float64 arrays (clipped
        only by a crop); RLE as a mask array; keypoints as [K, 3].

    Raises:
        ValueError: for a ``segmentation`` that is neither polygons nor RLE.
        AssertionError: for a mask that doesn't have the size of the image.
    """
    return transform_annotations(
        [annotation], transforms, image_size, keypoint_hflip_indices=keypoint_hflip_indices
    )[0]


def transform_annotations(
    annotations: list[dict],
    transforms: Transform | Sequence[Transform],
    image_size: tuple[int, int],
    *,
    keypoint_hflip_indices: np.ndarray | None = None,
) -> list[dict]:
    """Like `transform_instance_annotations`, for all annotations of an image at once."""
    if not isinstance(transforms, Transform):
        transforms = TransformList(list(transforms))
    _transform_boxes(annotations, transforms, image_size)
    _transform_segmentations(annotations, transforms, image_size)
    for annotation in annotations:
        if "keypoints" in annotation:
            annotation["keypoints"] = _transform_keypoints(
                annotation["keypoints"], transforms, image_size, keypoint_hflip_indices
            )
    return annotations


def _transform_boxes(
    annotations: list[dict], transforms: Transform, image_size: tuple[int, int]
) -> None:
    modes = [annotation["bbox_mode"] for annotation in annotations]
    for mode in set(modes):
        same = [a for a, other in zip(annotations, modes, strict=True) if other == mode]
        boxes = np.array([annotation["bbox"] for annotation in same], dtype=np.float64)
        boxes = transforms.apply_box(BoxMode.convert(boxes, BoxMode(mode), BoxMode.XYXY_ABS))
        height, width = image_size
        boxes = np.clip(boxes, 0, [width, height, width, height])
        for annotation, box in zip(same, boxes, strict=True):
            annotation["bbox"], annotation["bbox_mode"] = box, BoxMode.XYXY_ABS


def _transform_segmentations(
    annotations: list[dict], transforms: Transform, image_size: tuple[int, int]
) -> None:
    with_polygons = []
    for annotation in annotations:
        segmentation = annotation.get("segmentation")
        if isinstance(segmentation, list):
            with_polygons.append(annotation)
        elif isinstance(segmentation, dict):
            mask = transforms.apply_segmentation(decode_rle(segmentation))
            assert mask.shape[:2] == tuple(image_size), (
                f"A mask is {mask.shape[:2]} after the transforms, its image {tuple(image_size)}"
            )
            annotation["segmentation"] = mask
        elif "segmentation" in annotation:
            raise ValueError(
                f"A segmentation must be a list of polygons or a COCO RLE dict, "
                f"got {type(segmentation)}"
            )
    polygons = [
        [np.asarray(part, dtype=np.float64).reshape(-1, 2) for part in a["segmentation"]]
        for a in with_polygons
    ]
    polygons = _transform_polygons(polygons, transforms)
    for annotation, parts in zip(with_polygons, polygons, strict=True):
        annotation["segmentation"] = [part.reshape(-1) for part in parts]


def _transform_polygons(
    instances: list[list[np.ndarray]], transforms: Transform
) -> list[list[np.ndarray]]:
    """The polygons [P, 2] of each instance after ``transforms``."""
    steps = transforms.transforms if isinstance(transforms, TransformList) else [transforms]
    for step in steps:
        # Only a transform with its own idea of a polygon (a crop) needs to see them one by one.
        if type(step).apply_polygons is not Transform.apply_polygons:
            instances = [step.apply_polygons(parts) for parts in instances]
        elif any(instances):
            points = np.concatenate([part for parts in instances for part in parts])
            instances = _unpack(step.apply_coords(points), instances)
    return instances


def _unpack(points: np.ndarray, like: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
    """``points`` [sum of all P, 2] cut up into polygons as long as those of ``like``."""
    borders = np.cumsum([len(part) for parts in like for part in parts])
    pieces = iter(np.split(points, borders[:-1]))
    return [[next(pieces) for _ in parts] for parts in like]


def _transform_keypoints(
    keypoints: Sequence[float],
    transforms: Transform,
    image_size: tuple[int, int],
    hflip_indices: np.ndarray | None,
) -> np.ndarray:
    """Keypoints (x, y, visibility), float64 [K, 3]; all zero where unlabelled or off the image."""
    keypoints = np.array(keypoints, dtype=np.float64).reshape(-1, 3)
    xy = transforms.apply_coords(keypoints[:, :2].copy())
    height, width = image_size
    inside = ((xy >= 0) & (xy <= [width, height])).all(axis=1)
    labelled = inside & (keypoints[:, 2] > 0)
    keypoints[:, :2] = xy
    keypoints[~labelled] = 0
    steps = transforms.transforms if isinstance(transforms, TransformList) else [transforms]
    if sum(isinstance(step, HFlipTransform) for step in steps) % 2 == 1:
        # A mirrored left hand is a right hand.
        assert hflip_indices is not None, "Flipping keypoints needs keypoint_hflip_indices"
        keypoints = keypoints[np.asarray(hflip_indices)]
    return keypoints


def annotations_to_instances(
    annos: list[dict], image_size: tuple[int, int], mask_format: str = "polygon"
) -> Instances:
    """What a model is trained on: ``gt_boxes``, ``gt_classes`` and, if there are any, ``gt_masks``.

    Args:
        annos: transformed annotations. If the first has a ``segmentation``, all must.
        image_size: (height, width).
        mask_format: "polygon" gives `PolygonMasks`, "bitmask" `BitMasks`.

    Returns:
        `Instances` of all annotations, crowds too; boxes float32, classes int64. Without
        annotations there is no field ``gt_masks``.

    Raises:
        ValueError: for segmentations that are missing or don't fit to ``mask_format``.
        AssertionError: for another ``mask_format``.
    """
    height_width = tuple(image_size)
    boxes = [BoxMode.convert(a["bbox"], BoxMode(a["bbox_mode"]), BoxMode.XYXY_ABS) for a in annos]
    instances = Instances(height_width)
    instances.gt_boxes = Boxes(torch.from_numpy(np.array(boxes, dtype=np.float32).reshape(-1, 4)))
    instances.gt_classes = torch.tensor([anno["category_id"] for anno in annos], dtype=torch.int64)
    if annos and "segmentation" in annos[0]:
        missing = [i for i, anno in enumerate(annos) if "segmentation" not in anno]
        if missing:
            raise ValueError(
                f"Of {len(annos)} annotations of an image, numbers {missing} (from 0) have no "
                f"segmentation; annotate their masks or remove them"
            )
        segmentations = [anno["segmentation"] for anno in annos]
        instances.gt_masks = _masks(segmentations, height_width, mask_format)
    return instances


def _masks(
    segmentations: list, image_size: tuple[int, int], mask_format: str
) -> PolygonMasks | BitMasks:
    if mask_format == "polygon":
        if not all(isinstance(segmentation, list) for segmentation in segmentations):
            raise ValueError(
                "mask_format='polygon' needs polygons, but an annotation has a mask (from an RLE); "
                "use mask_format='bitmask'"
            )
        return PolygonMasks(segmentations)
    assert mask_format == "bitmask", f"mask_format must be polygon or bitmask, got {mask_format!r}"
    masks = np.stack([_bitmask(segmentation, image_size) for segmentation in segmentations])
    return BitMasks(torch.from_numpy(masks))


def _bitmask(segmentation, image_size: tuple[int, int]) -> np.ndarray:
    if isinstance(segmentation, list):
        return polygons_to_bitmask(segmentation, *image_size)
    if isinstance(segmentation, dict):
        return decode_rle(segmentation).astype(bool)
    if isinstance(segmentation, np.ndarray) and segmentation.ndim == 2:
        return segmentation.astype(bool)
    raise ValueError(
        f"A segmentation must be polygons, a COCO RLE dict or an array [H, W], "
        f"got {type(segmentation)} of shape {getattr(segmentation, 'shape', None)}"
    )


def filter_empty_instances(
    instances: Instances,
    by_box: bool = True,
    by_mask: bool = True,
    box_threshold: float = 1e-5,
    return_mask: bool = False,
) -> Instances | tuple[Instances, torch.Tensor]:
    """The instances that have something to be learnt from.

    Args:
        instances: with ``gt_boxes`` and possibly ``gt_masks``.
        by_box: both sides of the box must exceed ``box_threshold``.
        by_mask: the mask, if there are masks, must not be empty.
        box_threshold: pixels.
        return_mask: also return which ones were kept, bool [N].

    Raises:
        AssertionError: if both conditions are off.
    """
    assert by_box or by_mask, "Filter by box, by mask, or by both"
    kept = torch.ones(len(instances), dtype=torch.bool)
    if by_box:
        kept &= instances.gt_boxes.nonempty(threshold=box_threshold)
    if by_mask and instances.has("gt_masks"):
        kept &= instances.gt_masks.nonempty()
    return (instances[kept], kept) if return_mask else instances[kept]
