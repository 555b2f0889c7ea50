"""Large-scale jitter: the same objects seen from near and from far, at one picture size."""

from __future__ import annotations

from collections.abc import Sequence

from project.errors import UserError

import numpy as np
from detectron2.data import transforms as T


class LargeScaleJitter(T.Augmentation):
    """Fit the picture into a randomly scaled ``size``, then cut or fill it up to ``size``.

    Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method", 2021. Unlike
    ``ResizeScale`` with ``FixedSizeCrop``, it can cut out a window anywhere, not only along the
    diagonal, and no picture vanishes. All pictures come out equally large: switch the loader's
    ``aspect_ratio_grouping`` off. Draws the scale, then the window's top and left.

    Args:
        size: height and width, pixels; at scale 1 the whole picture just fits in.
        scale: lowest and highest scale.
        pad_value: grey level of the filling, at the right and at the bottom.
    """

    def __init__(
        self,
        size: Sequence[int],
        scale: Sequence[float] = (0.1, 2.0),
        pad_value: float = 128.0,
    ) -> None:
        super().__init__()
        if len(size) != 2 or min(size) < 1:
            raise UserError(f"LargeScaleJitter: size must be a height and a width, got {size}")
        if len(scale) != 2 or not 0 < scale[0] <= scale[1]:
            raise UserError(f"LargeScaleJitter: scale must be 0 < lowest <= highest, got {scale}")
        self.size, self.scale, self.pad_value = tuple(size), tuple(scale), pad_value

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """A resize, a crop where the result is too large, a padding where it is too small."""
        before, wanted = np.array(image.shape[:2]), np.array(self.size)
        factor = np.random.uniform(*self.scale) * (wanted / before).min()
        after = np.maximum(np.rint(before * factor), 1).astype(int)
        top, left = (int(np.random.randint(room + 1)) for room in np.maximum(after - wanted, 0))
        (height, width), (new_h, new_w) = before.tolist(), after.tolist()
        steps = [T.ResizeTransform(height, width, new_h, new_w)]
        kept_h, kept_w = np.minimum(after, wanted).tolist()
        if (kept_h, kept_w) != (new_h, new_w):
            steps.append(T.CropTransform(left, top, kept_w, kept_h, new_w, new_h))
        if (kept_h, kept_w) != self.size:
            bottom, right = (wanted - [kept_h, kept_w]).tolist()
            steps.append(T.PadTransform(0, 0, right, bottom, kept_w, kept_h, self.pad_value))
        return T.TransformList(steps)
