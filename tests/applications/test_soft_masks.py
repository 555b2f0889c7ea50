"""Masks drawn one at a time against masks pasted into the whole image."""

from project.applications import SoftMasks

import numpy as np
import pytest
import torch
from detectron2.layers import paste_masks_in_image
from detectron2.structures import Instances

SIZE = (90, 120)


@pytest.fixture
def masks() -> SoftMasks:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(20, 2, generator=generator) * torch.tensor([100.0, 70.0])
    side = torch.rand(20, 2, generator=generator) * 40
    boxes = torch.cat([corner, corner + side], dim=1)
    boxes[0] = torch.tensor([0.0, 0.0, 120.0, 90.0])
    boxes[1] = torch.tensor([119.3, 3.0, 119.9, 20.0])
    boxes[:, 0::2].clamp_(max=120)
    boxes[:, 1::2].clamp_(max=90)
    return SoftMasks(torch.rand(20, 28, 28, generator=generator), boxes, SIZE)


def test_they_are_those_of_the_whole_image(masks):
    whole = paste_masks_in_image(masks.soft, masks.boxes_xyxy, SIZE).numpy()
    assert whole.any((1, 2)).sum() > 15
    assert np.array_equal(np.asarray(masks), whole)
    for index, bitmap in enumerate(masks):
        assert np.array_equal(bitmap, whole[index])


def test_crops_are_tight(masks):
    for index, bitmap in enumerate(masks):
        mask = masks.crop(index)
        if mask is None:
            assert not bitmap.any()
            continue
        rows, columns = np.nonzero(bitmap)
        assert (mask.x, mask.y) == (columns.min(), rows.min())
        assert mask.pixels.shape == (np.ptp(rows) + 1, np.ptp(columns) + 1)


def test_a_mask_below_the_threshold_is_empty():
    masks = SoftMasks(torch.full((1, 4, 4), 0.3), torch.tensor([[5.0, 5.0, 20.0, 20.0]]), SIZE)
    assert masks.crop(0) is None
    assert not np.asarray(masks).any()


def test_rles_are_those_of_pycocotools(masks):
    from pycocotools import mask as coco_mask

    for rle, bitmap in zip(masks.rles(), masks, strict=True):
        expected = coco_mask.encode(np.asfortranarray(bitmap.astype(np.uint8)))
        assert rle["counts"] == expected["counts"].decode()
        assert tuple(rle["size"]) == SIZE


def test_at_twice_the_size_a_box_is_twice_as_large():
    masks = SoftMasks(torch.ones(1, 4, 4), torch.tensor([[10.0, 20.0, 30.0, 50.0]]), SIZE)
    mask = masks.resized(180, 240).crop(0)
    assert (mask.x, mask.y, mask.pixels.shape) == (20, 40, (60, 40))
    assert 0.95 < mask.pixels.mean() < 1  # corners fade out


def test_they_follow_the_indexing_of_instances(masks):
    instances = Instances(SIZE, pred_masks=masks, scores=torch.arange(20))
    chosen = instances[instances.scores > 16]
    assert len(chosen.pred_masks) == 3
    assert np.array_equal(np.asarray(chosen.pred_masks), np.asarray(masks)[17:])
    assert np.array_equal(np.asarray(instances[18].pred_masks), np.asarray(masks)[18:19])
    assert np.array_equal(np.asarray(masks[0]), np.asarray(masks)[:1])
