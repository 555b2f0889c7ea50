"""Class weights of the loss, from counts worked out by hand and from a subset by name."""

from __future__ import annotations

from project.data.balance import TargetBalanced
from project.data.catalog import class_names, subset_dicts
from project.data.loss_weights import class_loss_weights, loss_weights
from project.data.sampler import ClassWeights, EffectiveNumber, InverseFrequency, RepeatFactors
from project.data.statistics import ClassStatistics, class_statistics
from project.errors import UserError

import numpy as np
import pytest
from detectron2.config import LazyCall as L
from detectron2.config import instantiate

# 9 persons in two images, 1 cake, no dog
STATISTICS = ClassStatistics(np.array([[4, 1, 0], [5, 0, 0]]), ("person", "cake", "dog"))


@pytest.mark.parametrize(
    "scheme, ratio",
    [
        (InverseFrequency(power=0), 1),
        (InverseFrequency(power=0.5), 3),
        (InverseFrequency(power=1), 9),
        (ClassWeights({"cake": 7.0}), 7),
        (EffectiveNumber(beta=0.5), (1 - 0.5**9) / 0.5),
    ],
)
def test_ratios_follow_the_scheme_and_the_mean_over_objects_is_1(scheme, ratio):
    person, cake, dog = loss_weights(STATISTICS, scheme)
    assert cake / person == pytest.approx(ratio)
    assert 9 * person + cake == pytest.approx(10)
    assert dog == person  # never seen: as the lightest


def test_without_objects_all_weigh_1():
    nothing = ClassStatistics(np.zeros((2, 2), int), ("person", "cake"))
    assert loss_weights(nothing, InverseFrequency()).tolist() == [1, 1]


@pytest.mark.parametrize("scheme", [TargetBalanced(), RepeatFactors()])
def test_schemes_that_weigh_images_are_refused(scheme):
    with pytest.raises(UserError, match=f"{type(scheme).__name__} weighs images, not classes"):
        loss_weights(STATISTICS, scheme)


def test_a_config_can_ask_for_a_subset_by_name(datasets_root):
    node = L(class_loss_weights)(
        subset="tiny", split="train", root=None, scheme=L(InverseFrequency)(power=1.0)
    )
    weights = np.array(list(instantiate(node)))
    counts = class_statistics(subset_dicts("tiny", "train")).instances
    assert len(weights) == len(class_names("tiny"))
    assert np.ptp((weights * counts)[counts > 0]) < 1e-9
    assert weights @ counts == pytest.approx(counts.sum())


def test_the_objects_of_a_part_are_counted_where_a_part_is_trained_on(datasets_root):
    options = {"num_images": 3, "seed": 1}
    scheme = InverseFrequency(power=1.0)
    weights = np.array(class_loss_weights("tiny", "train", scheme, **options))
    part = class_statistics(subset_dicts("tiny", "train", filter_empty=True, **options))
    assert weights == pytest.approx(loss_weights(part, scheme))
    assert weights != pytest.approx(np.array(class_loss_weights("tiny", "train", scheme)))


@pytest.mark.parametrize("number", [0, 2.5, 10**6])
def test_no_part_of_such_a_size(datasets_root, number):
    with pytest.raises(UserError, match=f"num_images={number}: .* expected 1 to as many"):
        class_loss_weights("tiny", "train", InverseFrequency(), num_images=number)
