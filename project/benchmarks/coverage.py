"""Do 95 % intervals cover 95 %, and does a 5 % test err in 5 %? On simulated evaluations."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from project.benchmarks.machine import describe_machine
from project.benchmarks.simulated_matches import CLASSES, SimulatedRun, simulate_runs
from project.evaluation.average_precision import AveragePrecision
from project.evaluation.image_sums import RatioOfSums
from project.evaluation.paired import differences
from project.evaluation.uncertainty import (
    ImageStatistic,
    Resampled,
    estimates,
    image_counts,
    resample,
    with_mean,
)

import numpy as np

LEVEL = 0.95


def measure_coverage(
    num_simulations: int = 2000,
    *,
    num_truth: int = 2000,
    num_images: int = 300,
    num_resamples: int = 300,
    seed: int = 0,
) -> dict:
    """Share of intervals that hold the truth, and of equal runs called different, in percent.

    The truth is a metric's mean over ``num_truth`` other datasets of the same size, so that what a
    metric gains or loses on few images belongs to it. ``plain`` is the usual percentile interval of
    the same resamples.

    Returns:
        ``rows``: one for each metric and class ("" for the mean over classes), with the class's
        mean number of images, truth, standard deviation over datasets, mean width of the intervals,
        coverages, false positives, and ``margin``: what a true 95 % may stray by in so many
        simulations (95 % of the time). ``resampling``: seconds for 1,000 resamples of AP.
    """
    started = time.perf_counter()
    truth = _truth(num_truth, num_images, seed)
    center = np.nanmean(truth, axis=0)
    tallies = [
        _tally(runs, center, num_resamples, seed=number)
        for number, runs in enumerate(_datasets((seed, 1), num_simulations, num_images))
    ]
    keys = ("covered", "covered_plain", "width", "positive", "images")
    means = {key: np.nanmean([tally[key] for tally in tallies], axis=0) for key in keys}
    known = np.isfinite([tally["covered"] for tally in tallies]).sum(axis=0)
    spread = np.nanstd(truth, axis=0, ddof=1)
    rows = [
        {
            "metric": metric,
            "class": class_name,
            "images": round(float(means["images"][i]), 1),
            "truth": round(100 * float(center[i]), 2),
            "sd": round(100 * float(spread[i]), 2),
            "width": round(float(means["width"][i]), 2),
            "intervals": int(known[i]),
            "coverage": round(100 * float(means["covered"][i]), 2),
            "coverage_plain": round(100 * float(means["covered_plain"][i]), 2),
            "false_positives": round(100 * float(means["positive"][i]), 2),
            "margin": round(196 * math.sqrt(LEVEL * (1 - LEVEL) / max(int(known[i]), 1)), 2),
        }
        for i, (metric, class_name) in enumerate(_names())
    ]
    return {
        "machine": describe_machine(),
        "simulations": num_simulations,
        "datasets_for_truth": num_truth,
        "images": num_images,
        "resamples": num_resamples,
        "rows": rows,
        "resampling": _time_resampling(num_images, seed),
        "seconds": round(time.perf_counter() - started, 1),
    }


def _datasets(
    seed: tuple[int, int], count: int, num_images: int, num_runs: int = 2
) -> Iterator[list[SimulatedRun]]:
    for number in range(count):
        generator = np.random.default_rng((*seed, number))
        yield simulate_runs(generator, num_images, num_runs=num_runs)


def _statistics(run: SimulatedRun) -> list[ImageStatistic]:
    iou = RatioOfSums(
        "IoU",
        run.matches.image_ids,
        run.matches.class_names,
        run.intersection,
        run.union,
        truth=run.truth,
    )
    return [AveragePrecision(run.matches), iou]


def _names() -> list[tuple[str, str]]:
    """Metric and class of each figure, in the order in which everything here is flattened."""
    columns = ["", *(c.name for c in CLASSES)]
    return [(metric, name) for metric in ("AP", "AP50", "AP75", "AR", "IoU") for name in columns]


def _truth(count: int, num_images: int, seed: int) -> np.ndarray:
    """Each figure on each dataset, 0-1, [datasets, figures]."""
    once = np.ones((1, num_images), np.int32)
    return np.array(
        [
            np.concatenate([with_mean(s, s(once)).ravel() for s in _statistics(run)])
            for (run,) in _datasets((seed, 0), count, num_images, num_runs=1)
        ]
    )


def _tally(
    runs: list[SimulatedRun], center: np.ndarray, num_resamples: int, seed: int
) -> dict[str, list[float]]:
    """For each figure of one dataset: whether its interval covers, and so on; NaN without one."""
    tally = {key: [] for key in ("covered", "covered_plain", "width", "positive", "images")}
    for pair in zip(*map(_statistics, runs), strict=True):
        first, second = (resample(s, num_resamples=num_resamples, seed=seed) for s in pair)
        truth = center[len(tally["covered"]) :][: first.values.size]
        for row, value, plain in zip(estimates(first), truth, _plain(first), strict=True):
            known = math.isfinite(row.low)
            covered = row.low <= 100 * value <= row.high
            tally["covered"].append(float(covered) if known else math.nan)
            inside = plain[0] <= value <= plain[1]
            tally["covered_plain"].append(float(inside) if known else math.nan)
            tally["width"].append(row.high - row.low)
        for row in differences(first, second):
            known = math.isfinite(row.p_value)
            tally["positive"].append(float(row.p_value < 1 - LEVEL) if known else math.nan)
        tally["images"] += image_counts(first) * len(first.statistic.metrics)
    return tally


def _plain(resampled: Resampled) -> np.ndarray:
    """Percentile intervals as most people take them, 0-1, [figures, 2]."""
    samples = resampled.samples.reshape(len(resampled.samples), -1)
    return np.nanquantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0).T


def _time_resampling(num_images: int, seed: int, repeats: int = 3) -> dict:
    """The shortest time of 1,000 resamples of AP, AP50, AP75 and AR of one dataset."""
    (run,) = next(_datasets((seed, 2), 1, num_images, num_runs=1))
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        resample(AveragePrecision(run.matches), num_resamples=1000, seed=seed)
        seconds.append(time.perf_counter() - started)
    matches = run.matches
    return {
        "resamples": 1000,
        "images": num_images,
        "classes": len(matches.class_names),
        "detections": len(matches.score),
        "objects": int(matches.num_objects.sum()),
        "seconds": round(min(seconds), 3),
    }
