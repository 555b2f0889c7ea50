"""From a record to a model's input: golden outputs on real images, and what stays untouched."""

from __future__ import annotations

import copy
import pickle

import project  # noqa: F401

import numpy as np
import pytest
import torch
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, BoxMode, PolygonMasks
from PIL import Image

AUGMENTATIONS = {
    "resize_hflip_polygon": lambda: [
        T.ResizeShortestEdge(200, 320, "choice"),
        T.RandomFlip(1.0),
    ],
    "resize_bitmask_rgb": lambda: [T.ResizeShortestEdge(120, 180, "choice")],
    "crop_recompute_boxes": lambda: [T.CropTransform(20, 15, 120, 110), T.HFlipTransform(120)],
    "no_masks": lambda: [T.RandomFlip(1.0, horizontal=False, vertical=True)],
    "gray_L": lambda: [T.ResizeShortestEdge(100, 180, "choice")],
    "test": lambda: [T.ResizeShortestEdge(200, 320)],
}


@pytest.fixture(scope="module")
def facts(golden):
    return golden.json("mapper")


@pytest.fixture(scope="module")
def arrays(golden):
    return golden.npz("mapper")


@pytest.fixture(scope="module")
def golden_records(golden, facts):
    records = copy.deepcopy(facts["records"])
    for record in records:
        record["file_name"] = str(golden.path(record["file_name"]))
        for annotation in record["annotations"]:
            annotation["bbox_mode"] = BoxMode(annotation["bbox_mode"])
    return records


def test_every_golden_configuration_is_tested(facts):
    assert facts["configs"].keys() == AUGMENTATIONS.keys()


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_golden(name, facts, arrays, golden_records):
    config = facts["configs"][name]
    augmentations = AUGMENTATIONS[name]()
    assert [str(a) for a in augmentations] == config["augmentations"]
    mapper = DatasetMapper(augmentations=augmentations, **config["kwargs"])
    for k, (record, expected) in enumerate(zip(golden_records, config["out"], strict=True)):
        before = copy.deepcopy(record)
        output = mapper(record)
        assert record == before
        assert sorted(output) == expected["keys"]
        for key in ("file_name", "image_id", "height", "width"):
            assert output[key] == record[key]
        check_image(output["image"], expected, arrays[f"{name}_{k}_image"])
        assert ("instances" in output) == ("n" in expected)
        if "instances" in output:
            check_instances(output["instances"], expected, arrays, f"{name}_{k}")


def check_image(image, expected, pixels):
    assert list(image.shape) == expected["image_shape"]
    assert str(image.dtype) == expected["dtype"]
    assert image.is_contiguous()
    assert (image.to(torch.int) - torch.from_numpy(pixels).to(torch.int)).abs().max() <= 1


def check_instances(instances, expected, arrays, key):
    assert list(instances.image_size) == expected["image_size"]
    assert list(instances.get_fields()) == expected["fields"]
    assert len(instances) == expected["n"]
    assert instances.gt_classes.tolist() == expected["classes"]
    boxes = instances.gt_boxes.tensor
    np.testing.assert_allclose(boxes, arrays[key + "_boxes"], rtol=0, atol=1e-3)
    if "masks_shape" in expected:
        masks = instances.gt_masks.tensor
        assert list(masks.shape) == expected["masks_shape"]
        bits = np.unpackbits(arrays[key + "_masks"])[: masks.numel()].reshape(masks.shape)
        assert (masks.numpy() != bits).mean() <= 1e-3
    if "mask_area" in expected:
        np.testing.assert_allclose(instances.gt_masks.area(), expected["mask_area"], rtol=1e-4)
        bounds = instances.gt_masks.get_bounding_boxes().tensor
        np.testing.assert_allclose(bounds, expected["mask_boxes"], rtol=0, atol=1e-3)
    if "polygons" in expected:
        for got, parts in zip(instances.gt_masks.polygons, expected["polygons"], strict=True):
            for polygon, part in zip(got, parts, strict=True):
                np.testing.assert_allclose(polygon, part, rtol=0, atol=1e-3)


def golden_error(what, golden_records):
    plain = {"augmentations": [], "image_format": "BGR"}
    if what == "recompute without masks":
        DatasetMapper(True, recompute_boxes=True, **plain)
    elif what == "size mismatch":
        file_name = golden_records[0]["file_name"]
        DatasetMapper(True, **plain)({"file_name": file_name, "width": 3, "height": 4})
    elif what == "rle with polygon format":
        record = copy.deepcopy(golden_records[0])
        assert any(isinstance(a["segmentation"], dict) for a in record["annotations"])
        for annotation in record["annotations"]:
            annotation["iscrowd"] = 0
        DatasetMapper(True, use_instance_mask=True, **plain)(record)


@pytest.mark.parametrize(
    "what", ["recompute without masks", "size mismatch", "rle with polygon format"]
)
def test_golden_errors(what, facts, golden_records):
    with pytest.raises(Exception) as caught:
        golden_error(what, golden_records)
    assert type(caught.value).__name__ == facts["errors"][what]


# --- a hand-made image: no COCO content needed


@pytest.fixture
def record(tmp_path):
    y, x = np.mgrid[0:20, 0:30]
    rgb = np.stack([x * 8, y * 12, x + y], axis=2).astype(np.uint8)
    Image.fromarray(rgb).save(tmp_path / "image.png")
    Image.fromarray((x // 10).astype(np.uint8)).save(tmp_path / "labels.png")
    square = [2.0, 3, 12, 3, 12, 11, 2, 11]
    box = {"bbox": [2, 3, 10, 8], "bbox_mode": BoxMode.XYWH_ABS}
    return {
        "file_name": str(tmp_path / "image.png"),
        "sem_seg_file_name": str(tmp_path / "labels.png"),
        "image_id": 4,
        "height": 20,
        "width": 30,
        "tags": {"night": [1, 2]},
        "annotations": [
            {**box, "category_id": 1, "iscrowd": 0, "segmentation": [square]},
            {**box, "category_id": 0, "iscrowd": 1, "segmentation": [square]},
            {**box, "category_id": 2, "segmentation": [square], "keypoints": [1.0, 1, 2]},
        ],
    }


def mapper(augmentations=(), is_train=True, **kwargs):
    arguments = {"image_format": "RGB", "use_instance_mask": True, **kwargs}
    return DatasetMapper(is_train, augmentations=list(augmentations), **arguments)


def test_flip_moves_everything_together(record):
    output = mapper([T.HFlipTransform(30)])(record)
    with Image.open(record["file_name"]) as image:
        pixels = np.asarray(image)
    np.testing.assert_array_equal(output["image"].permute(1, 2, 0), pixels[:, ::-1])
    labels = np.repeat([[2, 1, 0]], 10, axis=1).repeat(20, axis=0)
    np.testing.assert_array_equal(output["sem_seg"], labels)
    assert output["sem_seg"].dtype == torch.int64
    instances = output["instances"]
    # The crowd is left out; a missing iscrowd counts as none.
    assert instances.gt_classes.tolist() == [1, 2]
    assert instances.gt_boxes.tensor.tolist() == [[18, 3, 28, 11]] * 2
    assert isinstance(instances.gt_masks, PolygonMasks)
    assert instances.gt_masks.area().tolist() == [80, 80]


def test_record_stays_as_it_was(record):
    before = copy.deepcopy(record)
    output = mapper([T.RandomFlip(1.0), T.CropTransform(1, 1, 20, 15)])(record)
    output["tags"]["night"].append(3)
    assert record == before
    assert "annotations" not in output
    assert "sem_seg_file_name" not in output
    assert (output["height"], output["width"]) == (20, 30)


def test_without_training_labels_are_dropped(record):
    output = mapper(is_train=False)(record)
    assert sorted(output) == [
        "file_name",
        "height",
        "image",
        "image_id",
        "sem_seg",
        "tags",
        "width",
    ]


def test_record_without_annotations(record):
    del record["annotations"]
    assert "instances" not in mapper()(record)


def test_image_without_instances(record):
    record["annotations"] = []
    instances = mapper()(record)["instances"]
    assert len(instances) == 0
    assert list(instances.get_fields()) == ["gt_boxes", "gt_classes"]
    assert len(mapper(recompute_boxes=True)(record)["instances"]) == 0


def test_without_masks_segmentations_are_not_looked_at(record):
    record["annotations"][0]["segmentation"] = "anything"
    instances = mapper(use_instance_mask=False)(record)["instances"]
    assert list(instances.get_fields()) == ["gt_boxes", "gt_classes"]


def test_bitmasks(record):
    masks = mapper(instance_mask_format="bitmask")(record)["instances"].gt_masks
    assert isinstance(masks, BitMasks)
    assert masks.tensor.sum(dim=(1, 2)).tolist() == [80, 80]


def test_instances_that_a_crop_removes(record):
    record["annotations"][2]["segmentation"] = [[20.0, 15, 28, 15, 28, 19]]
    record["annotations"][2]["bbox"] = [20, 15, 8, 4]
    output = mapper([T.CropTransform(0, 0, 15, 15)], recompute_boxes=True)(record)
    assert output["instances"].gt_classes.tolist() == [1]
    assert output["instances"].gt_boxes.tensor.tolist() == [[2, 3, 12, 11]]


def test_recomputed_boxes_are_tight(record):
    triangle = [2.0, 3, 12, 3, 2, 11]
    for annotation in record["annotations"]:
        annotation["segmentation"] = [triangle]
    crop = [T.CropTransform(7, 0, 20, 20)]
    loose, tight = (
        mapper(crop, recompute_boxes=recompute)(record)["instances"].gt_boxes.tensor[0].tolist()
        for recompute in (False, True)
    )
    assert loose == [0, 3, 5, 11]
    # At x = 7 the slanted side from (12, 3) to (2, 11) is at y = 7.
    assert tight == pytest.approx([0, 3, 5, 7])


def test_size_of_the_image_is_filled_in(record):
    del record["height"], record["width"]
    output = mapper()(record)
    assert (output["height"], output["width"]) == (20, 30)


def test_gray_images_keep_a_channel(record):
    assert mapper(image_format="L")(record)["image"].shape == (1, 20, 30)


def test_mapper_can_be_pickled(record):
    output = pickle.loads(pickle.dumps(mapper([T.Resize((10, 15))])))(record)
    assert output["image"].shape == (3, 10, 15)


def test_repr_shows_the_augmentations():
    assert "RandomFlip(prob=0.25)" in repr(mapper([T.RandomFlip(0.25)]))


@pytest.mark.bundled
@pytest.mark.parametrize(
    "option",
    [
        {"use_keypoint": True},
        {"keypoint_hflip_indices": np.array([0])},
        {"precomputed_proposal_topk": 100},
    ],
)
def test_unsupported_options_are_refused(option):
    with pytest.raises(NotImplementedError):
        mapper(**option)
