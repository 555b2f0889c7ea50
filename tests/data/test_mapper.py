"""One image to tensors: against Detectron2's mapper, and where that one gives up."""

from __future__ import annotations

import copy
import pickle

from project.data.mapper import InstanceMapper
from project.errors import UserError

import numpy as np
import pytest
import torch
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from PIL import Image
from pycocotools import mask as coco_mask

HEIGHT, WIDTH = 24, 32


def annotation(segmentation, category=0, **values):
    return {
        "bbox": [4.0, 6.0, 12.0, 10.0],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": category,
        "iscrowd": 0,
        "segmentation": segmentation,
        **values,
    }


def rle(y, x, h, w):
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    pixels[y : y + h, x : x + w] = 1
    return coco_mask.encode(pixels)


POLYGON = [[4.0, 6.0, 16.0, 6.0, 16.0, 16.0, 4.0, 16.0]]


@pytest.fixture
def record(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return {
        "file_name": str(tmp_path / "picture.png"),
        "image_id": 3,
        "height": HEIGHT,
        "width": WIDTH,
        "annotations": [annotation(POLYGON), annotation(rle(1, 20, 5, 8), 1)],
    }


def train(*augmentations, **options):
    return InstanceMapper(True, augmentations=list(augmentations), **options)


AUGMENTATIONS = {
    "none": [],
    "resize": [T.Resize((48, 40))],
    "flip": [T.RandomFlip(1.0)],
    "crop": [T.CropTransform(8, 4, 16, 16)],
    "rotation": [T.RandomRotation([30, 30], expand=False)],
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_it_agrees_with_detectron2_on_mixed_masks(record, name):
    reference = DatasetMapper(
        True,
        augmentations=AUGMENTATIONS[name],
        image_format="BGR",
        use_instance_mask=True,
        instance_mask_format="bitmask",
        recompute_boxes=True,
    )
    ours, theirs = train(*AUGMENTATIONS[name])(record), reference(copy.deepcopy(record))
    assert set(ours) == set(theirs)
    assert torch.equal(ours["image"], theirs["image"])
    for field in ("gt_boxes", "gt_masks"):
        mine, other = ours["instances"].get(field), theirs["instances"].get(field)
        assert torch.equal(mine.tensor, other.tensor)
    assert torch.equal(ours["instances"].gt_classes, theirs["instances"].gt_classes)


def test_boxes_and_masks_by_hand(record):
    instances = train(T.HFlipTransform(WIDTH))(record)["instances"]
    # x is mirrored to 32 - x
    assert instances.gt_boxes.tensor.tolist() == [[16, 6, 28, 16], [4, 1, 12, 6]]
    assert instances.gt_masks.tensor.sum((1, 2)).tolist() == [120, 40]
    assert instances.gt_classes.tolist() == [0, 1]


def test_image_order_and_original_size(record):
    pixels = np.asarray(Image.open(record["file_name"]))
    bgr, rgb = (train(T.Resize((12, 16)), image_format=f)(record) for f in ("BGR", "RGB"))
    assert torch.equal(bgr["image"], rgb["image"].flip(0))
    assert (bgr["height"], bgr["width"]) == (HEIGHT, WIDTH)
    plain = train(image_format="RGB")(record)["image"]
    np.testing.assert_array_equal(plain.numpy(), pixels.transpose(2, 0, 1))


def test_the_record_is_left_as_it_is(record):
    before = pickle.dumps(record)
    train(T.RandomFlip(1.0), T.Resize((48, 64)))(record)
    assert pickle.dumps(record) == before


@pytest.mark.parametrize("annotations", [[], [annotation(rle(0, 0, 9, 9), iscrowd=1)]])
def test_images_without_objects_have_empty_fields(record, annotations):
    record["annotations"] = annotations
    instances = train(T.Resize((12, 16)))(record)["instances"]
    assert len(instances) == 0
    assert instances.gt_boxes.tensor.shape == (0, 4)
    assert instances.gt_classes.dtype == torch.int64
    assert instances.gt_masks.tensor.shape == (0, 12, 16)
    assert instances.gt_masks.tensor.dtype == torch.bool


def test_objects_that_leave_the_picture_are_dropped(record):
    instances = train(T.CropTransform(0, 8, 16, 16))(record)["instances"]
    assert instances.gt_boxes.tensor.tolist() == [[4, 0, 16, 8]]
    nothing = train(T.CropTransform(0, 20, 16, 4))(record)["instances"]
    assert nothing.gt_masks.tensor.shape == (0, 4, 16)


def test_crowds_are_dropped_in_training(record):
    record["annotations"].insert(0, annotation(rle(0, 0, 9, 9), iscrowd=1))
    assert train()(record)["instances"].gt_classes.tolist() == [0, 1]


def test_without_training_only_the_image_is_read(record):
    mapped = InstanceMapper(False, augmentations=[])(record)
    assert set(mapped) == {"file_name", "image_id", "height", "width", "image"}


def test_exif_orientation_turns_the_image(record, tmp_path):
    image = Image.open(record["file_name"])
    exif = image.getexif()
    exif[274] = 6  # shown turned by 90 degrees clockwise
    file = tmp_path / "turned.jpg"
    image.save(file, exif=exif)
    turned = {"file_name": str(file), "image_id": 3, "height": WIDTH, "width": HEIGHT}
    mapped = InstanceMapper(False, augmentations=[])(turned)
    assert mapped["image"].shape == (3, WIDTH, HEIGHT)


def test_an_image_of_another_size_is_named(record):
    record["width"] = WIDTH + 1
    message = r"picture.png \(image id 3\) is 24 by 32 pixels .*annotations are for 24 by 33"
    with pytest.raises(UserError, match=message):
        train()(record)


@pytest.mark.parametrize("damage", ["missing", "no image", "cut off"])
def test_an_unreadable_image_is_named(record, tmp_path, damage):
    file = tmp_path / "bad.png"
    whole = (tmp_path / "picture.png").read_bytes()
    if damage == "no image":
        file.write_bytes(b"not a picture")
    elif damage == "cut off":
        file.write_bytes(whole[: len(whole) // 2])
    record["file_name"] = str(file)
    with pytest.raises(UserError, match=r"bad.png \(image id 3\) can't be read"):
        train()(record)


@pytest.mark.parametrize("values", [{"segmentation": []}, {"segmentation": None}])
def test_an_annotation_without_a_mask_is_named(record, values):
    record["annotations"][1].update(values)
    with pytest.raises(UserError, match=r"image id 3\): annotation number 1 .* has no mask"):
        train()(record)
    record["annotations"][1]["id"] = 77
    with pytest.raises(UserError, match=r"image id 3\): annotation 77 has no mask"):
        train()(record)


def test_a_mask_of_another_kind_is_named(record):
    record["annotations"][0].update(segmentation="polygon", id=5)
    with pytest.raises(UserError, match="annotation 5 has no usable mask"):
        train()(record)


def test_an_unlabelled_record_is_refused_in_training(record):
    del record["annotations"]
    with pytest.raises(UserError, match="is unlabelled and can't be trained on"):
        train()(record)


def test_overlapping_parts_of_one_object_are_joined(record):
    parts = [POLYGON[0], [10.0, 10.0, 20.0, 10.0, 20.0, 20.0, 10.0, 20.0]]
    record["annotations"] = [annotation(parts)]
    instances = train()(record)["instances"]
    # 12 x 10 and 10 x 10 pixels, 6 x 6 of them common
    assert instances.gt_masks.tensor.sum() == 120 + 100 - 36
    assert instances.gt_boxes.tensor.tolist() == [[4, 6, 20, 20]]


def test_polygons_stay_polygons_where_all_are(record):
    mapper = train(T.HFlipTransform(WIDTH), mask_format="polygon")
    mixed = mapper(record)["instances"]
    assert mixed.gt_masks.tensor.shape == (2, HEIGHT, WIDTH)
    record["annotations"][1] = annotation([[1.25, 2, 9.5, 2, 1.25, 8.75]], 1)
    instances = mapper(record)["instances"]
    np.testing.assert_array_equal(
        instances.gt_masks.polygons[1], [[30.75, 2, 22.5, 2, 30.75, 8.75]]
    )
    assert instances.gt_boxes.tensor.tolist() == [[16, 6, 28, 16], [22.5, 2, 30.75, 8.75]]
    assert instances.gt_classes.tolist() == [0, 1]
    crops = instances.gt_masks.crop_and_resize(instances.gt_boxes.tensor, 14)
    assert crops[0].all()


def test_boxes_of_polygons_end_at_the_frame(record):
    record["annotations"] = [
        annotation([[-6.0, 6.0, 16.0, 6.0, 16.0, 40.0, -6.0, 40.0]]),
        annotation([[40.0, 6.0, 50.0, 6.0, 50.0, 9.0]], 1),  # outside
    ]
    instances = train(mask_format="polygon")(record)["instances"]
    assert instances.gt_boxes.tensor.tolist() == [[0, 6, 16, HEIGHT]]
    assert len(instances.gt_masks) == 1


def test_no_objects_as_polygons(record):
    record["annotations"] = []
    instances = train(mask_format="polygon")(record)["instances"]
    assert (len(instances), len(instances.gt_masks)) == (0, 0)


def test_an_unknown_mask_format_is_refused():
    with pytest.raises(UserError, match="unknown mask_format 'polygons'; did you mean 'polygon'"):
        train(mask_format="polygons")


def test_a_polygon_of_two_points_is_named(record):
    record["annotations"][0].update(segmentation=[[1.0, 2.0, 3.0, 4.0]], id=5)
    with pytest.raises(UserError, match="annotation 5 has no usable mask: a polygon has 2 points"):
        train()(record)


def test_a_cache_changes_nothing(record):
    augmentations = [T.RandomFlip(), T.RandomBrightness(0.5, 1.5), T.Resize((30, 20))]
    cached, plain = train(*augmentations, cache_mb=1), train(*augmentations)
    for seed in range(6):
        outputs = []
        for mapper in (cached, plain):
            np.random.seed(seed)
            outputs.append(mapper(record))
        assert torch.equal(outputs[0]["image"], outputs[1]["image"])
        first, second = (o["instances"].gt_masks.tensor for o in outputs)
        assert torch.equal(first, second)
    assert len(cached.cache) == 1
