"""Masks as large as the image: what models give that don't work in boxes."""

from __future__ import annotations

from collections.abc import Iterator

from project.evaluation.rle import encode_masks
from project.visualization.records import BoxMask, crop_mask

import numpy as np
import torch
from detectron2.structures import Boxes, Instances


class RegionMasks:
    """N masks of one image at its size; a field of `Instances` like `SoftMasks`.

    Args:
        bitmaps: bool ``[N, H, W]``.
        probabilities: ``[N, H, W]``, 0-1; None where the model tells no more than the bitmaps.
        by_class: each mask is all that the image shows of a class, not one object.
    """

    def __init__(
        self,
        bitmaps: np.ndarray,
        probabilities: np.ndarray | None = None,
        *,
        by_class: bool = False,
    ) -> None:
        self._bitmaps = bitmaps
        self._probabilities = bitmaps if probabilities is None else probabilities
        self.by_class = by_class
        assert self._bitmaps.shape == self._probabilities.shape

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width)."""
        return self._bitmaps.shape[1:]

    def __len__(self) -> int:
        return len(self._bitmaps)

    def __getitem__(self, item) -> RegionMasks:
        """Some of the masks; an int keeps one."""
        item = [item] if isinstance(item, int) else np.asarray(item)
        return RegionMasks(self._bitmaps[item], self._probabilities[item], by_class=self.by_class)

    def __iter__(self) -> Iterator[np.ndarray]:
        """The bool ``[H, W]`` bitmaps, one after another."""
        yield from self._bitmaps

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        """All bitmaps at once, bool ``[N, H, W]``."""
        return np.array(self._bitmaps, dtype)

    def resized(self, height: int, width: int) -> RegionMasks:
        """The same masks for the image at another size."""
        import cv2

        smaller = height < self.image_size[0]
        way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR

        def resize(planes: np.ndarray) -> np.ndarray:
            made = [cv2.resize(np.float32(p), (width, height), interpolation=way) for p in planes]
            return np.stack(made) if made else np.zeros((0, height, width), np.float32)

        bitmaps = resize(self._bitmaps) >= 0.5
        return RegionMasks(bitmaps, resize(self._probabilities), by_class=self.by_class)

    def crop(self, index: int) -> BoxMask | None:
        """One mask, cut to its pixels; None if it has none."""
        return crop_mask(self._bitmaps[index])

    def probability(self, index: int) -> np.ndarray:
        """How probable each pixel is, in the mask and beyond; float32 ``[H, W]``, 0-1."""
        return self._probabilities[index].astype(np.float32)

    def rles(self) -> list[dict]:
        """Each mask as COCO's compressed RLE, ``counts`` as text."""
        return encode_masks(torch.from_numpy(self._bitmaps))


def class_regions(sem_seg: torch.Tensor, thresholds: np.ndarray) -> Instances:
    """The label map of an image as one instance for each class in it, surest first.

    Scores are the mean probability over the region, as those that
    `project.evaluation.semantic.SemanticEvaluator` writes; ``pred_boxes`` are tight.

    Args:
        sem_seg: float ``[K + 1, H, W]``: probabilities, the background last.
        thresholds: [K]: regions with a lower score are left out. They never move a region's edge.
    """
    sem_seg = sem_seg.detach().float().cpu()
    labels = sem_seg.argmax(0).numpy()
    probabilities = sem_seg.numpy()
    height, width = labels.shape
    found = []
    for k, lowest in enumerate(thresholds):
        bitmap = labels == k
        if not bitmap.any():
            continue
        score = float(probabilities[k][bitmap].mean(dtype=np.float64))
        if score >= lowest:
            found.append((score, k, bitmap))
    found.sort(key=lambda region: -region[0])
    scores, classes, bitmaps = zip(*found, strict=True) if found else ((), (), ())
    bitmaps = np.stack(bitmaps) if found else np.zeros((0, height, width), bool)
    boxes = torch.tensor([_tight_box(bitmap) for bitmap in bitmaps]).reshape(-1, 4)
    return Instances(
        (height, width),
        pred_boxes=Boxes(boxes),
        scores=torch.tensor(scores, dtype=torch.float32),
        pred_classes=torch.tensor(classes, dtype=torch.int64),
        pred_masks=RegionMasks(bitmaps, probabilities[list(classes)], by_class=True),
    )


def _tight_box(bitmap: np.ndarray) -> tuple[float, float, float, float]:
    mask = crop_mask(bitmap)
    height, width = mask.pixels.shape
    return float(mask.x), float(mask.y), float(mask.x + width), float(mask.y + height)
