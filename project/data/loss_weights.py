"""Weights of the classes in the loss, worked out from how often each occurs."""

from __future__ import annotations

from pathlib import Path

from project.data.catalog import subset_dicts
from project.data.sampler import ClassWeights, EffectiveNumber, InverseFrequency
from project.data.statistics import ClassStatistics, class_statistics
from project.errors import UserError

import numpy as np

LossScheme = ClassWeights | InverseFrequency | EffectiveNumber


def class_loss_weights(
    subset: str,
    split: str,
    scheme: LossScheme,
    root: str | Path | None = None,
    *,
    num_images: int | None = None,
    seed: int = 0,
) -> list[float]:
    """One weight for each class of a subset, in the order of ``category_id``; for configs.

    Args:
        split: whose objects are counted: the one to train on.
        num_images, seed: of `project.data.catalog.subset_dicts`, where a part of it is trained on.
        scheme: of `project.data.sampler`: by hand, inverse frequency or effective number. Only
            the ratios of its weights count, see `loss_weights`.

    Raises:
        UserError: if the subset isn't there or the scheme doesn't fit.
    """
    # Training leaves empty images out as well, before it takes a part.
    drawn = subset_dicts(subset, split, root, filter_empty=True, num_images=num_images, seed=seed)
    return loss_weights(class_statistics(drawn), scheme).tolist()


def loss_weights(statistics: ClassStatistics, scheme: LossScheme) -> np.ndarray:
    """Class weights, float64 [K], whose mean **over all objects** is 1.

    So an object costs as much as without weights on average, and the balance of foreground and
    background stays: sum_k n_k w_k = sum_k n_k. A class without objects weighs as much as the
    lightest one.

    Raises:
        UserError: for a scheme that gives images weights which don't follow from their classes'.
    """
    if not isinstance(scheme, LossScheme):
        raise UserError(
            f"loss weights: {type(scheme).__name__} weighs images, not classes; expected "
            f"ClassWeights, InverseFrequency or EffectiveNumber"
        )
    instances = statistics.instances
    if not instances.any():
        return np.ones(len(instances))
    # With one image for each class, holding all its objects, the image weights are the classes'.
    weights = scheme(ClassStatistics(np.diag(instances), statistics.class_names))
    return weights * (instances.sum() / (instances @ weights))
