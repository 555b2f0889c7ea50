"""A semantic run behind the predictor, and the soft masks of both kinds of models."""

import json

from project.applications import Choice, NobodyFound, Predictor, RegionMasks, soft_mask
from project.applications.choice import parse_choice
from project.applications.regions import class_regions
from project.errors import UserError

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from pycocotools import mask as coco_mask


@pytest.fixture(scope="module")
def segmenter(semantic_run) -> Predictor:
    return Predictor(semantic_run)


def test_each_class_is_one_region(segmenter, people):
    found = segmenter(people, channels="RGB")
    assert segmenter.semantic
    assert segmenter.class_names == ["cake", "car", "dog", "person"]
    assert found.pred_classes.tolist() == [0, 3]  # no car, no dog; surest first
    # (10 * 250 - 5 * 60 - 5 * 60) / 255 = 1900 / 255; others by the same rule, background 4
    logits = np.array([1900 / 255, -950 / 255, -9, -950 / 255, 4])
    assert found.scores[0].item() == pytest.approx(np.exp(logits[0]) / np.exp(logits).sum())
    assert found.pred_boxes.tensor.tolist() == [[40, 40, 50, 50], [10, 10, 90, 50]]
    assert found.image_size == (60, 100)
    for shade, mask in zip((250, 60), found.pred_masks, strict=True):  # red, of cake and persons
        assert np.array_equal(mask, people[..., 0] == shade)
    assert found.pred_masks.probability(1)[20, 15] > 0.9


def test_a_batch_is_its_images(semantic_run, segmenter, people):
    images = [people, people[:, ::-1], people[5:, 3:]]
    both = Predictor(semantic_run, batch_size=3)(images, channels="RGB")
    for one, image in zip(both, images, strict=True):
        alone = segmenter(image, channels="RGB")
        assert torch.allclose(one.scores, alone.scores)
        assert np.array_equal(np.asarray(one.pred_masks), np.asarray(alone.pred_masks))


def test_a_threshold_drops_a_class_and_moves_no_edge(semantic_run, segmenter, people):
    usual = segmenter(people, channels="RGB")
    assert segmenter.thresholds.tolist() == [0, 0, 0, 0]
    between = float(usual.scores.mean())
    strict = Predictor(semantic_run, thresholds=between)(people, channels="RGB")
    assert strict.pred_classes.tolist() == [0]
    assert np.array_equal(next(iter(strict.pred_masks)), next(iter(usual.pred_masks)))


def test_an_image_with_nothing(segmenter):
    found = segmenter(np.full((30, 40, 3), 90, np.uint8))
    assert len(found) == len(found.pred_masks) == 0
    assert found.pred_masks.rles() == list(found.pred_masks) == []
    assert np.asarray(found.pred_masks.resized(15, 20)).shape == (0, 15, 20)
    with pytest.raises(NobodyFound, match="no person found"):
        segmenter.probability(np.full((30, 40, 3), 90, np.uint8))


def test_label_maps_follow_argmax_with_the_background_last():
    sem_seg = torch.tensor([[[0.4, 0.1]], [[0.35, 0.3]], [[0.25, 0.6]]])
    found = class_regions(sem_seg, np.zeros(2))
    assert found.pred_classes.tolist() == [0]
    assert found.scores.tolist() == [pytest.approx(0.4)]
    assert np.asarray(found.pred_masks).tolist() == [[[True, False]]]


def test_region_masks_resize_and_encode():
    bitmap = np.zeros((40, 60), bool)
    bitmap[10:30, 20:50] = True
    masks = RegionMasks(bitmap[None], bitmap[None] * np.float32(0.8))
    assert np.array_equal(coco_mask.decode(masks.rles()[0]), bitmap)
    half = masks.resized(20, 30)
    assert np.array_equal(np.asarray(half)[0], bitmap[::2, ::2])
    assert half.probability(0).max() == pytest.approx(0.8)
    crop = masks.crop(0)
    assert (crop.x, crop.y, crop.pixels.shape) == (20, 10, (20, 30))
    assert np.asarray(masks.resized(80, 120))[0].sum() == 4 * bitmap.sum()


def test_the_tool_writes_all_that_it_does_for_objects(load_tool, semantic_run, people, tmp_path):
    cv2.imwrite(str(tmp_path / "people.png"), people[..., ::-1])
    video = cv2.VideoWriter(
        str(tmp_path / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (100, 60)
    )
    for _ in range(3):
        video.write(people[..., ::-1])
    video.release()
    code = load_tool("tools/predict.py").main(
        [str(tmp_path / "people.png"), str(tmp_path / "clip.mp4"), "--run", str(semantic_run)]
        + ["--save", "coco", "masks", "cutouts", "overlays", "--output", str(tmp_path / "out")]
    )
    assert code == 0
    entries = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [e["category_id"] for e in entries if e["image_id"] == 1] == [1, 4]
    persons = coco_mask.decode(entries[1]["segmentation"])
    assert persons.sum() == 40 * 10 + 40 * 20
    made = {str(f.relative_to(tmp_path / "out")) for f in (tmp_path / "out").rglob("*.*")}
    assert {"overlays/people.png", "overlays/clip.mp4", "masks/people_classes.png"} <= made
    assert {"cutouts/people/01_cake.png", "cutouts/people/02_person.png"} <= made


def instances(boxes: list, probabilities: list[float], scores: list[float]) -> Instances:
    """Persons that fill their boxes in an image of 20 x 40 pixels, each with one probability."""
    soft = np.zeros((len(boxes), 20, 40), np.float32)
    for plane, (x0, y0, x1, y1), value in zip(soft, boxes, probabilities, strict=True):
        plane[y0:y1, x0:x1] = value
    return Instances(
        (20, 40),
        pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32)),
        scores=torch.tensor(scores),
        pred_classes=torch.zeros(len(boxes), dtype=torch.int64),
        pred_masks=RegionMasks(soft >= 0.5, soft),
    )


BOXES = [[20, 2, 30, 12], [0, 2, 25, 6], [33, 0, 39, 20]]  # areas 100, 100, 120; by score


@pytest.mark.parametrize(
    "words, chosen",
    [
        (["all"], [0, 1, 2]),
        ([], [0, 1, 2]),
        (["largest"], [2]),
        (["surest", "1"], [0]),
        (["surest", "3", "1", "3"], [2, 0]),
        (["left", "1"], [1]),
        (["left", "2", "3"], [0, 2]),
        (["at", "22.5", "4"], [0, 1]),
        (["at", "29.9", "11.9"], [0]),
    ],
)
def test_who_is_chosen(words, chosen):
    values = [0.8, 0.6, 1.0]
    found = instances(BOXES, values, [0.9, 0.8, 0.7])
    expected = np.ones((20, 40), np.float32)
    for i in chosen:
        x0, y0, x1, y1 = BOXES[i]
        expected[y0:y1, x0:x1] *= 1 - values[i]
    made = soft_mask(found, 0, "person", parse_choice(words))
    assert made.dtype == np.float32
    assert made == pytest.approx(1 - expected, abs=1e-6)


def test_two_who_overlap_leave_no_seam():
    found = instances(BOXES[:2], [0.8, 0.6], [0.9, 0.8])
    made = soft_mask(found, 0, "person")
    assert made[4, 22] == pytest.approx(0.92)  # 1 - 0.2 * 0.4
    assert made[4, 10] == pytest.approx(0.6)


@pytest.mark.parametrize(
    "choice, message",
    [
        (Choice("surest", (3,)), r"no person number 3 found: there are 2 in all"),
        (Choice("at", point=(39, 19)), r"no person found at \(39, 19\)"),
        (Choice("at", point=(-1, 300)), "no person found at"),
    ],
)
def test_nobody_like_that(choice, message):
    with pytest.raises(NobodyFound, match=message):
        soft_mask(instances(BOXES[:2], [0.8, 0.6], [0.9, 0.8]), 0, "person", choice)


@pytest.mark.parametrize(
    "words",
    [
        "some",
        "left",
        "left 0",
        "surest one",
        "all 1",
        "largest 1",
        "at 3",
        "at x 1",
        "at nan 1",
        "at 1 inf",
    ],
)
def test_choices_that_mean_nothing(words):
    with pytest.raises(UserError, match=r"expected|unknown choice"):
        parse_choice(words.split())


def test_parts_of_a_region_are_the_persons(segmenter, people):
    image = people.copy()
    image[55, 40] = (60, 60, 220)  # a speck
    whole = segmenter(image, channels="RGB").pred_masks.probability(1)
    everybody = segmenter.probability(image, channels="RGB")
    region = whole > 0.5
    region[55, 40] = False
    assert everybody[region] == pytest.approx(whole[region], abs=1e-6)
    assert everybody[55, 40] == 0
    left = segmenter.probability(image, "person", Choice("left", (1,)), channels="RGB")
    assert left[10:50, 10:20] == pytest.approx(whole[10:50, 10:20], abs=1e-6)
    assert left[:, 50:].max() == 0
    large = segmenter.probability(image, "person", Choice("largest"), channels="RGB")
    assert large[:, :50].max() == 0
    assert large[30, 80] > 0.8
    at = segmenter.probability(image, "person", Choice("at", point=(75, 30)), channels="RGB")
    assert np.array_equal(at, large)


def test_soft_masks_at_full_size(predictor, photos):
    found = predictor(photos[0])
    for index, bitmap in enumerate(found.pred_masks):
        soft = found.pred_masks.probability(index)
        assert soft.shape == found.image_size
        assert np.array_equal(soft > 0.51, bitmap & (soft > 0.51))
        assert soft[bitmap].min(initial=1) > 0.49
    k = int(found.pred_classes[0])
    all_of_them = predictor.probability(photos[0], predictor.class_names[k])
    masks = found[found.pred_classes == k].pred_masks
    clear = np.prod([1 - masks.probability(i) for i in range(len(masks))], axis=0)
    assert all_of_them == pytest.approx(1 - clear, abs=1e-6)


def test_a_class_that_the_model_does_not_know(segmenter, people):
    with pytest.raises(UserError, match="unknown class of the model 'cat'; did you mean 'car'"):
        segmenter.probability(people, "cat")
