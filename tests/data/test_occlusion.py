"""Painted patches: what they show, what they hide, and where that goes afterwards."""

from __future__ import annotations

from project.data.mapper import InstanceMapper
from project.data.occlusion import Occlusion, hidden_pixels

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.structures import BoxMode, PolygonMasks
from PIL import Image
from pycocotools import mask as coco_mask

HEIGHT, WIDTH = 6, 8
SHAPE = np.array([[True, True], [True, False]])


def occlusion(top=1, left=2, min_visible=0.0):
    return Occlusion(
        np.full((2, 2, 3), 9, np.uint8), SHAPE, top, left, (HEIGHT, WIDTH), min_visible
    )


def test_only_its_own_pixels_are_painted():
    before = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    after = occlusion().apply_image(before)
    assert np.argwhere(after[..., 0]).tolist() == [[1, 2], [1, 3], [2, 2]]
    assert not before.any()
    mask = occlusion().apply_segmentation(np.ones((HEIGHT, WIDTH), np.uint8))
    np.testing.assert_array_equal(mask == 0, after[..., 1] == 9)
    assert occlusion().apply_coords(np.array([[2.0, 1.0]])).tolist() == [[2, 1]]


def test_what_is_hidden_moves_with_the_picture():
    steps = [
        occlusion(min_visible=0.2),
        T.HFlipTransform(WIDTH),
        occlusion(4, 0, 0.1),
        T.CropTransform(0, 1, WIDTH, 5, WIDTH, HEIGHT),
        T.PadTransform(0, 0, 1, 0, WIDTH, 5, seg_pad_value=255),
    ]
    hidden, least = hidden_pixels(steps)
    # columns 2, 3 become 5, 4; all rows move up by one
    assert np.argwhere(hidden).tolist() == [[0, 4], [0, 5], [1, 5], [3, 0], [3, 1], [4, 0]]
    assert hidden.shape == (5, WIDTH + 1)
    assert least == 0.2
    assert hidden_pixels([T.HFlipTransform(WIDTH)]) is None


@pytest.fixture
def record(tmp_path):
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / "a.png")
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    pixels[0:3, 0:4] = 1
    shapes = [
        [[2.0, 1.0, 4.0, 1.0, 4.0, 3.0, 2.0, 3.0]],  # 2 x 2, right under the patch
        coco_mask.encode(pixels),  # 3 x 4, all around it
        [[6.0, 0.0, 8.0, 0.0, 8.0, 6.0, 6.0, 6.0]],  # elsewhere
    ]
    common = {"bbox": [0, 0, 1, 1], "bbox_mode": BoxMode.XYWH_ABS, "iscrowd": 0}
    annotations = [{**common, "category_id": k, "segmentation": s} for k, s in enumerate(shapes)]
    return {"file_name": str(tmp_path / "a.png"), "image_id": 1, "annotations": annotations}


@pytest.mark.parametrize("where", ["augmentations", "final_augmentations"])
@pytest.mark.parametrize("min_visible, kept", [(0.25, [0, 1, 2]), (0.3, [1, 2])])
def test_masks_of_a_mapped_picture_lose_what_is_hidden(record, where, min_visible, kept):
    options = {"augmentations": [], where: [occlusion(min_visible=min_visible)]}
    instances = InstanceMapper(True, **options)(record)["instances"]
    assert instances.gt_classes.tolist() == kept
    area = {0: 1, 1: 9, 2: 12}
    assert instances.gt_masks.tensor.sum((1, 2)).tolist() == [area[k] for k in kept]
    assert not instances.gt_masks.tensor[:, 1, 2:4].any()
    if 0 in kept:  # only its lower right pixel is seen
        assert instances.gt_boxes.tensor[0].tolist() == [3, 2, 4, 3]


def test_a_flip_after_it_changes_nothing_but_the_side(record):
    turned = [occlusion(), T.HFlipTransform(WIDTH)]
    plain = InstanceMapper(True, augmentations=[occlusion()])(record)["instances"]
    flipped = InstanceMapper(True, augmentations=turned)(record)["instances"]
    assert torch.equal(flipped.gt_masks.tensor, plain.gt_masks.tensor.flip(2))


def test_polygons_stay_polygons_until_one_is_hit(record):
    record["annotations"].pop(1)
    away, over = occlusion(top=4, left=3), occlusion()
    away, over = (
        InstanceMapper(True, augmentations=[step], mask_format="polygon")(record)["instances"]
        for step in (away, over)
    )
    assert isinstance(away.gt_masks, PolygonMasks)
    assert over.gt_masks.tensor.sum((1, 2)).tolist() == [1, 12]


def test_the_padding_of_a_crop_is_no_part_of_a_mask(record):
    instances = InstanceMapper(True, augmentations=[T.FixedSizeCrop((9, 12))])(record)["instances"]
    assert instances.gt_masks.tensor.sum((1, 2)).tolist() == [4, 12, 12]
