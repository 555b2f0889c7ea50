"""Slices of difficulty: by hand, and that partitions add up."""

from __future__ import annotations

from project.evaluation.evaluate import match
from project.evaluation.image_masks import image_masks
from project.evaluation.slices import (
    SLICINGS,
    InstanceMeasures,
    Slicing,
    by_frequency,
    slice_matches,
    slice_summary,
    slices,
)

import numpy as np
import pytest


def instances_of(scene):
    measures = InstanceMeasures()
    for image in image_masks(scene.annotations, scene.results):
        measures.update(image)
    return measures.instances()


def slices_of(scene) -> dict:
    return slices(match(scene.annotations, scene.results), instances_of(scene))


def objects_in(found: dict) -> list[int]:
    return [summary["objects"] for summary in found.values()]


@pytest.mark.parametrize("question", SLICINGS)
@pytest.mark.parametrize("seed", range(3))
def test_a_partition_adds_up(random_scene, question, seed):
    made = random_scene(seed, crowds=1)
    matches, instances = match(made.annotations, made.results), instances_of(made)
    slicing = SLICINGS[question](instances)
    parts = [slice_matches(matches, instances, slicing, s) for s in range(len(slicing.names))]
    assert np.array_equal(sum(p.num_objects for p in parts), matches.num_objects)
    assert np.array_equal(sum(p.matched.astype(int) for p in parts), matches.matched)
    false = [~p.matched & ~p.ignored for p in parts]
    assert np.array_equal(sum(f.astype(int) for f in false), ~matches.matched & ~matches.ignored)


def test_a_slice_of_everything_is_everything(random_scene):
    made = random_scene(0, crowds=1)
    matches, instances = match(made.annotations, made.results), instances_of(made)
    whole = Slicing(("all",), np.zeros(len(instances.object_ids)), np.zeros(len(matches.score)))
    part = slice_matches(matches, instances, whole, 0)
    for name in ("matched", "ignored", "object_id", "num_objects"):
        assert np.array_equal(getattr(part, name), getattr(matches, name)), name


def test_objects_outside_are_ignored_by_hand(scene):
    made = scene(size=(60, 60))
    made.object(0, (5, 5, 15, 15))
    made.object(0, (5, 20, 50, 55))
    made.detect(0, 0.9, (5, 20, 50, 55))  # the large one
    made.detect(0, 0.8, (20, 5, 26, 11))  # nothing, and small
    made.detect(0, 0.7, (5, 5, 15, 15))  # the small one
    found = slices_of(made)["size"]
    assert found["medium"] == {"objects": 1, "ap": 100, "recall": 100, "ap50": 100, "recall50": 100}
    # The small one has one false detection before it; the large one's isn't another.
    assert found["small"]["ap50"] == pytest.approx(50)
    assert found["small"]["recall"] == 100
    assert found["large"]["objects"] == 0
    assert np.isnan(found["large"]["ap"])


def test_ap_is_a_mean_over_thresholds(scene):
    made = scene()
    made.object(0, (5, 5, 15, 15))
    made.detect(0, 0.9, (5, 5, 15, 12))  # IoU 0.7: 0.5, 0.55, 0.6, 0.65, 0.7 of ten thresholds
    found = slices_of(made)["size"]["small"]
    assert (found["ap"], found["ap50"], found["recall"]) == pytest.approx((50, 100, 50))


def test_cover_by_hand(scene):
    made = scene()
    made.object(0, (0, 0, 10, 10))
    made.object(1, (20, 0, 25, 10))
    # An L around the second object: its box is 10 x 12, half of its upper part is the dog's.
    bitmap = np.zeros((20, 30), np.uint8, order="F")
    bitmap[0:12, 20:30] = 1
    bitmap[0:10, 20:25] = 0
    made.object(0, (20, 0, 30, 12))
    from pycocotools import mask as coco_mask

    rle = coco_mask.encode(bitmap)
    shape = {"size": [20, 30], "counts": rle["counts"].decode()}
    made.annotations["annotations"][-1]["segmentation"] = shape
    made.detect(0, 0.9, (20, 0, 30, 12))
    made.results[0]["segmentation"] = shape
    made.detect(1, 0.8, (20, 0, 25, 9))  # the dog: the L isn't in its box
    made.detect(1, 0.7, (12, 13, 19, 20))
    instances = instances_of(made)
    assert instances.cover == pytest.approx([0, 0, 100 * 50 / 120])
    # Detections by class: the L, then the dogs.
    assert instances.detection_cover == pytest.approx([100 * 50 / 120, 0, 0])
    assert objects_in(slices_of(made)["occlusion"]) == [2, 0, 1]


def test_a_detection_is_covered_by_all_but_the_object_it_is_meant_for(scene):
    made = scene()
    made.object(0, (0, 0, 10, 10))
    made.detect(1, 0.9, (8, 0, 20, 10))  # IoU 20 / 200: not near enough to be meant for the cat
    made.detect(1, 0.8, (4, 0, 14, 10))  # IoU 60 / 140: meant for it
    assert instances_of(made).detection_cover.tolist() == [0, 0]
    for result in made.results:  # leave a corner out, where the cat is
        x0, y0, width, height = (int(v) for v in result["bbox"])
        bitmap = np.zeros((20, 30), np.uint8, order="F")
        bitmap[y0 : y0 + height, x0 : x0 + width] = 1
        bitmap[0:5, :10] = 0
        from pycocotools import mask as coco_mask

        rle = coco_mask.encode(bitmap)
        result["segmentation"] = {"size": [20, 30], "counts": rle["counts"].decode()}
    assert instances_of(made).detection_cover == pytest.approx([100 * 10 / 120, 0])


def test_truncation(scene):
    made = scene()
    made.object(0, (0, 5, 10, 15))
    made.object(0, (5, 3, 29, 15))  # a pixel from the frame
    made.object(0, (5, 2, 28, 18))
    made.object(1, (10, 10, 20, 20))
    assert instances_of(made).object_cut.tolist() == [True, True, False, True]
    assert objects_in(slices_of(made)["truncation"]) == [1, 3]


def test_crowding_and_false_detections_by_image(scene):
    made = scene(images=2)
    made.object(0, (0, 0, 5, 5), image=1)
    for x in range(4):
        made.object(0, (6 * x, 0, 6 * x + 5, 5), image=2)
        made.detect(0, 0.5, (6 * x, 0, 6 * x + 5, 5), image=2)
    made.detect(0, 0.9, (0, 10, 5, 15), image=2)
    made.detect(0, 0.4, (0, 0, 5, 5), image=1)
    made.object(0, (0, 0, 30, 20), image=1, crowd=1)  # not an object
    found = slices_of(made)["crowding"]
    assert objects_in(found) == [1, 4, 0]
    assert found["1-3 objects"]["ap50"] == 100
    # False, then true four times: precision 4/5 at the end, the best everywhere.
    assert found["4-9 objects"]["ap50"] == pytest.approx(80)


def test_frequency_of_these_images_or_of_others(scene):
    made = scene(images=11)
    for image in range(1, 12):
        made.object(0, (0, 0, 5, 5), image=image)
        made.object(0, (10, 0, 15, 5), image=image)
    made.object(1, (0, 10, 5, 15))
    assert objects_in(slices_of(made)["frequency"]) == [1, 22, 0]
    of_training = by_frequency(instances_of(made), [10, 101])
    assert np.bincount(of_training.objects, minlength=3).tolist() == [22, 0, 1]


def test_matches_of_something_else(scene):
    made, other = scene(), scene()
    made.object(0, (0, 0, 5, 5))
    instances = instances_of(other)
    slicing = SLICINGS["size"](instances)
    with pytest.raises(ValueError, match="make both of the same files"):
        slice_matches(match(made.annotations, made.results), instances, slicing, 0)


@pytest.mark.parametrize("images", [0, 1])
def test_nothing_there(scene, images):
    for found in slices_of(scene(images=images)).values():
        assert set(objects_in(found)) == {0}
        assert all(np.isnan(summary["ap"]) for summary in found.values())


def test_no_detections(scene):
    made = scene()
    made.object(0, (5, 5, 10, 10))
    summary = slice_summary(match(made.annotations, made.results))
    assert summary == {"objects": 1, "ap": 0, "recall": 0, "ap50": 0, "recall50": 0}
