"""Instances from queries: each a distribution over the classes and one mask for all of them.

Scores as Cheng et al. 2022 (Mask2Former) judge instances: the probability of the class times the
mean probability of the mask's pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import project  # noqa: F401 - makes `detectron2` importable

import torch
from detectron2.structures import BitMasks, Instances
from torch.nn import functional as F

# Full-size soft masks at a time: 16 of a picture of 12 megapixels are 0.8 GB.
_CHUNK = 16


def query_instances(
    class_logits: torch.Tensor,
    mask_logits: torch.Tensor,
    *,
    padded_size: Sequence[int],
    image_size: Sequence[int],
    output_size: Sequence[int],
    max_detections: int = 100,
    score_threshold: float = 0.0,
) -> Instances:
    """The best detections of one image, the highest score first.

    A query may give several, one for each class that it takes to be likely.

    Args:
        class_logits: ``[Q, K + 1]``, "no object" last.
        mask_logits: ``[Q, h, w]``, over the padded image.
        padded_size: (height, width) of the network's input.
        image_size: of the picture in it, at its top left.
        output_size: of the result.
        max_detections: pairs of query and class that are looked at, the most probable ones.
        score_threshold: detections have a higher score.

    Returns:
        `Instances` of ``output_size`` with ``pred_boxes`` tight around the masks, ``scores``,
        ``pred_classes`` and ``pred_masks`` (bool, ``[N, height, width]``). No mask is empty.
    """
    probabilities = class_logits.float().softmax(-1)[:, :-1]
    best, places = probabilities.flatten().topk(min(max_detections, probabilities.numel()))
    # The masks' share of a score is at most 1: what is below now stays below.
    places = places[best > score_threshold]
    queries, classes = places // probabilities.shape[1], places % probabilities.shape[1]
    used, of_used = queries.unique(return_inverse=True)
    sizes = tuple(padded_size), tuple(image_size), tuple(output_size)
    masks, certainty = _at_size(mask_logits[used], *sizes)
    scores = probabilities[queries, classes] * certainty[of_used]
    order = scores.argsort(descending=True, stable=True)
    order = order[(scores > score_threshold)[order] & (certainty > 0)[of_used][order]]
    masks = masks[of_used[order]]
    return Instances(
        tuple(output_size),
        pred_boxes=BitMasks(masks).get_bounding_boxes(),
        scores=scores[order],
        pred_classes=classes[order],
        pred_masks=masks,
    )


def _at_size(
    logits: torch.Tensor,
    padded_size: tuple[int, int],
    image_size: tuple[int, int],
    output_size: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks ``[N, *output_size]`` and the mean probability of the pixels of each, 0 for none."""
    masks = torch.zeros((len(logits), *output_size), dtype=torch.bool, device=logits.device)
    certainty = torch.zeros(len(logits), device=logits.device)
    for start in range(0, len(logits), _CHUNK):
        part = slice(start, start + _CHUNK)
        soft = _resized(logits[part].float(), padded_size)[:, : image_size[0], : image_size[1]]
        soft = _resized(soft, output_size)
        masks[part] = soft > 0
        inside = soft.sigmoid() * masks[part]
        certainty[part] = inside.sum((1, 2)) / masks[part].sum((1, 2)).clamp(min=1)
    return masks, certainty


def _resized(masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if tuple(masks.shape[-2:]) == size:
        return masks
    return F.interpolate(masks[:, None], size, mode="bilinear", align_corners=False)[:, 0]
