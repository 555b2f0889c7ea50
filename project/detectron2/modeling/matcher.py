"""Which ground truth each prediction belongs to; API of ``detectron2.modeling.matcher``.

Without data-dependent shapes or host transfers: on an accelerator a call only enqueues work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .checks import assert_all


class Matcher:
    """Matches predictions to ground truth by a quality matrix, and labels the matches.

    The best quality ``q`` of a prediction decides its label: with thresholds ``t1 <= t2 <= ...``
    and labels ``l0, l1, l2, ...`` it is ``lk`` for ``tk <= q < t(k+1)``.
    """

    def __init__(
        self,
        thresholds: Sequence[float],
        labels: Sequence[int],
        allow_low_quality_matches: bool = False,
    ):
        """
        Args:
            thresholds: ascending, the first > 0.
            labels: one more than thresholds; 1 foreground, 0 background, -1 ignored.
            allow_low_quality_matches: label 1 also goes to every prediction that reaches the best
                quality of some ground truth, however low that is (Faster R-CNN, section 3.1.2).

        Raises:
            AssertionError: if thresholds or labels are not as above.
        """
        self.thresholds = [float(t) for t in thresholds]
        self.labels = [int(label) for label in labels]
        self.allow_low_quality_matches = allow_low_quality_matches
        edges = [0.0, *self.thresholds, math.inf]
        assert edges == sorted(edges), f"thresholds must ascend, got {self.thresholds}"
        assert 0.0 not in self.thresholds, "thresholds must be > 0"
        assert len(self.labels) == len(self.thresholds) + 1, (
            f"{len(self.thresholds)} thresholds need one more labels, got {len(self.labels)}"
        )
        assert set(self.labels) <= {-1, 0, 1}, f"labels are -1, 0 or 1, got {self.labels}"

    def __call__(self, quality: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Best ground truth (int64) and label (int8) of each of ``P`` predictions.

        Args:
            quality: ``[G, P]``, non-negative, usually IoU. With ``G`` or ``P`` zero every index
                is 0 and every label the first.

        Raises:
            AssertionError: if ``quality`` isn't 2-D, or holds negative values.
        """
        assert quality.dim() == 2, f"quality must be [gt, predictions], got {tuple(quality.shape)}"
        if quality.numel() == 0:
            index = quality.new_zeros(quality.shape[1], dtype=torch.int64)
            return index, torch.full_like(index, self.labels[0], dtype=torch.int8)
        assert_all(quality >= 0, "qualities must not be negative")
        best, index = quality.max(dim=0)
        label = torch.full_like(index, self.labels[0], dtype=torch.int8)
        for threshold, value in zip(self.thresholds, self.labels[1:], strict=True):
            label = label.masked_fill(best >= threshold, value)
        if self.allow_low_quality_matches:
            reaches_best = quality == quality.amax(dim=1, keepdim=True)
            label = label.masked_fill(reaches_best.any(dim=0), 1)
        return index, label
