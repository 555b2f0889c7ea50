"""Random augmentations: golden draws for fixed seeds, relations and errors."""

from __future__ import annotations

import itertools
import pickle
from types import SimpleNamespace

import project  # noqa: F401

import numpy as np
import pytest
from detectron2.data import transforms as T
from omegaconf import OmegaConf

RESAMPLING = ("Resize", "ResizeShortestEdge", "ResizeScale", "RandomRotation", "RandomExtent")
PARAMETERS = [
    "x0",
    "y0",
    "x1",
    "y1",
    "w",
    "h",
    "orig_w",
    "orig_h",
    "new_h",
    "new_w",
    "width",
    "height",
    "angle",
    "center",
    "bound_w",
    "bound_h",
    "expand",
    "src_weight",
    "dst_weight",
    "pad_value",
    "seg_pad_value",
]


@pytest.fixture(scope="module")
def facts(golden):
    return golden.json("augmentations")


@pytest.fixture(scope="module")
def arrays(golden):
    return golden.npz("augmentations")


def build(name, kwargs):
    if name == "RandomApply":
        kwargs = {**kwargs, "tfm_or_aug": T.RandomBrightness(0.5, 1.5)}
    return getattr(T, name)(**kwargs)


def check_transform(transform, expected):
    if isinstance(expected, list):
        assert isinstance(transform, T.TransformList)
        for step, fact in itertools.zip_longest(transform.transforms, expected):
            check_transform(step, fact)
        return
    assert type(transform).__name__ == expected["class"]
    for name in PARAMETERS:
        if name in expected and expected[name] is not None:
            got = np.asarray(getattr(transform, name), dtype=float)
            np.testing.assert_allclose(got, expected[name], rtol=0, atol=1e-9, err_msg=name)
    if "src_image_mean" in expected:
        assert np.mean(transform.src_image) == pytest.approx(expected["src_image_mean"], abs=1e-9)
        assert list(np.shape(transform.src_image)) == expected["src_image_shape"]


def test_golden_draws(facts, arrays):
    assert len(facts["records"]) == 72
    for record in facts["records"]:
        augmentation = build(record["augmentation"], record["kwargs"])
        np.random.seed(record["seed"])
        aug_input = T.AugInput(arrays["in_image"].copy())
        transform = augmentation(aug_input)
        # The next draw proves how many were made.
        assert np.random.uniform() == pytest.approx(record["next_uniform"], abs=1e-12)
        check_transform(transform, record["transform"])
        assert list(aug_input.image.shape) == record["image_shape"]
        total = int(aug_input.image.astype(np.int64).sum())
        resampled = record["augmentation"] in RESAMPLING
        assert total == pytest.approx(record["image_sum"], rel=0.005 if resampled else 0, abs=0)


@pytest.mark.parametrize("name", ["Brightness", "Contrast", "Saturation", "Lighting"])
def test_golden_colors(name, facts, arrays):
    name = "Random" + name
    (record,) = (r for r in facts["records"] if r["augmentation"] == name and r["seed"] == 0)
    np.random.seed(0)
    aug_input = T.AugInput(arrays["in_image"].copy())
    build(name, record["kwargs"])(aug_input)
    expected = arrays[f"out_{name}_seed0"]
    assert aug_input.image.dtype == np.uint8
    assert np.abs(aug_input.image.astype(int) - expected).max() <= 1


def test_golden_list(facts, arrays):
    np.random.seed(0)
    aug_input = T.AugInput(
        arrays["in_image"].copy(), boxes=arrays["in_boxes"].copy(), sem_seg=arrays["in_seg"].copy()
    )
    augmentations = T.AugmentationList(
        [T.RandomFlip(1.0), T.ResizeTransform(90, 120, 45, 60), T.RandomBrightness(0.9, 1.1)]
    )
    transforms = augmentations(aug_input)
    assert len(transforms) == facts["list_len"]
    assert [type(t).__name__ for t in transforms.transforms] == facts["list_types"]
    assert np.abs(aug_input.image.astype(int) - arrays["list_image"]).max() <= 1
    np.testing.assert_allclose(aug_input.boxes, arrays["list_boxes"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(aug_input.sem_seg, arrays["list_seg"])


def test_golden_reprs(facts):
    assert repr(T.RandomFlip()) == facts["repr"]["RandomFlip()"]
    shown = repr(T.ResizeShortestEdge((640, 800), 1333, "choice"))
    assert shown == facts["repr"]["ResizeShortestEdge"]


class NeedsFoo(T.Augmentation):
    def get_transform(self, image, foo):
        return T.NoOpTransform()


class TakesAnything(T.Augmentation):
    def get_transform(self, *args):
        return T.NoOpTransform()


class ReadsLabels(T.Augmentation):
    def get_transform(self, image, sem_seg):
        assert image.shape[:2] == sem_seg.shape
        return T.HFlipTransform(image.shape[1])


ERRORS = {
    "flip both": lambda: T.RandomFlip(horizontal=True, vertical=True),
    "flip none": lambda: T.RandomFlip(horizontal=False),
    "range 3 values": lambda: T.ResizeShortestEdge((1, 2, 3)),
    "bad sample_style": lambda: T.ResizeShortestEdge(3, sample_style="x"),
    "bad crop type": lambda: T.RandomCrop("x", (1, 1)),
    "prob>1": lambda: T.RandomApply(T.NoOpTransform(), 1.5),
    "AugInput list": lambda: T.AugInput([[1]]),
    "aug without input attr": lambda: NeedsFoo()(T.AugInput(np.zeros((3, 4, 3), np.uint8))),
}


def test_golden_errors(facts):
    assert ERRORS.keys() == facts["errors"].keys()
    for what, act in ERRORS.items():
        with pytest.raises(Exception) as caught:
            act()
        assert type(caught.value).__name__ == facts["errors"][what], what


def image_of(height=30, width=40):
    return np.arange(height * width * 3, dtype=np.uint32).reshape(height, width, 3).astype(np.uint8)


def test_missing_attribute_is_named():
    with pytest.raises(AttributeError, match="foo"):
        NeedsFoo()(T.AugInput(image_of()))


def test_star_arguments_are_refused():
    with pytest.raises(TypeError):
        TakesAnything()(T.AugInput(image_of()))


def test_arguments_are_read_by_name():
    aug_input = T.AugInput(image_of(), sem_seg=np.zeros((30, 40), dtype=np.uint8))
    assert isinstance(ReadsLabels()(aug_input), T.HFlipTransform)
    np.testing.assert_array_equal(aug_input.image, image_of()[:, ::-1])


def test_any_object_with_transform_can_be_augmented():
    seen = []
    T.Resize(7)(SimpleNamespace(image=image_of(), transform=seen.append))
    assert isinstance(seen[0], T.ResizeTransform)


@pytest.mark.parametrize(
    "image", [np.zeros((2, 2), np.int64), np.zeros((1, 2, 2, 3), np.uint8), np.zeros(4, np.uint8)]
)
def test_images_of_wrong_type_or_shape(image):
    with pytest.raises(AssertionError):
        T.AugInput(image)


def test_label_maps_of_wrong_shape():
    with pytest.raises(AssertionError):
        T.AugInput(image_of(), sem_seg=np.zeros((30, 40, 1), np.uint8))


def test_lists_hold_only_augmentations_and_transforms():
    with pytest.raises(AssertionError):
        T.AugmentationList([T.RandomFlip(), 3])
    assert len(T.AugmentationList([])(T.AugInput(image_of()))) == 0


def test_nested_lists_become_flat():
    inner = T.AugmentationList([T.RandomFlip(1.0), T.FixedSizeCrop((8, 8))])
    transforms = T.AugmentationList([inner, T.RandomApply(T.Resize(4), 1.0)])(
        T.AugInput(image_of())
    )
    assert [type(t).__name__ for t in transforms.transforms] == [
        "HFlipTransform",
        "CropTransform",
        "PadTransform",
        "ResizeTransform",
    ]


def test_the_returned_transform_repeats_what_was_done():
    np.random.seed(5)
    aug_input = T.AugInput(image_of())
    augmentations = T.AugmentationList([T.RandomFlip(), T.RandomCrop("relative_range", (0.5, 0.5))])
    transforms = augmentations(aug_input)
    np.testing.assert_array_equal(transforms.apply_image(image_of()), aug_input.image)


def test_one_seed_one_result():
    augmentations = T.AugmentationList(
        [T.RandomFlip(), T.ResizeShortestEdge((10, 20)), T.RandomContrast(0.5, 1.5)]
    )
    results = []
    for _ in range(2):
        np.random.seed(11)
        aug_input = T.AugInput(image_of())
        augmentations(aug_input)
        results.append(aug_input.image)
    np.testing.assert_array_equal(*results)


@pytest.mark.bundled
def test_rotation_chooses_among_several_centres():
    centres = ((0.2, 0.3), (0.7, 0.6))
    augmentation = T.RandomRotation([30], expand=False, center=centres, sample_style="choice")
    np.random.seed(0)
    seen = {tuple(np.round(augmentation(T.AugInput(image_of())).center, 6)) for _ in range(30)}
    assert seen == {(8.0, 9.0), (28.0, 18.0)}


def test_rotation_of_one_angle():
    transform = T.RandomRotation(90)(T.AugInput(image_of()))
    assert (transform.angle, transform.bound_w, transform.bound_h) == (90, 30, 40)


def test_rotation_by_whole_turns_does_nothing():
    rotation = T.RandomRotation([360, 720], sample_style="choice")
    assert isinstance(rotation(T.AugInput(image_of())), T.NoOpTransform)


def test_random_apply_never_and_always():
    never, always = T.RandomApply(T.Resize(5), 0.0), T.RandomApply(T.Resize(5), 1.0)
    assert isinstance(never(T.AugInput(image_of())), T.NoOpTransform)
    assert isinstance(always(T.AugInput(image_of())), T.ResizeTransform)


def test_fixed_size_crop_pads_image_and_labels():
    aug_input = T.AugInput(image_of(4, 5), sem_seg=np.zeros((4, 5), np.uint8))
    T.FixedSizeCrop((6, 8), pad_value=10.0, seg_pad_value=3)(aug_input)
    assert aug_input.image.shape == (6, 8, 3)
    assert (aug_input.image[4:] == 10).all()
    assert (aug_input.sem_seg[:, 5:] == 3).all()
    np.testing.assert_array_equal(aug_input.image[:4, :5], image_of(4, 5))


def test_random_crop_of_a_range_of_pixels_stays_in_the_image():
    for seed in range(20):
        np.random.seed(seed)
        crop = T.RandomCrop("absolute_range", (20, 35))(T.AugInput(image_of(30, 40)))
        assert 20 <= crop.h <= 30
        assert 20 <= crop.w <= 35
        assert crop.y0 + crop.h <= 30
        assert crop.x0 + crop.w <= 40


@pytest.mark.parametrize("kind", [T.RandomBrightness, T.RandomContrast, T.RandomSaturation])
def test_weight_one_keeps_the_image(kind):
    aug_input = T.AugInput(image_of())
    kind(1.0, 1.0)(aug_input)
    np.testing.assert_array_equal(aug_input.image, image_of())


def test_weight_zero_leaves_only_the_source():
    aug_input = T.AugInput(image_of().astype(np.float32))
    T.RandomSaturation(0.0, 0.0)(aug_input)
    pixel = image_of()[3, 4].astype(float)
    gray = 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]
    np.testing.assert_allclose(aug_input.image[3, 4], gray, rtol=1e-5)


@pytest.mark.parametrize("augmentation", [T.RandomSaturation(0.5, 1.5), T.RandomLighting(10.0)])
def test_colors_need_three_channels(augmentation):
    with pytest.raises(AssertionError):
        augmentation(T.AugInput(image_of()[:, :, :1]))


def test_extent_without_scale_and_shift_is_the_identity():
    aug_input = T.AugInput(image_of())
    T.RandomExtent((1.0, 1.0), (0.0, 0.0))(aug_input)
    np.testing.assert_array_equal(aug_input.image, image_of())


def test_arguments_from_configs():
    lists = OmegaConf.create({"lengths": [10, 20], "size": [8, 9], "range": [0.5, 1.0]})
    augmentations = [
        T.ResizeShortestEdge(lists.lengths, sample_style="choice"),
        T.Resize(lists.size),
        T.FixedSizeCrop(lists.size),
        T.RandomCrop("relative", lists.range),
        T.RandomRotation(lists.lengths),
        T.RandomExtent(lists.range, lists.range),
    ]
    for augmentation in augmentations:
        augmentation(T.AugInput(image_of()))
        assert "ListConfig" not in repr(pickle.dumps(augmentation))
    T.AugmentationList(OmegaConf.create(augmentations, flags={"allow_objects": True}))


def test_random_crop_of_a_range_of_pixels_reaches_both_ends():
    np.random.seed(0)
    crop = T.RandomCrop("absolute_range", (2, 4))
    windows = [crop(T.AugInput(image_of(4, 6))) for _ in range(100)]
    assert {window.h for window in windows} == {window.w for window in windows} == {2, 3, 4}
    assert {window.x0 for window in windows} == {0, 1, 2, 3, 4}
