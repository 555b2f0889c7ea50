"""Copy-paste: pixels and masks by hand, who is drawn, and what never happens."""

from __future__ import annotations

from collections import Counter

from project.data.augmentation import CopyPaste, LargeScaleJitter
from project.data.augmentation.copy_paste import object_weights, paste
from project.data.broken_images import BrokenImage
from project.data.mapper import InstanceMapper
from project.data.objects import Objects, Picture
from project.data.patches import Patch
from project.data.statistics import ClassStatistics, class_statistics
from project.errors import UserError

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.structures import BoxMode, PolygonMasks
from PIL import Image
from pycocotools import mask as coco_mask

SIZE = (4, 5)


def patch(top, left, *rows):
    """A patch from rows like "#.#"."""
    return Patch(np.array([[sign == "#" for sign in row] for row in rows]), top, left)


def picture(*masks, value=0):
    image = np.full((*SIZE, 3), value, np.uint8)
    return Picture(image, Objects(list(masks), np.arange(len(masks)), SIZE))


def pasted(target, objects, places, min_visible=0.0):
    source = np.arange(SIZE[0] * SIZE[1], dtype=np.uint8).reshape(*SIZE, 1).repeat(3, 2) + 100
    return paste(target, source, objects.objects, places, min_visible)


def bitmaps(objects):
    result = np.zeros((len(objects.masks), *objects.size), bool)
    for bitmap, mask in zip(result, objects.drawn().masks, strict=True):
        bitmap[mask.top : mask.bottom, mask.left : mask.right] = mask.pixels
    return result


def test_pixels_and_mask_are_those_of_the_source():
    target = picture()
    result = pasted(target, picture(patch(1, 1, "#.", "##")), [(0, 3)])
    # source pixels (1, 1), (2, 1), (2, 2) are 106, 111, 112
    assert np.argwhere(result.image[..., 0]).tolist() == [[0, 3], [1, 3], [1, 4]]
    assert result.image[[0, 1, 1], [3, 3, 4], 2].tolist() == [106, 111, 112]
    assert bitmaps(result.objects)[0].tolist() == (result.image[..., 0] > 0).tolist()
    assert not target.image.any()


def test_what_is_pasted_over_loses_its_pixels():
    behind = patch(0, 0, "###", "###")
    result = pasted(picture(behind), picture(patch(0, 0, "##")), [(1, 1)])
    masks = bitmaps(result.objects)
    assert masks[0][:2, :3].tolist() == [[True] * 3, [True, False, False]]
    assert masks.sum((1, 2)).tolist() == [4, 2]
    assert result.objects.classes.tolist() == [0, 0]


def test_what_is_hidden_too_much_is_dropped():
    behind = picture(patch(0, 0, "####"), patch(3, 0, "##"))
    cover = picture(patch(0, 0, "###"))
    assert pasted(behind, cover, [(0, 0)], 0.25).objects.classes.tolist() == [0, 1, 0]
    assert pasted(behind, cover, [(0, 0)], 0.3).objects.classes.tolist() == [1, 0]
    whole = pasted(behind, picture(patch(0, 0, "####")), [(0, 0)], 0.0)
    assert whole.objects.classes.tolist() == [1, 0]


def test_the_first_is_foremost_and_later_ones_show_what_is_left():
    both = picture(patch(0, 0, "##"), patch(2, 0, "###"))
    result = pasted(picture(), both, [(0, 0), (0, 1)])
    masks = bitmaps(result.objects)
    assert masks[0][0].tolist() == [True, True, False, False, False]
    assert masks[1][0].tolist() == [False, False, True, True, False]
    assert result.image[0, :4, 0].tolist() == [100, 101, 111, 112]


def test_an_object_that_would_show_too_little_is_not_painted():
    both = picture(patch(0, 0, "##"), patch(2, 0, "###"))
    result = pasted(picture(), both, [(0, 0), (0, 0)], 0.5)
    assert result.objects.classes.tolist() == [0]
    assert np.count_nonzero(result.image[..., 0]) == 2
    target = picture()
    assert pasted(target, both, [(9, 9), (-3, 0)]) is target


@pytest.mark.parametrize(
    "place, shown",
    [((-1, 0), [[0, 0], [0, 1]]), ((3, 4), [[3, 4]]), ((0, -1), [[1, 0]]), ((0, -2), [])],
)
def test_objects_are_cut_off_at_the_frame(place, shown):
    result = pasted(picture(), picture(patch(0, 0, "#.", "##")), [place])
    assert np.argwhere(result.image[..., 0]).tolist() == shown
    if shown:
        assert bitmaps(result.objects)[0].tolist() == (result.image[..., 0] > 0).tolist()


def random_picture(rng, number, size):
    """Objects that don't overlap, as random blobs."""
    owner = rng.integers(0, number + 2, size).repeat(3, 0).repeat(3, 1)
    masks = [Patch(owner == k, 0, 0) for k in range(number)]
    image = rng.integers(0, 256, (*owner.shape, 3), dtype=np.uint8)
    return Picture(image, Objects(masks, np.arange(number), owner.shape))


@pytest.mark.parametrize("seed", range(15))
def test_no_pixel_gets_a_second_owner(seed):
    rng = np.random.default_rng(seed)
    target, source = random_picture(rng, 3, (5, 6)), random_picture(rng, 2, (4, 7))
    strangers = Objects(source.objects.masks, source.objects.classes + 10, source.objects.size)
    places = [tuple(rng.integers(-6, 14, 2)) for _ in range(2)]
    result = paste(target, source.image, strangers, places, 0.1)
    masks, new = bitmaps(result.objects), result.objects.classes >= 10
    assert masks.sum(0).max() <= 1
    pasted_over = masks[new].any(0)
    untouched = result.image == target.image
    assert untouched[~pasted_over].all()
    before = bitmaps(target.objects)
    for mask, category in zip(masks[~new], result.objects.classes[~new], strict=True):
        np.testing.assert_array_equal(mask, before[category] & ~pasted_over)


# -- through the mapper


def annotation(segmentation, category=0, **values):
    common = {"bbox": [0.0, 0.0, 1.0, 1.0], "bbox_mode": BoxMode.XYWH_ABS, "iscrowd": 0}
    return {**common, "category_id": category, "segmentation": segmentation, **values}


def box(x, y, w, h):
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def rle(y, x, h, w, size=(12, 16)):
    pixels = np.zeros(size, np.uint8, order="F")
    pixels[y : y + h, x : x + w] = 1
    return coco_mask.encode(pixels)


@pytest.fixture
def dataset(tmp_path):
    """Grey values 50, 100, 150: one ant; nothing; a bee as RLE and a crowd of ants."""
    contents = [
        [annotation(box(1, 1, 6, 6))],
        [],
        [annotation(rle(2, 2, 4, 4), 1), annotation(rle(0, 8, 12, 8), iscrowd=1)],
    ]
    records = []
    for i, objects in enumerate(contents):
        file = str(tmp_path / f"{i}.png")
        Image.fromarray(np.full((12, 16, 3), 50 * (i + 1), np.uint8)).save(file)
        records.append({"file_name": file, "image_id": i, "height": 12, "width": 16})
        records[i]["annotations"] = objects
    return records


def mapper_of(dataset, *augmentations, mask_format="bitmask", final=(), **options):
    copy_paste = CopyPaste(**{"probability": 1, **options})
    mapper = InstanceMapper(
        True,
        augmentations=list(augmentations),
        copy_paste=copy_paste,
        final_augmentations=final,
        mask_format=mask_format,
    )
    mapper.bind(dataset, class_statistics(dataset, ("ant", "bee")))
    return mapper


def mapped(mapper, record, seed=0):
    np.random.seed(seed)
    return mapper(record)


def test_every_mask_shows_its_object(dataset):
    mapper = mapper_of(dataset)
    for seed in range(30):
        sample = mapped(mapper, dataset[1], seed)
        (mask,), (category,) = sample["instances"].gt_masks.tensor, sample["instances"].gt_classes
        value = {0: 50, 1: 150}[int(category)]
        assert torch.equal(sample["image"][0] == value, mask)
        assert int(mask.sum()) == {0: 36, 1: 16}[int(category)]  # all of it, inside
        rows, columns = torch.nonzero(mask, as_tuple=True)
        box_of_mask = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert sample["instances"].gt_boxes.tensor[0].tolist() == [float(v) for v in box_of_mask]
    assert (sample["file_name"], sample["image_id"]) == (dataset[1]["file_name"], 1)


def test_the_same_place_is_kept(dataset):
    sample = mapped(mapper_of(dataset, placement="same", class_weights={"ant": 0}), dataset[1])
    assert sample["instances"].gt_boxes.tensor.tolist() == [[2, 2, 6, 6]]
    assert sample["instances"].gt_classes.tolist() == [1]


def test_an_object_larger_than_the_picture_covers_it(dataset):
    wide = T.CropTransform(2, 2, 3, 3, 16, 12)
    sample = mapped(mapper_of(dataset, wide, class_weights={"bee": 0}), dataset[2])
    assert sample["instances"].gt_classes.tolist() == [0]  # the bee is gone behind it
    assert (sample["image"] == 50).all()


def test_crowds_are_never_pasted(dataset):
    mapper = mapper_of(dataset, max_objects=5)
    for seed in range(20):
        areas = mapped(mapper, dataset[1], seed)["instances"].gt_masks.tensor.sum((1, 2))
        assert int(areas.max()) <= 36


@pytest.mark.parametrize("options", [{"probability": 0}, {"until": 5}])
def test_without_a_paste_it_is_the_plain_mapper(dataset, options):
    flips = [T.RandomFlip(0.5), T.RandomBrightness(0.5, 1.5)]
    plain = InstanceMapper(True, augmentations=flips)
    mapper = mapper_of(dataset, *flips, **options)
    for seed in range(5):
        record = dataset[0] | {"position": 5}
        ours, theirs = mapped(mapper, record, seed), mapped(plain, record, seed)
        assert torch.equal(ours["image"], theirs["image"])
        first, second = (s["instances"].gt_masks.tensor for s in (ours, theirs))
        assert torch.equal(first, second)


def test_it_pastes_until_a_position(dataset):
    mapper = mapper_of(dataset, until=5)
    found = [len(mapped(mapper, dataset[1] | {"position": p})["instances"]) for p in (4, 5)]
    assert found == [1, 0]


def test_seed_and_record_decide(dataset):
    mapper = mapper_of(dataset, LargeScaleJitter((16, 16)), T.RandomFlip())
    images = [mapped(mapper, dataset[0], seed)["image"] for seed in (1, 1, 2)]
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])


def test_final_augmentations_reach_what_was_pasted(dataset):
    halved = T.BlendTransform(0, 0.5, 0.5)
    sample = mapped(mapper_of(dataset, final=[halved]), dataset[1])
    assert set(sample["image"].unique().tolist()) <= {50, 25, 75}
    with pytest.raises(UserError, match="leave every pixel in its place, and HFlipTransform may"):
        mapped(mapper_of(dataset, final=[T.RandomFlip(1.0)]), dataset[1])


def test_pictures_with_a_paste_have_bit_masks(dataset):
    polygons = mapper_of(dataset, mask_format="polygon", class_weights={"bee": 0})
    sample = mapped(polygons, dataset[0])
    assert sample["instances"].gt_masks.tensor.dtype == torch.bool
    assert 1 <= len(sample["instances"]) <= 2
    without = mapper_of(dataset, mask_format="polygon", probability=0)
    assert isinstance(mapped(without, dataset[0])["instances"].gt_masks, PolygonMasks)


def test_objects_out_of_frame_are_not_pasted(dataset):
    corner = T.CropTransform(12, 8, 4, 4, 16, 12)
    sample = mapped(mapper_of(dataset, corner), dataset[0])
    assert len(sample["instances"]) == 0
    assert (sample["image"] == 50).all()


# -- who is drawn


STATISTICS = ClassStatistics(np.array([[1, 0], [3, 1], [0, 0]]), ("ant", "bee"))


def test_weights_by_hand():
    assert object_weights(None, STATISTICS).tolist() == [1, 1]
    assert object_weights("inverse_frequency", STATISTICS).tolist() == [0.25, 1]
    assert object_weights({"bee": 3}, STATISTICS).tolist() == [1, 3]
    unseen = ClassStatistics(np.array([[2, 0]]), ("ant", "bee"))
    assert object_weights("inverse_frequency", unseen).tolist() == [0.5, 1]


@pytest.mark.parametrize(
    "class_weights, share", [(None, 0.2), ("inverse_frequency", 0.5), ({"bee": 8}, 8 / 12)]
)
def test_the_first_draw_follows_the_weights(class_weights, share):
    """Of 4 ants and 1 bee: 1 / 5; 1 / 2 whatever their number; 8 / (4 + 8)."""
    copy_paste = CopyPaste(probability=1, max_objects=1, class_weights=class_weights)
    copy_paste.bind([{"place": i} for i in range(3)], STATISTICS)
    drawn = Counter()

    def read(record):
        counts = STATISTICS.counts[record["place"]]
        classes = np.repeat(np.arange(2), counts)
        masks = [patch(0, 0, "#")] * len(classes)
        return Picture(np.zeros((*SIZE, 3), np.uint8), Objects(masks, classes, SIZE))

    np.random.seed(0)
    for _ in range(1500):
        drawn.update(copy_paste(picture(), None, read).objects.classes.tolist())
    assert drawn.total() == 1500
    assert drawn[1] / 1500 == pytest.approx(share, abs=0.04)  # three standard deviations


def test_at_most_so_many_objects():
    copy_paste = CopyPaste(probability=1, max_objects=3, min_visible=0)
    copy_paste.bind([{}], ClassStatistics(np.array([[6]]), ("ant",)))
    masks = [patch(0, 0, "#")] * 6
    source = Picture(np.zeros((*SIZE, 3), np.uint8), Objects(masks, np.zeros(6, np.int64), SIZE))
    np.random.seed(0)
    numbers = {len(copy_paste._choose(source.objects).masks) for _ in range(60)}
    assert numbers == {1, 2, 3}


# -- mistakes


def test_without_a_dataset_it_says_so(dataset):
    mapper = InstanceMapper(True, augmentations=[], copy_paste=CopyPaste())
    with pytest.raises(UserError, match="has no dataset to paste from; .*build_train_loader"):
        mapper(dataset[0])


def test_a_broken_source_is_named(dataset):
    mapper = mapper_of(dataset, class_weights={"ant": 0})
    dataset[2]["file_name"] += ".gone"
    with pytest.raises(BrokenImage, match=r"2.png.gone \(image id 2\) can't be read") as caught:
        mapped(mapper, dataset[0])
    assert caught.value.file_name == dataset[2]["file_name"]


@pytest.mark.parametrize(
    "weights, message",
    [
        ({"wasp": 1}, "unknown class 'wasp'"),
        ({"ant": -1}, "weight of 'ant' must be at least 0, got -1"),
        ({"ant": 0, "bee": 0}, "no object of a class with a weight above 0"),
    ],
)
def test_weights_that_do_not_fit_the_dataset(weights, message):
    with pytest.raises(UserError, match=message):
        CopyPaste(class_weights=weights).bind([{}] * 3, STATISTICS)


@pytest.mark.parametrize("counts", [np.zeros((2, 1), int), np.zeros((0, 1), int)])
def test_a_dataset_without_objects_has_nothing_to_paste(counts):
    with pytest.raises(UserError, match="no object of a class"):
        CopyPaste().bind([{}] * len(counts), ClassStatistics(counts, ("ant",)))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"probability": 1.5}, "probability must be 0 to 1"),
        ({"max_objects": 0}, "max_objects must be at least 1"),
        ({"min_visible": -1}, "min_visible must be 0 to 1"),
        ({"placement": "rand"}, "unknown placement 'rand'; did you mean 'random'"),
        ({"class_weights": "inverse"}, "did you mean 'inverse_frequency'"),
    ],
)
def test_options_that_can_not_be(options, message):
    with pytest.raises(UserError, match=message):
        CopyPaste(**options)


def test_it_is_for_training_only():
    with pytest.raises(UserError, match="copy_paste is for training"):
        InstanceMapper(False, augmentations=[], copy_paste=CopyPaste())
