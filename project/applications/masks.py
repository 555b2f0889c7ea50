"""Predicted masks that stay as small as the model made them until somebody looks at one."""

from __future__ import annotations

from collections.abc import Iterator

from project.evaluation.rle import encode_boxed_masks
from project.visualization.records import BoxMask, crop_mask

import numpy as np
import torch
from detectron2.layers import paste_masks_in_image


class SoftMasks:
    """N masks of one image: soft square grids inside boxes; a field of `Instances`.

    At 28 x 28 numbers an object they are a few kilobytes, where bit masks of a large photograph
    with a hundred objects would be gigabytes. Each is drawn when asked for, at the image's size or
    any other; the pixels are those of `detectron2.modeling.postprocessing.detector_postprocess`.

    Args:
        soft: float ``[N, M, M]``, 0..1, on the CPU.
        boxes_xyxy: float ``[N, 4]``, pixels of the image, inside it.
        image_size: (height, width).
        threshold: a pixel belongs to the mask from this value on.
    """

    def __init__(
        self,
        soft: torch.Tensor,
        boxes_xyxy: torch.Tensor,
        image_size: tuple[int, int],
        threshold: float = 0.5,
    ) -> None:
        assert len(soft) == len(boxes_xyxy), f"{len(soft)} masks for {len(boxes_xyxy)} boxes"
        self.soft, self.boxes_xyxy = soft, boxes_xyxy
        self.image_size = image_size
        self.threshold = threshold

    def __len__(self) -> int:
        return len(self.soft)

    def __getitem__(self, item) -> SoftMasks:
        """Some of the masks; an int keeps one."""
        if isinstance(item, int):
            item = [item]
        return SoftMasks(self.soft[item], self.boxes_xyxy[item], self.image_size, self.threshold)

    def __iter__(self) -> Iterator[np.ndarray]:
        """The bool ``[H, W]`` bitmaps, one after another."""
        for index in range(len(self)):
            bitmap = np.zeros(self.image_size, bool)
            if (mask := self.crop(index)) is not None:
                height, width = mask.pixels.shape
                bitmap[mask.y : mask.y + height, mask.x : mask.x + width] = mask.pixels
            yield bitmap

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        """All bitmaps at once, bool ``[N, H, W]``: for code that wants them, as `Visualizer`."""
        bitmaps = np.zeros((len(self), *self.image_size), bool)
        for bitmap, drawn in zip(bitmaps, self, strict=True):
            bitmap[:] = drawn
        return bitmaps if dtype is None else bitmaps.astype(dtype)

    def resized(self, height: int, width: int) -> SoftMasks:
        """The same masks for the image at another size."""
        scale_y, scale_x = height / self.image_size[0], width / self.image_size[1]
        scale = self.boxes_xyxy.new_tensor([scale_x, scale_y, scale_x, scale_y])
        return SoftMasks(self.soft, self.boxes_xyxy * scale, (height, width), self.threshold)

    def crop(self, index: int) -> BoxMask | None:
        """One mask, cut to its pixels; None if it has none."""
        # A mask may reach a pixel beyond its box. In a window, coordinates differ by whole pixels,
        # which floating point takes off without an error: the result is that of the whole image.
        box = self.boxes_xyxy[index]
        x0, y0 = (max(int(v) - 2, 0) for v in box[:2].floor().tolist())
        x1, y1 = (int(v) + 2 for v in box[2:].ceil().tolist())
        window = min(y1, self.image_size[0]) - y0, min(x1, self.image_size[1]) - x0
        if min(window) <= 0:
            return None
        shifted = box - box.new_tensor([x0, y0, x0, y0])
        pasted = paste_masks_in_image(
            self.soft[index : index + 1], shifted[None], window, self.threshold
        )
        tight = crop_mask(pasted[0].numpy())
        return tight and BoxMask(tight.pixels, tight.x + x0, tight.y + y0)

    def probability(self, index: int) -> np.ndarray:
        """One mask before the threshold at the image's size, float32 ``[H, W]``, 0-1."""
        one = slice(index, index + 1)
        pasted = paste_masks_in_image(self.soft[one], self.boxes_xyxy[one], self.image_size, -1.0)
        return pasted[0].numpy().astype(np.float32) / 255

    def rles(self) -> list[dict]:
        """Each mask as COCO's compressed RLE, ``counts`` as text; none is drawn at full size."""
        return encode_boxed_masks(self.soft, self.boxes_xyxy, self.image_size, self.threshold)
