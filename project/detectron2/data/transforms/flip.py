"""Random mirroring, and the random use of any other augmentation.

Follows the API of ``detectron2.data.transforms.RandomFlip`` and ``.RandomApply``.
"""

from __future__ import annotations

import numpy as np
from fvcore.transforms.transform import HFlipTransform, NoOpTransform, Transform, VFlipTransform

from .augmentation import Augmentation, as_augmentation

__all__ = ["RandomApply", "RandomFlip"]


class RandomFlip(Augmentation):
    """Mirror the image, left to right or upside down, with probability ``prob``.

    For both directions use two of them. Draws one number.

    Raises:
        ValueError: if both directions are asked for, or none.
    """

    def __init__(
        self, prob: float = 0.5, *, horizontal: bool = True, vertical: bool = False
    ) -> None:
        if horizontal == vertical:
            raise ValueError(
                f"Choose one direction, got horizontal={horizontal} and vertical={vertical}; "
                f"two RandomFlips do both"
            )
        self.prob = prob
        self.horizontal = horizontal
        self.vertical = vertical

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        if np.random.uniform() >= self.prob:
            return NoOpTransform()
        return HFlipTransform(width) if self.horizontal else VFlipTransform(height)


class RandomApply(Augmentation):
    """Use ``tfm_or_aug`` with probability ``prob``, else do nothing.

    Draws one number, and then whatever the inner augmentation draws if it is used.

    Raises:
        AssertionError: if ``prob`` isn't in [0, 1].
    """

    def __init__(self, tfm_or_aug: Transform | Augmentation, prob: float = 0.5) -> None:
        assert 0 <= prob <= 1, f"prob={prob} is no probability"
        self.aug = as_augmentation(tfm_or_aug)
        self.prob = prob

    def __call__(self, aug_input) -> Transform:
        used = np.random.uniform() < self.prob
        return self.aug(aug_input) if used else NoOpTransform()

    def __repr__(self) -> str:
        return f"RandomApply({self.aug!r}, prob={self.prob})"
