"""Random choice of positives and negatives to train on; API of ``detectron2.modeling.sampling``.

`draw_balanced` is what the bundle's own heads use: all images of a batch at once, fixed shapes, no
host transfer.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


def subsample_labels(
    labels: torch.Tensor, num_samples: int, positive_fraction: float, bg_label: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the drawn positives and of the drawn negatives, each in random order.

    At most ``int(num_samples * positive_fraction)`` positives; negatives fill up to
    ``num_samples`` as far as there are any. Draws from torch's global generator of the device.

    Args:
        labels: ``[N]``; -1 is ignored, ``bg_label`` negative, everything else positive.
    """
    positive = ((labels != -1) & (labels != bg_label)).nonzero().flatten()
    negative = (labels == bg_label).nonzero().flatten()
    num_positive = min(len(positive), int(num_samples * positive_fraction))
    num_negative = min(len(negative), num_samples - num_positive)

    def shuffled(indices: torch.Tensor) -> torch.Tensor:
        return indices[torch.randperm(len(indices), device=indices.device)]

    return shuffled(positive)[:num_positive], shuffled(negative)[:num_negative]


class BalancedDraw(NamedTuple):
    """The drawn indices of ``N`` images: ``positives[i, :num_positives[i]]``, negatives likewise.

    The rest of each row is filling, and means nothing.
    """

    positives: torch.Tensor  # [N, most positives] int64
    negatives: torch.Tensor  # [N, most negatives] int64
    num_positives: torch.Tensor  # [N] int64
    num_negatives: torch.Tensor  # [N] int64


def draw_balanced(
    labels: torch.Tensor, num_samples: int, positive_fraction: float, bg_label: int
) -> BalancedDraw:
    """What `subsample_labels` draws, for each row of ``labels`` ``[N, P]``, in fixed shapes.

    The draw is the top of random keys, so it costs a partial sort in place of permutations.
    """
    most_positive = min(int(num_samples * positive_fraction), labels.shape[1])
    most_negative = min(num_samples, labels.shape[1])
    keys = torch.rand(labels.shape, device=labels.device)
    negative = labels == bg_label
    positive = (labels != -1) & ~negative
    num_positives = positive.sum(1).clamp(max=most_positive)
    num_negatives = torch.minimum(negative.sum(1), num_samples - num_positives)
    return BalancedDraw(
        # keys are >= 0, so candidates come before everything that is masked
        keys.masked_fill(~positive, -1).topk(most_positive, dim=1).indices,
        keys.masked_fill(~negative, -1).topk(most_negative, dim=1).indices,
        num_positives,
        num_negatives,
    )
