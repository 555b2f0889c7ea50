"""Reading images, transforming annotations, making and filtering instances."""

from __future__ import annotations

import warnings

import project  # noqa: F401

import numpy as np
import pytest
import torch
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks
from PIL import Image


@pytest.fixture(scope="module")
def arrays(golden):
    return golden.npz("detection_utils")


@pytest.fixture(scope="module")
def facts(golden):
    return golden.json("detection_utils")


@pytest.fixture
def save(tmp_path):
    """``save(array, "x.png", orientation)`` → path of an image file."""

    def save(array, name, orientation=None, **options):
        image = Image.fromarray(array)
        if orientation is not None:
            exif = image.getexif()
            exif[274] = orientation
            options["exif"] = exif
        image.save(tmp_path / name, **options)
        return str(tmp_path / name)

    return save


# --- images


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation, arrays, save):
    path = save(arrays["in_rgb"], "image.png", orientation)
    np.testing.assert_array_equal(utils.read_image(path, "RGB"), arrays[f"exif{orientation}_rgb"])


@pytest.mark.parametrize("format", ["BGR", "L", "YUV-BT.601", None])
def test_formats(format, arrays, save):
    got = utils.read_image(save(arrays["in_rgb"], "image.png"), format)
    expected = arrays[f"read_{format}"]
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)


def test_transparency(arrays, facts, save):
    rgb = arrays["in_rgb"]
    alpha = np.full(rgb.shape[:2], 100, np.uint8)
    path = save(np.dstack([rgb, alpha]), "image.png")
    np.testing.assert_array_equal(utils.read_image(path, "BGR"), arrays["read_rgba_BGR"])
    assert list(utils.read_image(path).shape) == facts["read_rgba_None_shape"]


@pytest.mark.parametrize("format", ["RGB", "BGR"])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("kind", ["rgb", "gray", "cmyk"])
def test_jpeg_is_decoded_as_pillow_does(format, orientation, kind, save):
    y, x = np.mgrid[0:32, 0:48]
    pixels = np.stack([x * 5, y * 7, x + y, 255 - x], axis=2).astype(np.uint8)
    shown = {"rgb": pixels[..., :3], "gray": pixels[..., 0], "cmyk": None}[kind]
    if kind == "cmyk":
        path = save(pixels[..., :3], "image.jpg")
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(pixels[..., :3]).convert("CMYK").save(path, exif=exif)
    else:
        path = save(np.ascontiguousarray(shown), "image.jpg", orientation, quality=90)
    expected = np.asarray(Image.open(path).convert("RGB"))
    if orientation == 6:
        expected = np.rot90(expected, -1)
    if format == "BGR":
        expected = expected[:, :, ::-1]
    np.testing.assert_array_equal(utils.read_image(path, format), expected)


@pytest.mark.bundled
def test_images_are_contiguous_and_writable(arrays, save):
    for name in ("image.png", "image.jpg"):
        path = save(arrays["in_rgb"], name, 7)
        for format in ("RGB", "BGR", "L", None):
            image = utils.read_image(path, format)
            assert image.flags.c_contiguous
            assert image.flags.writeable


def test_cut_off_and_broken_files(arrays, save, tmp_path):
    path = save(np.tile(arrays["in_rgb"], (8, 8, 1)), "image.jpg")
    data = (tmp_path / "image.jpg").read_bytes()
    (tmp_path / "image.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(OSError):
        utils.read_image(path, "BGR")
    (tmp_path / "image.jpg").write_bytes(b"no image")
    with pytest.raises(OSError):
        utils.read_image(path, "BGR")
    with pytest.raises(FileNotFoundError):
        utils.read_image(str(tmp_path / "absent.jpg"), "BGR")


def test_conversion_to_rgb(arrays):
    bgr = arrays["in_rgb"][:, :, ::-1].copy()
    got = utils.convert_image_to_rgb(bgr, "BGR")
    np.testing.assert_array_equal(got, arrays["to_rgb_from_BGR"])
    got = utils.convert_image_to_rgb(arrays["read_YUV-BT.601"], "YUV-BT.601")
    np.testing.assert_allclose(got, arrays["to_rgb_from_YUV"], rtol=0, atol=1e-9)
    got = utils.convert_image_to_rgb(arrays["read_L"], "L")
    np.testing.assert_array_equal(got, arrays["to_rgb_from_L"])


def test_conversion_to_rgb_of_tensors_and_other_modes(arrays, recwarn):
    rgb = arrays["in_rgb"]
    np.testing.assert_array_equal(utils.convert_image_to_rgb(torch.from_numpy(rgb), "RGB"), rgb)
    hsv = np.array(Image.fromarray(rgb).convert("HSV"))
    expected = np.array(Image.fromarray(rgb).convert("HSV").convert("RGB"))
    if project.detectron2_source() == "bundled":
        np.testing.assert_array_equal(utils.convert_image_to_rgb(hsv, "HSV"), expected)
    assert not recwarn.list


def test_missing_sizes_are_filled_in(arrays, facts):
    record = {}
    utils.check_image_size(record, arrays["in_rgb"])
    assert record == facts["check_image_size_fills"]
    record = {"width": 17}
    utils.check_image_size(record, arrays["in_rgb"])
    assert record == facts["check_image_size_fills"]


@pytest.mark.parametrize("record", [{"width": 3, "height": 3}, {"width": 12, "height": 17}])
def test_wrong_sizes(record, arrays, facts):
    record["file_name"] = "cat.jpg"
    with pytest.raises(utils.SizeMismatchError, match=r"cat\.jpg") as caught:
        utils.check_image_size(record, arrays["in_rgb"])
    assert type(caught.value).__name__ == facts["check_image_size_error"]
    assert isinstance(caught.value, ValueError) is facts["check_image_size_error_is_ValueError"]


# --- annotations


def annotation(**changes):
    return {
        "bbox": [30.0, 10.0, 40.0, 25.0],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": 2,
        "segmentation": [[30.0, 10, 70, 12, 60, 35]],
        "iscrowd": 0,
        **changes,
    }


def flip_and_resize():
    return T.TransformList([T.HFlipTransform(60), T.ResizeTransform(40, 60, 80, 90)])


@pytest.mark.parametrize("as_list", [False, True])
def test_golden_annotation(as_list, facts):
    given = annotation()
    transforms = flip_and_resize().transforms if as_list else flip_and_resize()
    got = utils.transform_instance_annotations(given, transforms, (80, 90))
    assert got is given
    expected = facts["transformed"]
    np.testing.assert_allclose(got["bbox"], expected["bbox"], atol=1e-5)
    assert got["bbox_mode"] == BoxMode(expected["bbox_mode"])
    assert len(got["segmentation"]) == 1
    np.testing.assert_allclose(got["segmentation"][0], expected["segmentation"][0], atol=1e-5)


def test_golden_instances(facts, arrays):
    first = utils.transform_instance_annotations(annotation(), flip_and_resize(), (80, 90))
    instances = utils.annotations_to_instances([first, {**first, "category_id": 0}], (80, 90))
    expected = facts["instances"]
    assert list(instances.get_fields()) == expected["fields"]
    boxes, classes = instances.gt_boxes.tensor, instances.gt_classes
    assert [str(boxes.dtype), str(classes.dtype)] == expected["dtypes"]
    np.testing.assert_allclose(boxes, expected["boxes"], atol=1e-5)
    assert classes.tolist() == [2, 0]
    masks = utils.annotations_to_instances([first], (80, 90), "bitmask").gt_masks
    np.testing.assert_array_equal(masks.tensor, arrays["bitmask"])
    empty = utils.annotations_to_instances([], (80, 90))
    assert list(empty.get_fields()) == facts["empty_instances_fields"]
    assert len(empty) == 0
    assert empty.image_size == (80, 90)


def test_given_lists_are_not_changed():
    box, polygon = [30.0, 10.0, 40.0, 25.0], [30.0, 10, 70, 12, 60, 35]
    given = annotation(bbox=box, segmentation=[polygon])
    utils.transform_instance_annotations(given, flip_and_resize(), (80, 90))
    assert box == [30.0, 10.0, 40.0, 25.0]
    assert polygon == [30.0, 10, 70, 12, 60, 35]


def test_given_arrays_are_not_changed():
    polygon = np.array([30.0, 10, 70, 12, 60, 35])
    given = annotation(segmentation=[polygon])
    utils.transform_instance_annotations(given, T.CropTransform(5, 5, 90, 90), (90, 90))
    np.testing.assert_array_equal(polygon, [30.0, 10, 70, 12, 60, 35])


def test_boxes_are_clipped_and_polygons_are_not():
    given = annotation(bbox=[-5.0, -5.0, 100.0, 100.0], bbox_mode=BoxMode.XYXY_ABS)
    given["segmentation"] = [[-5.0, -5, 100, -5, 100, 100]]
    got = utils.transform_instance_annotations(given, T.NoOpTransform(), (40, 60))
    np.testing.assert_array_equal(got["bbox"], [0, 0, 60, 40])
    np.testing.assert_array_equal(got["segmentation"][0], [-5, -5, 100, -5, 100, 100])


def test_a_crop_may_leave_no_polygon():
    got = utils.transform_instance_annotations(annotation(), T.CropTransform(0, 0, 9, 9), (9, 9))
    assert got["segmentation"] == []


@pytest.mark.parametrize("counts", ["list", "bytes", "text"])
def test_rle_becomes_a_mask(counts):
    mask = np.zeros((5, 7), dtype=np.uint8)
    mask[1:3, 2:5] = 1
    rle = encode(mask, counts)
    with warnings.catch_warnings():
        warnings.simplefilter("error" if project.detectron2_source() == "bundled" else "ignore")
        got = utils.transform_instance_annotations(
            annotation(segmentation=rle), T.HFlipTransform(7), (5, 7)
        )
    np.testing.assert_array_equal(got["segmentation"], mask[:, ::-1])
    instances = utils.annotations_to_instances([got], (5, 7), "bitmask")
    np.testing.assert_array_equal(instances.gt_masks.tensor[0], mask[:, ::-1].astype(bool))


def encode(mask, counts):
    import pycocotools.mask

    if counts == "list":
        flat = mask.T.ravel()
        borders = np.flatnonzero(np.diff(flat, prepend=0)).tolist()
        return {"size": list(mask.shape), "counts": np.diff([0, *borders, flat.size]).tolist()}
    rle = pycocotools.mask.encode(np.asfortranarray(mask))
    if counts == "text":
        rle["counts"] = rle["counts"].decode()
    return rle


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (40, 300), (7, 5), (200, 200)])
def test_masks_come_back_from_their_encoding(shape):
    random = np.random.RandomState(0)
    for density in (0.0, 0.01, 0.5, 1.0):
        mask = (random.rand(*shape) < density).astype(np.uint8)
        np.testing.assert_array_equal(decoded(encode(mask, "bytes")), mask)


def test_long_runs_come_back_from_their_encoding():
    mask = np.zeros((3000, 2000), dtype=np.uint8)  # several characters a number
    mask[100:2900, 5] = mask[7, 1990:] = 1
    np.testing.assert_array_equal(decoded(encode(mask, "bytes")), mask)


def decoded(rle):
    given = annotation(segmentation=rle)
    return utils.annotations_to_instances([given], rle["size"], "bitmask").gt_masks.tensor[0]


@pytest.mark.bundled
def test_broken_rle():
    broken = annotation(segmentation={"size": [5, 7], "counts": [3, 4]})
    with pytest.raises(ValueError, match="5 x 7"):
        utils.transform_instance_annotations(broken, T.NoOpTransform(), (5, 7))


def test_mask_of_another_size():
    rle = encode(np.ones((5, 7), np.uint8), "bytes")
    with pytest.raises(AssertionError):
        utils.transform_instance_annotations(
            annotation(segmentation=rle), T.NoOpTransform(), (6, 7)
        )


def test_unknown_segmentations():
    strange = annotation(segmentation=3.5)
    with pytest.raises(ValueError):
        utils.transform_instance_annotations(strange, T.NoOpTransform(), (40, 60))
    with pytest.raises(ValueError):
        utils.annotations_to_instances([annotation(segmentation=3.5)], (40, 60), "bitmask")
    mask = np.zeros((2, 40, 60), np.uint8)
    with pytest.raises(ValueError):
        utils.annotations_to_instances([annotation(segmentation=mask)], (40, 60), "bitmask")


def test_rle_does_not_fit_to_polygon_format():
    rle = encode(np.ones((5, 7), np.uint8), "bytes")
    got = utils.transform_instance_annotations(
        annotation(segmentation=rle), T.NoOpTransform(), (5, 7)
    )
    with pytest.raises(ValueError):
        utils.annotations_to_instances([got], (5, 7), "polygon")


@pytest.mark.bundled
def test_a_missing_segmentation_is_named():
    bare = annotation()
    del bare["segmentation"]
    with pytest.raises(ValueError, match=r"numbers \[1\]"):
        utils.annotations_to_instances([annotation(), bare], (40, 60))


def test_bitmasks_of_all_kinds_of_segmentations():
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[10:20, 30:45] = 1
    square = [30.0, 10, 45, 10, 45, 20, 30, 20]
    kinds = [mask, mask.astype(bool), encode(mask, "bytes"), [square]]
    instances = utils.annotations_to_instances(
        [annotation(segmentation=kind) for kind in kinds], (40, 60), "bitmask"
    )
    assert isinstance(instances.gt_masks, BitMasks)
    for tensor in instances.gt_masks.tensor:
        np.testing.assert_array_equal(tensor, mask.astype(bool))


def test_keypoints_move_are_mirrored_and_vanish():
    points = [10.0, 5, 2, 50, 5, 1, 70, 5, 2, 0, 0, 0]  # the third lies outside, the last is none
    got = utils.transform_instance_annotations(
        annotation(keypoints=points),
        T.HFlipTransform(60),
        (40, 60),
        keypoint_hflip_indices=np.array([1, 0, 2, 3]),
    )
    expected = [[10, 5, 1], [50, 5, 2], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(got["keypoints"], expected)


@pytest.mark.bundled
def test_all_annotations_at_once_equal_one_by_one():
    random = np.random.RandomState(0)
    transforms = [
        T.ResizeTransform(40, 60, 80, 90),
        T.CropTransform(10, 10, 50, 60),
        T.HFlipTransform(50),
        T.RotationTransform(60, 50, 20),
    ]
    size = (transforms[-1].bound_h, transforms[-1].bound_w)

    def make():
        annotations = [
            annotation(
                bbox=(random.rand(4) * 20).tolist(),
                bbox_mode=BoxMode(i % 2),
                segmentation=[(random.rand(6 + 2 * k) * 50).tolist() for k in range(i % 4)],
            )
            for i in range(7)
        ]
        annotations[3]["segmentation"] = encode(np.ones((40, 60), np.uint8), "bytes")
        del annotations[6]["segmentation"]
        return annotations

    random.seed(1)
    together = utils.transform_annotations(make(), transforms, size)
    random.seed(1)
    alone = [utils.transform_instance_annotations(a, transforms, size) for a in make()]
    for a, b in zip(together, alone, strict=True):
        assert a.keys() == b.keys()
        np.testing.assert_allclose(a["bbox"], b["bbox"])
        if isinstance(a.get("segmentation"), list):
            for p, q in zip(a["segmentation"], b["segmentation"], strict=True):
                np.testing.assert_allclose(p, q)
        elif "segmentation" in a:
            np.testing.assert_array_equal(a["segmentation"], b["segmentation"])
    assert utils.transform_annotations([], transforms, size) == []


# --- filtering


def three_instances():
    instances = Instances((10, 10))
    boxes = [[0, 0, 5, 5], [3, 3, 3, 8], [1, 1, 4, 1.000001]]
    instances.gt_boxes = Boxes(torch.tensor(boxes))
    instances.gt_classes = torch.tensor([0, 1, 2])
    return instances


def test_golden_filter(facts):
    instances = three_instances()
    kept, mask = utils.filter_empty_instances(instances, return_mask=True)
    assert len(kept) == facts["filter_empty"]["n"]
    assert mask.tolist() == facts["filter_empty"]["mask"]
    instances.gt_masks = PolygonMasks([[], [np.arange(6.0)], [np.arange(6.0)]])
    by_mask = utils.filter_empty_instances(instances, by_box=False)
    assert by_mask.gt_classes.tolist() == facts["filter_empty_by_mask_only"]
    with pytest.raises(Exception) as caught:
        utils.filter_empty_instances(instances, by_box=False, by_mask=False)
    assert type(caught.value).__name__ == facts["filter_both_false"]


def test_filter_threshold_is_exceeded_strictly():
    instances = three_instances()
    instances.gt_boxes = Boxes(torch.tensor([[0, 0, 5.0, 5], [0, 0, 2, 9], [0, 0, 2.5, 9]]))
    kept = utils.filter_empty_instances(instances, box_threshold=2)
    assert kept.gt_classes.tolist() == [0, 2]


def test_filter_of_no_instances():
    empty = utils.annotations_to_instances([], (10, 10))
    assert len(utils.filter_empty_instances(empty)) == 0
