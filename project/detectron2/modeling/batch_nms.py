"""Non-maximum suppression of all images of a batch in one call.

Upstream suppresses image by image, each call with its own host transfer, and separates classes
by one-dimensional offsets that cost float32 coordinates up to 1/128 pixel.
"""

from __future__ import annotations

import math

import torch

from ..layers import nms

# Suppression compares all pairs: above these sizes separate groups are cheaper than one call.
_MOST_BOXES_ON_CPU = 1000
_MOST_BOXES_ON_DEVICE = 32768  # torchvision's pair mask then takes 128 MiB


def grouped_nms(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    groups: torch.Tensor,
    num_groups: int,
    iou_threshold: float,
) -> torch.Tensor:
    """Indices of the boxes that survive within their group, by falling score.

    Args:
        boxes: ``[N, 4]`` XYXY, finite; ``scores`` ``[N]``.
        groups: ``[N]`` int64 in ``0..num_groups-1``; boxes of different groups never meet.
        iou_threshold: a box goes when its IoU with a better one is **greater**.
    """
    if not len(boxes):
        return groups
    most = _MOST_BOXES_ON_CPU if boxes.device.type == "cpu" else _MOST_BOXES_ON_DEVICE
    if len(boxes) > most and num_groups > 1:
        return _nms_by_group(boxes.float(), scores, groups, num_groups, iou_threshold)
    return nms(_on_grid(boxes.float(), groups, num_groups), scores, iou_threshold)


def _on_grid(boxes: torch.Tensor, groups: torch.Tensor, num_groups: int) -> torch.Tensor:
    # Each group gets a cell of a square grid. 80 classes x 16 images of 1333 pixels end at
    # 48,000 in both axes, where float32 still resolves 1/256 pixel.
    columns = math.ceil(math.sqrt(num_groups))
    cell = torch.stack([groups % columns, groups // columns], dim=1)
    corner = cell * (boxes.max() - boxes.min() + 1)
    return boxes + corner.repeat(1, 2)


def _nms_by_group(boxes, scores, groups, num_groups: int, iou_threshold: float) -> torch.Tensor:
    sizes = torch.bincount(groups, minlength=num_groups).tolist()
    members = groups.argsort(stable=True).split(sizes)
    kept = [m[nms(boxes[m], scores[m], iou_threshold)] for m in members if len(m)]
    kept = torch.cat(kept).sort().values  # equal scores then stay in the order of the input
    return kept[scores[kept].argsort(descending=True, stable=True)]


def by_image(
    kept: torch.Tensor, images: torch.Tensor, num_images: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sort indices by their image, keeping the order within each, and count them per image.

    Args:
        kept: indices ``[M]`` into ``images`` ``[N]``, whose values ``num_images`` and above stand
            for "no image": such indices go to the end and are not counted.

    Returns:
        the sorted indices ``[M]`` and the counts ``[num_images]``, both still on the device.
    """
    image = images[kept]
    order = image.argsort(stable=True)
    counts = (image[:, None] == torch.arange(num_images, device=image.device)).sum(0)
    return kept[order], counts


def first_of_each(kept: torch.Tensor, counts: list[int], most: int) -> list[torch.Tensor]:
    """Split what `by_image` sorted into images; of each the first ``most`` (all if negative)."""
    parts = kept[: sum(counts)].split(counts)
    return [part if most < 0 else part[:most] for part in parts]
