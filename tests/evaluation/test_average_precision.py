"""AP with weighted images against pycocotools' accumulate, and against copies of images."""

from types import SimpleNamespace

from project.evaluation.average_precision import AveragePrecision
from project.evaluation.matches import Matches

import numpy as np
import pytest

THRESHOLDS = np.linspace(0.5, 0.95, 10)


def random_matches(seed: int, detections: int = 60, *, ties_in_image: bool = False) -> Matches:
    """Matches with ties in score, ignored detections, and images and classes without anything.

    Ties are between images only, unless asked otherwise: which of two equal scores of one image
    comes first among copies of the image is nobody's promise.
    """
    num_images, num_classes = 12, 3
    rng = np.random.default_rng(seed)
    image, category = (
        rng.integers(num_images, size=detections),
        rng.integers(num_classes, size=detections),
    )
    score = rng.integers(0, 15, detections) / 15
    if not ties_in_image:
        score -= 1e-4 * np.tril(image[:, None] == image, -1).sum(axis=1)
    order = np.lexsort((-score, category, image))
    iou = rng.uniform(0.2, 1, detections)
    matched = iou >= THRESHOLDS[:, None]
    ignored = (rng.random((len(THRESHOLDS), detections)) < 0.15) & ~matched
    num_objects = rng.poisson(0.4, (num_images, num_classes))
    np.add.at(num_objects, (image[order][matched[0]], category[order][matched[0]]), 1)
    return Matches(
        class_names=tuple(f"class {k}" for k in range(num_classes)),
        image_ids=np.arange(1, num_images + 1),
        iou_thresholds=THRESHOLDS,
        image=image[order].astype(np.int32),
        category=category[order].astype(np.int32),
        score=score[order],
        matched=matched,
        ignored=ignored,
        object_id=matched.astype(np.int64),
        iou=np.where(matched[0], iou, 0),
        num_objects=num_objects.astype(np.int32),
    )


def accumulate_with_pycocotools(matches: Matches, weights: np.ndarray):
    """Precision [T, K] and recall [T, K] of the images, each as often as its weight says."""
    from pycocotools.cocoeval import COCOeval

    copies = np.repeat(np.arange(len(weights)), weights)
    evaluation = COCOeval(iouType="segm")
    evaluation.params.imgIds = list(range(len(copies)))
    evaluation.params.catIds = list(range(len(matches.class_names)))
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluation.params.maxDets = [100]
    evaluation._paramsEval = SimpleNamespace(**vars(evaluation.params))
    evaluation.evalImgs = []
    for k in range(len(matches.class_names)):
        for image in copies:
            rows = (matches.image == image) & (matches.category == k)
            evaluation.evalImgs.append(
                {
                    "dtScores": matches.score[rows].tolist(),
                    "dtMatches": matches.matched[:, rows] | matches.ignored[:, rows],
                    "dtIgnore": matches.ignored[:, rows],
                    "gtIgnore": np.zeros(matches.num_objects[image, k]),
                }
            )
    evaluation.accumulate()
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    precision = precision[..., 0, 0].mean(axis=1)  # over the recalls
    recall = recall[..., 0, 0]
    return np.where(precision < 0, np.nan, precision), np.where(recall < 0, np.nan, recall)


@pytest.mark.parametrize("seed", range(8))
def test_equals_pycocotools_with_and_without_copies(seed, capsys):
    matches = random_matches(seed, [60, 250, 8, 0][seed % 4])
    rng = np.random.default_rng(seed)
    weights = np.vstack([np.ones(12, int), rng.multinomial(12, np.full(12, 1 / 12), size=4)])
    precision, recall = AveragePrecision(matches).by_threshold(weights)
    for row, weight in enumerate(weights):
        expected = accumulate_with_pycocotools(matches, weight)
        np.testing.assert_allclose(precision[row], expected[0], atol=1e-12)
        np.testing.assert_allclose(recall[row], expected[1], atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_equal_scores_in_an_image_keep_the_order_of_their_rows(seed, capsys):
    matches = random_matches(seed, 250, ties_in_image=True)
    precision, recall = AveragePrecision(matches).by_threshold(np.ones((1, 12), int))
    expected = accumulate_with_pycocotools(matches, np.ones(12, int))
    np.testing.assert_allclose(precision[0], expected[0], atol=1e-12)
    np.testing.assert_allclose(recall[0], expected[1], atol=1e-12)


@pytest.mark.parametrize("objects", [1, 3, 7, 10, 29, 50, 57, 100])
def test_fractions_reach_the_recall_points_that_pycocotools_takes(objects):
    """Floating point decides whether 29 of 50 reach 0.58, in pycocotools as here."""
    for kept in range(1, objects + 1):
        part = one_class(1 - np.arange(kept) / 200, np.ones(kept, bool), objects)
        reached = np.searchsorted(np.linspace(0, 1, 101), kept / objects, side="right") / 101
        value = AveragePrecision(part).by_threshold(np.ones((1, objects), int))[0]
        assert value.item() == pytest.approx(reached, abs=1e-12)


def one_class(score, matched, objects: int) -> Matches:
    """Detection i in image i, one object in each image, one IoU threshold."""
    count = len(score)
    return Matches(
        class_names=("cake",),
        image_ids=np.arange(1, objects + 1),
        iou_thresholds=np.array([0.5]),
        image=np.arange(count, dtype=np.int32),
        category=np.zeros(count, np.int32),
        score=np.asarray(score, float),
        matched=np.asarray(matched, bool)[None],
        ignored=np.zeros((1, count), bool),
        object_id=np.zeros((1, count), np.int64),
        iou=np.where(matched, 0.6, 0.0),
        num_objects=np.ones((objects, 1), np.int32),
    )


def test_worked_example():
    """True 0.9, false 0.8, true 0.7 on three objects: precision 1 to recall 1/3, then 2/3 to 2/3.

    34 recall points (0 to 0.33) at 1 and 33 (0.34 to 0.66) at 2/3. Twice the second image, whose
    detection is false, makes the second precision 2/4, on four objects: 26 points at 1, 25 at 1/2.
    """
    statistic = AveragePrecision(one_class([0.9, 0.8, 0.7], [True, False, True], objects=3))
    assert statistic.metrics == ("AP", "AP50", "AR")
    values = statistic(np.array([[1, 1, 1], [1, 2, 1]]))
    assert values[:, 0, 0] == pytest.approx([(34 + 33 * 2 / 3) / 101, (26 + 25 / 2) / 101])
    assert values[:, 2, 0] == pytest.approx([2 / 3, 2 / 4])


def test_class_without_objects_in_a_resample_has_no_value():
    matches = one_class([0.9], [True], objects=2)
    matches.num_objects[1] = 0
    values = AveragePrecision(matches)(np.array([[2, 0], [0, 2]]))[:, 0, 0]
    assert values[0] == pytest.approx(1)
    assert np.isnan(values[1])


def test_ap50_and_ap75_are_named_where_their_thresholds_are():
    matches = random_matches(0)
    assert AveragePrecision(matches).metrics == ("AP", "AP50", "AP75", "AR")
    values = AveragePrecision(matches)(np.ones((1, 12), int))[0]
    precision, recall = AveragePrecision(matches).by_threshold(np.ones((1, 12), int))
    np.testing.assert_allclose(values[0], precision[0].mean(axis=0))
    np.testing.assert_array_equal(values[1:3], precision[0, [0, 5]])
    np.testing.assert_allclose(values[3], recall[0].mean(axis=0))
