"""The comparison of models: figures with intervals over images, spread over seeds, differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from project.errors import UserError
from project.evaluation.paired import Difference, differences
from project.evaluation.uncertainty import Estimate, Resampled, estimates, resample, with_mean
from project.experiments.groups import mean_sd
from project.experiments.models.counts import (
    IOU,
    METRICS,
    Averaged,
    PixelCounts,
    count_pixels,
    statistics,
)
from project.experiments.models.footing import Footing, Predictions, find_footing
from project.experiments.models.groups import Model, find_model, group_models
from project.experiments.models.runs import find_model_runs, read_model_run

import numpy as np

NUM_RESAMPLES = 1000
Key = tuple[str, str]  # metric, and class or "" for the mean over classes


@dataclass(frozen=True, eq=False)
class JudgedModel:
    """A model with its figures.

    Attributes:
        predictions, counts: of each run.
        resampled: metric → what intervals are taken from: the mean over the runs.
        seed_values: (metric, class) → the figure of each run, percent.
    """

    model: Model
    predictions: Sequence[Predictions]
    counts: Sequence[PixelCounts]
    resampled: Mapping[str, Resampled]
    seed_values: Mapping[Key, np.ndarray]

    @property
    def label(self) -> str:
        return self.model.label

    @cached_property
    def estimates(self) -> dict[Key, Estimate]:
        """(metric, class) → mean over the runs, percent, with its 95 % interval over images."""
        return {
            (metric, found.class_name): found
            for metric, drawn in self.resampled.items()
            for found in estimates(drawn)
        }

    def sd(self, metric: str, class_name: str = "") -> float:
        """Standard deviation over seeds; NaN for a single run."""
        return mean_sd(self.seed_values[metric, class_name])[1]

    @cached_property
    def image_dice(self) -> np.ndarray:
        """float64 [N]: each image's Dice in percent, mean over its classes and the runs."""
        return 100 * nan_mean(np.stack([nan_mean(c.image_dice, 1) for c in self.counts]), 0)


@dataclass(frozen=True, eq=False)
class ModelComparison:
    """Models on the same images and classes.

    Attributes:
        models: in the order given.
        baseline: the one that the others are held against.
        image_numbers: dataset → how many images it has.
    """

    footing: Footing
    models: Sequence[JudgedModel]
    baseline: JudgedModel
    image_numbers: Mapping[str, int]

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.footing.class_names

    @property
    def ranked(self) -> list[JudgedModel]:
        """The models, best IoU first."""
        values = [model.estimates[IOU, ""].value for model in self.models]
        order = np.argsort(-np.nan_to_num(values, nan=-1.0), kind="stable")
        return [self.models[i] for i in order]

    @cached_property
    def differences(self) -> dict[tuple[str, str, str], Difference]:
        """(model, metric, class) → how much higher it lies than the baseline."""
        return {
            (model.label, *key): found
            for model in self.models
            if model is not self.baseline
            for key, found in difference(self.baseline, model).items()
        }


def difference(first: JudgedModel, second: JudgedModel) -> dict[Key, Difference]:
    """(metric, class) → second minus first, on the same resampled images."""
    return {
        (metric, found.class_name): found
        for metric in METRICS
        for found in differences(first.resampled[metric], second.resampled[metric])
    }


def seed_noise(first: JudgedModel, second: JudgedModel, metric: str) -> float:
    """Two standard errors of a difference that come from training anew.

    A model with a single run is taken to spread like the other; NaN where both have one.
    """
    spreads = [model.sd(metric) ** 2 for model in (first, second)]
    usual = float(nan_mean(np.array(spreads), 0))
    shares = [
        (usual if math.isnan(spread) else spread) / len(model.counts)
        for spread, model in zip(spreads, (first, second), strict=True)
    ]
    return 2 * math.sqrt(sum(shares))


def nan_mean(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean of what isn't NaN; NaN where nothing is left."""
    known = np.isfinite(values)
    count = known.sum(axis)
    return np.where(count > 0, np.where(known, values, 0).sum(axis) / np.maximum(count, 1), np.nan)


def compare_models(
    paths: Sequence[str | Path],
    *,
    subset: str = "",
    split: str = "",
    baseline: str = "",
    root: str | Path | None = None,
    num_resamples: int = NUM_RESAMPLES,
    trust: bool = False,
) -> ModelComparison:
    """The models of the runs in ``paths``, judged on what they have in common.

    Args:
        subset, split: whose predictions; "" takes what each run's config evaluates on.
        baseline: label or run folder's name of the model to compare to; "" takes the first.
        root: folder of the subsets.
        trust: see `project.engine.config.load_run`.

    Raises:
        UserError: if there are fewer than two models, or they have no image or class in common, or
            their labels differ.
    """
    folders = find_model_runs(paths)
    runs = [
        read_model_run(folder, subset=subset, split=split, root=root, trust=trust)
        for folder in folders
    ]
    models = group_models(runs)
    if len(models) < 2:
        raise UserError(
            f"{', '.join(map(str, folders))}: one model; give runs of at least two, or see how "
            f"good this one is with tools/report.py"
        )
    base = find_model(models, baseline) if baseline else models[0]
    footing = find_footing(runs)
    judged = [judge_model(model, footing, num_resamples) for model in models]
    numbers = {run.dataset: len(footing.labels[run.annotations].ids) for run in runs}
    found = ModelComparison(footing, judged, judged[models.index(base)], numbers)
    _ = found.differences  # labels that differ are told now
    return found


def judge_model(model: Model, footing: Footing, num_resamples: int = NUM_RESAMPLES) -> JudgedModel:
    """Count a model's pixels, and resample its metrics."""
    predictions = [Predictions(run, footing) for run in model.runs]
    counts = [count_pixels(found, footing) for found in predictions]
    per_run = [statistics(found, footing) for found in counts]
    resampled, seed_values = {}, {}
    everything = np.ones((1, len(footing.image_names)), np.int32)
    for metric, members in zip(METRICS, zip(*per_run, strict=True), strict=True):
        resampled[metric] = resample(Averaged(members), num_resamples=num_resamples)
        values = np.stack([with_mean(m, m(everything))[0, 0] for m in members])
        for name, column in zip(("", *footing.class_names), values.T, strict=True):
            seed_values[metric, name] = 100 * column
    return JudgedModel(model, predictions, counts, resampled, seed_values)
