"""Deterministic transforms against golden figures, relations between them, and their errors."""

from __future__ import annotations

import pickle

import project  # noqa: F401

import numpy as np
import pytest
from detectron2.data import transforms as T

TAGS = [
    "noop",
    "hflip",
    "vflip",
    "resize_up",
    "resize_down",
    "resize_mixed",
    "resize_near",
    "resize_cubic",
    "crop",
    "crop_over",
    "pad",
    "blend_bright",
    "blend_mean",
    "rot30",
    "rot_m45_noexp",
    "rot90",
    "rot180",
    "rot360",
    "rot20_center",
    "extent",
]
# Resampled images: Pillow and torch round differently by at most one grey level.
RESAMPLED = ("resize_up", "resize_down", "resize_mixed", "resize_cubic", "extent")
NEAREST = 0


@pytest.fixture(scope="module")
def arrays(golden):
    return golden.npz("transforms")


@pytest.fixture(scope="module")
def cases(golden):
    return {case["tag"]: case for case in golden.json("transforms")["cases"]}


def make(case):
    return getattr(T, case["class"])(**case["kwargs"])


def shoelace(polygon):
    x, y = polygon.T
    return 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))


def difference(got, expected):
    assert got.shape == expected.shape
    return np.abs(got.astype(float) - expected.astype(float))


def test_every_golden_case_is_tested(cases):
    assert sorted(cases) == sorted(TAGS)


@pytest.mark.parametrize("tag", TAGS)
def test_images(tag, arrays, cases):
    transform = make(cases[tag])
    kinds = [kind for kind in ("image", "gray", "float") if f"{tag}_{kind}" in arrays]
    assert "image" in kinds
    for kind in kinds:
        expected = arrays[f"{tag}_{kind}"]
        got = transform.apply_image(arrays["in_" + kind].copy())
        assert got.dtype == expected.dtype
        off = difference(got, expected)
        if kind == "float":
            assert off.max() < 1e-3
        elif tag.startswith("rot"):
            # Interpolated borders depend on the version of OpenCV.
            assert off.mean() < 0.5
            assert (off > 4).mean() < 0.02
        else:
            assert off.max() <= (1 if tag in RESAMPLED else 0)


@pytest.mark.parametrize("tag", TAGS)
def test_label_maps(tag, arrays, cases):
    got = make(cases[tag]).apply_segmentation(arrays["in_seg"].copy())
    expected = arrays[f"{tag}_seg"]
    assert got.dtype == expected.dtype
    wrong = (difference(got, expected) > 0).mean()
    assert wrong <= (0.01 if tag.startswith("rot") else 0)


@pytest.mark.parametrize("tag", TAGS)
def test_coordinates_and_boxes(tag, arrays, cases):
    transform = make(cases[tag])
    tolerance = 1e-3 if tag == "extent" else 1e-6
    got = transform.apply_coords(arrays["in_coords"].copy())
    np.testing.assert_allclose(got, arrays[f"{tag}_coords"], rtol=0, atol=tolerance)
    got = transform.apply_box(arrays["in_boxes"].copy())
    np.testing.assert_allclose(got, arrays[f"{tag}_boxes"], rtol=0, atol=tolerance)


@pytest.mark.parametrize("tag", TAGS)
def test_polygons(tag, arrays, cases):
    case = cases[tag]
    got = make(case).apply_polygons([arrays[f"in_poly{k}"].copy() for k in range(3)])
    if "polygon_facts" not in case:
        assert len(got) == 3
        for k, polygon in enumerate(got):
            tolerance = 1e-3 if tag == "extent" else 1e-6
            np.testing.assert_allclose(polygon, arrays[f"{tag}_poly{k}"], rtol=0, atol=tolerance)
        return
    facts = case["polygon_facts"]
    assert len(got) == len(facts)
    for polygon, fact in zip(got, facts, strict=True):
        assert shoelace(polygon) == pytest.approx(fact["area"], abs=1e-6)
        bounds = [*polygon.min(axis=0), *polygon.max(axis=0)]
        np.testing.assert_allclose(bounds, fact["bbox"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("tag", [tag for tag in TAGS if tag.startswith("rot")])
def test_rotation_canvas(tag, cases):
    transform, attributes = make(cases[tag]), cases[tag]["attrs"]
    assert (transform.bound_w, transform.bound_h) == (attributes["bound_w"], attributes["bound_h"])


def test_inverses(arrays):
    back = T.ResizeTransform(37, 53, 50, 90).inverse()
    got = back.apply_coords(arrays["resize_up_coords"].copy())
    np.testing.assert_allclose(got, arrays["resize_up_inverse_coords"], rtol=0, atol=1e-6)
    back = T.RotationTransform(37, 53, 30).inverse()
    got = back.apply_coords(arrays["rot30_coords"].copy())
    np.testing.assert_allclose(got, arrays["rot30_inverse_coords"], rtol=0, atol=1e-6)


def test_transform_list(arrays, golden):
    assert golden.json("transforms")["list"] == "HFlip(w) -> Resize(h,w,74,106) -> NoOp"
    steps = [T.HFlipTransform(53), T.ResizeTransform(37, 53, 74, 106), T.NoOpTransform()]
    transforms = T.TransformList(steps)
    off = difference(transforms.apply_image(arrays["in_image"].copy()), arrays["list_image"])
    assert off.max() <= 1
    boxes = transforms.apply_box(arrays["in_boxes"].copy())
    np.testing.assert_allclose(boxes, arrays["list_boxes"], rtol=0, atol=1e-6)
    coords = transforms.apply_coords(arrays["in_coords"].copy())
    np.testing.assert_allclose(coords, arrays["list_coords"], rtol=0, atol=1e-6)


def test_output_shapes_of_shortest_edge(golden):
    table = golden.json("transforms")["shortest_edge_output_shape"]
    assert len(table) == 6
    for row in table:
        assert list(T.ResizeShortestEdge.get_output_shape(*row["in"])) == row["out"]


def test_resize_refuses_an_image_of_another_size(arrays, golden):
    # The other error of the figures, of int64 label maps, isn't one here: they are resized below.
    errors = golden.json("transforms")["errors"]
    assert errors.keys() == {"resize wrong size", "int64 seg in Resize"}
    assert errors["resize wrong size"] == "AssertionError"
    with pytest.raises(AssertionError):
        T.ResizeTransform(5, 5, 8, 8).apply_image(arrays["in_image"])


@pytest.mark.bundled
@pytest.mark.parametrize("dtype", [np.bool_, np.int16, np.int32, np.int64])
@pytest.mark.parametrize(
    "transform",
    [
        T.ResizeTransform(4, 6, 7, 5),
        T.RotationTransform(4, 6, 90),
        T.ExtentTransform((1, 1, 5, 4), (3, 4), NEAREST),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_label_maps_of_every_dtype(transform, dtype):
    labels = np.arange(24).reshape(4, 6) % 2
    got = transform.apply_segmentation(labels.astype(dtype))
    assert got.dtype == dtype
    expected = transform.apply_segmentation(labels.astype(np.uint8))
    np.testing.assert_array_equal(got.astype(int), expected)


@pytest.mark.parametrize("old, new", [(7, 3), (3, 7), (53, 90), (60, 53), (4, 3), (1, 5), (5, 1)])
def test_nearest_resize_agrees_with_pillow(old, new):
    from PIL import Image

    row = np.arange(old, dtype=np.uint8)[np.newaxis].repeat(2, axis=0)
    expected = np.asarray(Image.fromarray(row).resize((new, 2), Image.Resampling.NEAREST))
    got = T.ResizeTransform(2, old, 2, new).apply_segmentation(row)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("mode", [1, 4, 5], ids=["lanczos", "box", "hamming"])
def test_modes_that_only_pillow_has(mode, arrays):
    from PIL import Image

    expected = np.asarray(Image.fromarray(arrays["in_image"]).resize((20, 30), mode))
    got = T.ResizeTransform(37, 53, 30, 20, mode).apply_image(arrays["in_image"])
    np.testing.assert_array_equal(got, expected)


def test_resize_of_a_flipped_or_read_only_image(arrays, recwarn):
    image = arrays["in_image"].copy()
    image.flags.writeable = False
    resize = T.ResizeTransform(37, 53, 20, 30)
    got = resize.apply_image(image[:, ::-1])
    expected = resize.apply_image(np.ascontiguousarray(image[:, ::-1]))
    np.testing.assert_array_equal(got, expected)
    assert not recwarn.list


def test_constant_image_stays_constant():
    image = np.full((9, 13, 3), 77, dtype=np.uint8)
    assert (T.ResizeTransform(9, 13, 31, 5).apply_image(image) == 77).all()


@pytest.mark.parametrize("flip", [T.HFlipTransform(53), T.VFlipTransform(37)])
def test_flipping_twice_changes_nothing(flip, arrays):
    image, coords = arrays["in_image"], arrays["in_coords"]
    np.testing.assert_array_equal(flip.apply_image(flip.apply_image(image)), image)
    twice = flip.apply_coords(flip.apply_coords(coords.copy()))
    np.testing.assert_allclose(twice, coords, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "transform",
    [
        T.ResizeTransform(37, 53, 11, 200),
        T.CropTransform(5, 7, 30, 20, 53, 37),
        T.PadTransform(1, 2, 3, 4, 53, 37),
        T.TransformList([T.HFlipTransform(53), T.ResizeTransform(37, 53, 74, 106)]),
    ],
    ids=["resize", "crop", "pad", "list"],
)
def test_inverse_brings_points_back(transform, arrays):
    coords = arrays["in_coords"]
    back = transform.inverse().apply_coords(transform.apply_coords(coords.copy()))
    np.testing.assert_allclose(back, coords, rtol=0, atol=1e-9)


def test_rotation_inverse_brings_points_back_to_half_a_pixel(arrays):
    # The canvas of the way back is a whole number of pixels larger, and cropped in its middle.
    rotation = T.RotationTransform(37, 53, 30)
    back = rotation.inverse().apply_coords(rotation.apply_coords(arrays["in_coords"].copy()))
    assert np.abs(back - arrays["in_coords"]).max() <= 0.5 + 1e-9


def test_rotation_by_a_quarter_is_exact():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    rotation = T.RotationTransform(3, 4, 90)
    np.testing.assert_array_equal(rotation.apply_image(image), np.rot90(image))
    # The top right corner moves to the top left, the top left to the bottom left.
    corners = rotation.apply_coords(np.array([[4.0, 0.0], [0.0, 0.0]]))
    np.testing.assert_allclose(corners, [[0, 0], [0, 4]], atol=1e-9)


def test_rotation_keeps_a_channel_axis_and_moves_pixels_with_their_points():
    image = np.zeros((21, 31, 1), dtype=np.uint8)
    image[4, 6] = 255
    rotation = T.RotationTransform(21, 31, 25)
    rotated = rotation.apply_image(image)
    assert rotated.shape == (rotation.bound_h, rotation.bound_w, 1)
    y, x = np.nonzero(rotated[..., 0])
    weights = rotated[y, x, 0].astype(float)
    centre = np.array([np.average(x + 0.5, weights=weights), np.average(y + 0.5, weights=weights)])
    expected = rotation.apply_coords(np.array([[6.5, 4.5]]))[0]
    assert np.abs(centre - expected).max() < 0.1


def test_rotation_without_expand_has_no_inverse():
    with pytest.raises(NotImplementedError):
        T.RotationTransform(10, 10, 30, expand=False).inverse()


def test_rotation_of_no_points():
    assert T.RotationTransform(10, 10, 30).apply_coords(np.zeros((0, 2))).shape == (0, 2)


def test_a_crop_leaves_whole_polygons_and_drops_outer_ones():
    inside = np.array([[11.0, 11], [15, 11], [13, 17]])
    outside = np.array([[0.0, 0], [5, 0], [5, 5]])
    touching = np.array([[5.0, 10], [10, 10], [10, 15]])
    got = T.CropTransform(10, 10, 20, 20).apply_polygons(
        [inside.copy(), outside.copy(), touching.copy()]
    )
    assert len(got) == 1
    assert shoelace(got[0]) == pytest.approx(shoelace(inside))
    assert sorted(map(tuple, got[0])) == sorted(map(tuple, inside - 10))


def test_a_crop_cuts_a_polygon_into_parts():
    # A U whose arms reach into the window from below.
    u = np.array([[1.0, 1], [3, 1], [3, 8], [7, 8], [7, 1], [9, 1], [9, 9], [1, 9]])
    parts = T.CropTransform(0, 0, 10, 5).apply_polygons([u])
    assert len(parts) == 2
    assert sorted(shoelace(part) for part in parts) == pytest.approx([8, 8])


@pytest.mark.bundled
def test_a_crop_keeps_both_loops_of_a_bow_tie():
    bow_tie = np.array([[0.0, 0], [8, 8], [8, 0], [0, 8]])  # two triangles that meet at (4, 4)
    window = T.CropTransform(1, 0, 6, 8)
    parts = window.apply_polygons([bow_tie])
    # Each triangle has area 16, less the area 7 of the 1 pixel that the window leaves out.
    assert sum(shoelace(part) for part in parts) == pytest.approx(2 * (16 - 7))
    # Wholly inside, nothing happens to it.
    (whole,) = T.CropTransform(0, 0, 8, 8).apply_polygons([bow_tie])
    np.testing.assert_array_equal(whole, bow_tie)


def test_a_crop_of_no_polygons():
    assert T.CropTransform(0, 0, 5, 5).apply_polygons([]) == []


def test_extent_of_the_whole_image_is_the_image(arrays):
    image = arrays["in_image"]
    whole = T.ExtentTransform((0, 0, 53, 37), (37, 53))
    np.testing.assert_array_equal(whole.apply_image(image), image)
    coords = whole.apply_coords(arrays["in_coords"])
    np.testing.assert_allclose(coords, arrays["in_coords"], atol=1e-4)


def test_extent_fills_where_there_is_no_image():
    image = np.full((4, 4, 3), 9, dtype=np.uint8)
    got = T.ExtentTransform((-4, 0, 4, 4), (4, 8), fill=200).apply_image(image)
    assert (got[:, :3] == 200).all()
    assert (got[:, 5:] == 9).all()


@pytest.mark.bundled
def test_extent_of_float_and_single_channel_images(arrays):
    extent = T.ExtentTransform((4.0, 6.0, 44.0, 30.0), (30, 45))
    from_floats = extent.apply_image(arrays["in_image"].astype(np.float32))
    assert from_floats.dtype == np.float32
    assert np.abs(from_floats - extent.apply_image(arrays["in_image"])).max() <= 1
    assert extent.apply_image(arrays["in_gray"]).shape == (30, 45, 1)


def test_color_transforms_touch_images_only(arrays):
    image = arrays["in_image"]
    inverted = T.ColorTransform(invert)
    np.testing.assert_array_equal(inverted.apply_image(image), 255 - image)
    np.testing.assert_array_equal(inverted.apply_segmentation(arrays["in_seg"]), arrays["in_seg"])
    np.testing.assert_array_equal(inverted.apply_coords(arrays["in_coords"]), arrays["in_coords"])
    by_pillow = T.PILColorTransform(pil_invert).apply_image(image)
    np.testing.assert_array_equal(by_pillow, 255 - image)


def invert(image):
    return 255 - image


def pil_invert(image):
    from PIL import ImageOps

    return ImageOps.invert(image)


@pytest.mark.parametrize("kind", [T.ColorTransform, T.PILColorTransform])
def test_color_transforms_need_a_function(kind):
    with pytest.raises(ValueError):
        kind(3)


def test_transforms_can_be_pickled(cases):
    for case in cases.values():
        copy = pickle.loads(pickle.dumps(make(case)))
        assert type(copy).__name__ == case["class"]


def test_repr_shows_the_arguments():
    crop = repr(T.CropTransform(20, 15, 120, 110))
    assert crop == "CropTransform(x0=20, y0=15, w=120, h=110)"
