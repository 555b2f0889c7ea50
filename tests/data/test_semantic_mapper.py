"""One image and the class of each pixel: the painting rule, crowds, augmentation, mistakes."""

from __future__ import annotations

from project.data.augmentation import RandomOccluder
from project.data.broken_images import BrokenImage
from project.data.exploration.masks import CroppedMask
from project.data.mapper import InstanceMapper
from project.data.patches import Patch
from project.data.semantic_labels import IGNORED, paint, truth_map
from project.data.semantic_mapper import SemanticMapper
from project.errors import UserError

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from PIL import Image
from pycocotools import mask as coco_mask

HEIGHT, WIDTH = 24, 32
BACKGROUND = 2


def square(x, y, side):
    return [[float(v) for v in (x, y, x + side, y, x + side, y + side, x, y + side)]]


def rle(y, x, h, w):
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    pixels[y : y + h, x : x + w] = 1
    return coco_mask.encode(pixels)


def annotation(segmentation, category=0, iscrowd=0):
    return {
        "bbox": [4.0, 6.0, 12.0, 10.0],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": category,
        "iscrowd": iscrowd,
        "segmentation": segmentation,
    }


@pytest.fixture
def record(tmp_path):
    """A square of class 0, a smaller one of class 1 inside it, and a crowd over a part of both."""
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return {
        "file_name": str(tmp_path / "picture.png"),
        "image_id": 3,
        "height": HEIGHT,
        "width": WIDTH,
        "annotations": [
            annotation(square(6, 8, 4), category=1),
            annotation(square(4, 6, 12)),
            annotation(rle(0, 12, 10, 10), category=1, iscrowd=1),
        ],
    }


def expected_labels() -> np.ndarray:
    labels = np.full((HEIGHT, WIDTH), BACKGROUND)
    labels[0:10, 12:22] = IGNORED
    labels[6:18, 4:16] = 0
    labels[8:12, 6:10] = 1
    return labels


def labels_of(record, *augmentations, **options) -> np.ndarray:
    mapper = SemanticMapper(True, augmentations=list(augmentations), num_classes=2, **options)
    return mapper(record)["sem_seg"].numpy()


def test_larger_objects_lie_below_and_crowds_are_ignored(record):
    mapped = SemanticMapper(True, augmentations=[], num_classes=2)(record)
    assert mapped["sem_seg"].dtype == torch.int64
    np.testing.assert_array_equal(mapped["sem_seg"], expected_labels())
    assert "annotations" not in mapped
    assert "annotations" in record
    assert mapped["image"].shape == (3, HEIGHT, WIDTH)


def test_of_equal_objects_the_later_lies_above():
    masks = [Patch(np.ones((2, 2), bool), 0, 0), Patch(np.ones((1, 4), bool), 0, 0)]
    labels, counts = truth_map(masks, [0, 1], [], (2, 4), 2)
    assert labels.tolist() == [[1, 1, 1, 1], [0, 0, 2, 2]]
    assert counts.all()


def test_both_kinds_of_windows_are_painted_alike():
    pixels = np.array([[True, False], [True, True]])
    patch, cropped = Patch(pixels, top=1, left=2), CroppedMask(pixels, x=2, y=1)
    assert patch.window == cropped.window
    painted = [paint([mask, None], [0, 1], (4, 5), 7) for mask in (patch, cropped)]
    np.testing.assert_array_equal(*painted)
    assert (painted[0] == 0).sum() == 3


def test_no_objects_are_background_and_a_crowd_alone_is_unknown(record):
    record["annotations"] = []
    assert (labels_of(record) == BACKGROUND).all()
    labels, counts = truth_map([], [], [Patch(np.ones((1, 2), bool), 0, 1)], (2, 3), 5)
    assert (labels == 5).all()
    assert counts.tolist() == [[True, False, False], [True, True, True]]


@pytest.mark.parametrize(
    "augmentation, follow",
    [
        (T.RandomFlip(1.0), lambda x: x[:, ::-1]),
        (T.CropTransform(8, 4, 16, 16), lambda x: x[4:20, 8:24]),
        (T.ResizeTransform(HEIGHT, WIDTH, 48, 64), lambda x: x.repeat(2, 0).repeat(2, 1)),
    ],
)
def test_labels_follow_the_picture(record, augmentation, follow):
    np.testing.assert_array_equal(labels_of(record, augmentation), follow(expected_labels()))


def test_the_picture_is_that_of_the_instance_mapper(record):
    steps = [T.RandomFlip(1.0), T.ResizeTransform(HEIGHT, WIDTH, 20, 30)]
    for train in (True, False):
        ours = SemanticMapper(train, augmentations=steps, num_classes=2, image_format="RGB")
        theirs = InstanceMapper(train, augmentations=steps, image_format="RGB")
        assert torch.equal(ours(record)["image"], theirs(record)["image"])
    assert "sem_seg" not in ours(record)


def test_what_an_occluder_hides_is_background(record):
    np.random.seed(1)
    occluder = RandomOccluder(max_patches=3, size=(0.3, 0.5))
    plain, hidden = expected_labels(), labels_of(record, final_augmentations=[occluder])
    changed = hidden != plain
    assert changed.any()
    assert (hidden[changed] == BACKGROUND).all()


def test_broken_images_are_told(record):
    mapper = SemanticMapper(True, augmentations=[], num_classes=2)
    with pytest.raises(BrokenImage, match=r"is 24 by 32 pixels .* are for 25 by 32"):
        mapper({**record, "height": 25})
    with pytest.raises(BrokenImage, match="gone.png .* can't be read"):
        mapper({**record, "file_name": "gone.png"})


def test_mistakes_are_told(record):
    with pytest.raises(UserError, match="has an object of class 1, and the mapper's num_classes"):
        SemanticMapper(True, augmentations=[], num_classes=1)(record)
    with pytest.raises(UserError, match="num_classes=255: a map of classes holds 1 to 254"):
        SemanticMapper(True, augmentations=[], num_classes=255)
    with pytest.raises(UserError, match="must leave every pixel in its place"):
        labels_of(record, final_augmentations=[T.RandomFlip(1.0)])
    del record["annotations"]
    with pytest.raises(UserError, match="is unlabelled and can't be trained on"):
        labels_of(record)
