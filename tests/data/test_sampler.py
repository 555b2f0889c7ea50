"""Class weights to image weights to a stream of draws; hand-worked numbers and relations."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from project.data.catalog import SubsetDicts
from project.data.sampler import (
    ClassWeights,
    EffectiveNumber,
    InverseFrequency,
    RepeatFactors,
    WeightedSampler,
    format_sampling_report,
    image_weights,
    sampling_report,
)
from project.data.statistics import ClassStatistics, class_statistics
from project.errors import UserError

import numpy as np
import pytest
from detectron2.data.samplers import RepeatFactorTrainingSampler
from omegaconf import OmegaConf

# four images: two persons | a person and a cake | nothing | four persons
COUNTS = np.array([[2, 0], [1, 1], [0, 0], [4, 0]])
STATISTICS = ClassStatistics(COUNTS, ("person", "cake"))


def relative(weights):
    return (weights / weights[0]).tolist()


def draw(weights, count, **options):
    return list(islice(WeightedSampler(weights, **options), count))


def test_statistics_count_objects_but_no_crowds():
    records = [
        {"annotations": [{"category_id": 1}, {"category_id": 1, "iscrowd": 1}]},
        {"annotations": []},
        {"annotations": [{"category_id": 0, "iscrowd": 0}, {"category_id": 1}]},
    ]
    statistics = class_statistics(SubsetDicts(records, ["a", "b", "c"]))
    assert statistics.counts.tolist() == [[0, 1, 0], [0, 0, 0], [1, 1, 0]]
    assert statistics.class_names == ("a", "b", "c")
    assert statistics.instances.tolist() == [1, 2, 0]
    assert statistics.images.tolist() == [1, 2, 0]
    assert class_statistics(records).class_names == ("0", "1")


def test_statistics_refuse_unknown_categories():
    with pytest.raises(UserError, match="image 7 has category_id 2; expected 0 to 1"):
        class_statistics([{"image_id": 7, "annotations": [{"category_id": 2}]}], ["a", "b"])


def test_an_image_weighs_as_much_as_its_heaviest_class():
    assert relative(image_weights(STATISTICS, np.array([2.0, 6.0]))) == [1, 3, 1, 1]
    assert relative(image_weights(STATISTICS, np.array([2.0, 1.0]))) == [1, 1, 0.5, 1]


@pytest.mark.parametrize(
    "scheme, cake_to_person",
    [
        (ClassWeights({"cake": 5.0}), 5),
        (ClassWeights({"cake": 5.0, "person": 2.0}), 2.5),
        (ClassWeights({"person": 0.5}, default=3.0), 6),
        (InverseFrequency(power=0), 1),
        (InverseFrequency(power=0.5), 7**0.5),  # 7 persons, 1 cake
        (InverseFrequency(power=1), 7),
        (EffectiveNumber(beta=0), 1),
        (EffectiveNumber(beta=0.5), (1 - 0.5**7) / 0.5),
        (EffectiveNumber(beta=1 - 1e-9), pytest.approx(7, rel=1e-6)),
        # cake is in 1 of 4 images, person in 3 of 4
        (RepeatFactors(threshold=0.25), 1),
        (RepeatFactors(threshold=0.5), 2**0.5),
        (RepeatFactors(threshold=1.0), 3**0.5),
    ],
)
def test_schemes_by_hand(scheme, cake_to_person):
    weights = scheme(STATISTICS)
    assert weights.mean() == pytest.approx(1)
    assert weights[1] / weights[0] == pytest.approx(cake_to_person)
    assert weights[2] == weights[0]


def test_repeat_factors_are_those_of_detectron2():
    rng = np.random.default_rng(0)
    counts = rng.poisson([2, 0.3, 0.05], (200, 3))
    records = [
        {"annotations": [{"category_id": k} for k in np.repeat(range(3), row)]} for row in counts
    ]
    theirs = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(records, 0.3)
    ours = RepeatFactors(0.3)(class_statistics(records))
    np.testing.assert_allclose(ours / ours.min(), theirs.numpy() / theirs.min().item(), rtol=1e-6)


def test_weights_by_hand_come_from_configs():
    weights = OmegaConf.create({"cake": 4})
    assert relative(ClassWeights(weights)(STATISTICS)) == [1, 4, 1, 1]


def test_classes_without_objects_change_nothing():
    wider = ClassStatistics(np.pad(COUNTS, [(0, 0), (0, 1)]), ("person", "cake", "dog"))
    for scheme in (InverseFrequency(), EffectiveNumber(), RepeatFactors(0.5)):
        np.testing.assert_allclose(scheme(wider), scheme(STATISTICS))


@pytest.mark.parametrize(
    "scheme, message",
    [
        (ClassWeights({"cak": 2.0}), "unknown class 'cak'; did you mean 'cake'"),
        (ClassWeights({"cake": -1.0}), "must be numbers >= 0"),
        (ClassWeights({"cake": float("nan")}), "must be numbers >= 0"),
        (ClassWeights({}, default=0.0), "every image has weight 0"),
        (InverseFrequency(power=-1), "power=-1"),
        (EffectiveNumber(beta=1.0), "beta=1.0"),
        (RepeatFactors(threshold=0), "threshold=0"),
    ],
)
def test_schemes_refuse_nonsense(scheme, message):
    with pytest.raises(UserError, match=message):
        scheme(STATISTICS)


def test_equal_weights_give_shuffled_epochs():
    draws = draw(np.ones(7), 21, seed=3)
    epochs = [draws[:7], draws[7:14], draws[14:]]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_each_pass_rounds_an_images_share_up_or_down():
    weights = np.array([0.0, 1.0, 2.5, 4.5])  # mean 2: shares 0, 0.5, 1.25, 2.25
    draws = draw(weights, 4 * 400, seed=0)
    for first in range(0, len(draws), 4):
        times = Counter(draws[first : first + 4])
        assert times[0] == 0
        assert times[1] in (0, 1)
        assert times[2] in (1, 2)
        assert times[3] in (2, 3)
    # one pass's count is 0 or 1 above its floor: standard deviation at most 1/2, of 400: 10
    total = Counter(draws)
    assert [total[1], total[2], total[3]] == pytest.approx([200, 500, 900], abs=50)


def test_passes_stay_whole_where_rounding_could_hurt():
    weights = np.random.default_rng(1).random(1000) * np.r_[np.ones(600), np.zeros(400)] * 1e-9
    draws = draw(weights, 3000, seed=0)
    assert max(draws) < 600


def test_ranks_split_one_stream():
    weights = np.arange(1.0, 6.0)
    whole = draw(weights, 40, seed=7)
    assert draw(weights, 20, seed=7, rank=0, world_size=2) == whole[0::2]
    assert draw(weights, 20, seed=7, rank=1, world_size=2) == whole[1::2]
    assert draw(weights, 40, seed=8) != whole


@pytest.mark.parametrize("start", [0, 3, 5, 12])
def test_a_stream_goes_on_where_it_stopped(start):
    weights = np.arange(1.0, 6.0)
    assert draw(weights, 20, seed=7, start=start) == draw(weights, 20 + start, seed=7)[start:]


@pytest.mark.parametrize("start, stop", [(0, 0), (0, 3), (2, 4), (3, 13), (5, 10)])
def test_draws_are_counted_without_drawing(start, stop):
    weights = np.arange(1.0, 6.0)
    sampler = WeightedSampler(weights, seed=2)
    expected = Counter(list(islice(sampler, stop))[start:])
    assert sampler.draws(stop, start=start).tolist() == [expected[i] for i in range(5)]


@pytest.mark.parametrize("bad", [[], [-1.0, 1.0], [[1.0]], [float("nan")], [0.0], [float("inf")]])
def test_the_sampler_refuses_bad_weights(bad):
    with pytest.raises(ValueError, match="weights must"):
        WeightedSampler(np.array(bad))


def test_the_report_tells_plain_expected_and_drawn():
    report = sampling_report(STATISTICS, np.array([1.0, 3.0, 1.0, 1.0]), np.array([0, 1, 0, 1]))
    assert (report["num_images"], report["num_drawn"]) == (4, 2)
    cake, none = report["classes"]["cake"], report["classes"]["(none)"]
    assert cake["images"] == pytest.approx({"plain": 25, "expected": 50, "drawn": 50})
    # objects: plain 8 of which 1 cake; expected 2 + 3 * 2 + 4 = 12 of which 3; drawn 6 of which 1
    assert cake["instances"] == pytest.approx({"plain": 12.5, "expected": 25, "drawn": 100 / 6})
    assert none["images"] == pytest.approx({"plain": 25, "expected": 100 / 6, "drawn": 0})
    table = format_sampling_report(report).splitlines()
    assert table[0].split()[:3] == ["class", "images", "plain"]
    assert table[2].split() == ["cake", "25.0", "50.0", "50.0", "12.5", "25.0", "16.7"]


def test_the_report_of_an_empty_dataset_has_no_objects():
    nothing = ClassStatistics(np.zeros((2, 1), int), ("cake",))
    report = sampling_report(nothing, np.ones(2))
    assert report["classes"]["cake"]["instances"] == {"plain": 0, "expected": 0}
    assert report["classes"]["(none)"]["images"] == {"plain": 100, "expected": 100}
