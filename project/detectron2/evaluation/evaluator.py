"""Running a model over a dataset; follows ``detectron2.evaluation.evaluator``.

Better: `inference_context` gives every submodule its own mode back, after an exception too; timing
doesn't make the host wait for the device.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..utils import comm
from ..utils.logger import log_every_n_seconds

__all__ = ["DatasetEvaluator", "DatasetEvaluators", "inference_context", "inference_on_dataset"]

logger = logging.getLogger(__name__)


class DatasetEvaluator:
    """Takes inputs and outputs of a model, batch by batch, and gives results at the end."""

    def reset(self) -> None:
        """Forget everything: a new round begins."""

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Take one batch.

        Args:
            inputs: what the model was given, one dict per image.
            outputs: what it gave, in the same order.
        """

    def evaluate(self) -> dict[str, Any] | None:
        """Task → metrics, e.g. ``{"bbox": {"AP": 80.0}}``; only the main process need give it."""


class DatasetEvaluators(DatasetEvaluator):
    """Several evaluators as one; their results are merged.

    Args:
        evaluators: each must give other tasks (`AssertionError` in ``evaluate`` if not).
    """

    def __init__(self, evaluators: Sequence[DatasetEvaluator]) -> None:
        self._evaluators = list(evaluators)

    def reset(self) -> None:
        for evaluator in self._evaluators:
            evaluator.reset()

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        for evaluator in self._evaluators:
            evaluator.process(inputs, outputs)

    def evaluate(self) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for evaluator in self._evaluators:
            results = evaluator.evaluate()
            if not comm.is_main_process() or results is None:
                continue
            twice = merged.keys() & results.keys()
            assert not twice, f"several evaluators give results for {sorted(twice)}"
            merged.update(results)
        return merged


@contextlib.contextmanager
def inference_context(model: nn.Module) -> Iterator[None]:
    """The model is in eval mode inside; afterwards each submodule is as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def inference_on_dataset(
    model: Callable,
    data_loader,
    evaluator: DatasetEvaluator | Sequence[DatasetEvaluator] | None,
    callbacks: Mapping[str, Callable[[], None]] | None = None,
) -> dict[str, Any]:
    """Run the model on every batch, without gradients, and give the evaluator's results.

    Args:
        model: a module (put in eval mode meanwhile), or anything that maps a batch to outputs.
        data_loader: batches; needs a length.
        evaluator: one, several, or None to only run the model.
        callbacks: called without arguments, at "on_start", "before_inference" and "after_inference"
            (around the model's call) and "on_end".

    Returns:
        What ``evaluator.evaluate()`` gives, or ``{}``.
    """
    if not isinstance(evaluator, DatasetEvaluator):
        evaluator = DatasetEvaluators(evaluator or [])
    evaluator.reset()
    calls = callbacks or {}

    def notify(point: str) -> None:
        if point in calls:
            calls[point]()

    logger.info("Start inference on %d batches", len(data_loader))
    stopwatch = _Stopwatch(len(data_loader))
    with contextlib.ExitStack() as stack:
        if isinstance(model, nn.Module):
            stack.enter_context(inference_context(model))
        stack.enter_context(torch.no_grad())
        notify("on_start")
        stopwatch.start()
        for inputs in data_loader:
            stopwatch.lap("data")
            notify("before_inference")
            outputs = model(inputs)
            notify("after_inference")
            stopwatch.lap("model")
            evaluator.process(inputs, outputs)
            stopwatch.lap("evaluator")
            stopwatch.finish_batch()
        notify("on_end")
    stopwatch.report()
    return evaluator.evaluate() or {}


class _Stopwatch:
    """Seconds per phase of a batch, logged every five seconds; the first batches don't count.

    The device works on while the host goes to the next phase, so the model's share of a GPU run
    shows up where the host first needs its results.
    """

    _LOG_PERIOD = 5  # seconds

    def __init__(self, total: int) -> None:
        self._total = total
        self._warmup = max(min(5, total - 1), 0)
        self._done = 0
        self._seconds = dict.fromkeys(("data", "model", "evaluator"), 0.0)

    def start(self) -> None:
        self._last = self._counting_since = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self._seconds[phase] += now - self._last
        self._last = now

    def finish_batch(self) -> None:
        self._done += 1
        if self._done == self._warmup:
            self._seconds = dict.fromkeys(self._seconds, 0.0)
            self._counting_since = self._last
        elif self._done > self._warmup:
            left = self._per_batch(self._last - self._counting_since) * (self._total - self._done)
            line = f"Inference done {self._done}/{self._total}. {self._shares()}. ETA={_hms(left)}"
            log_every_n_seconds(logging.INFO, line, n=self._LOG_PERIOD)

    def _per_batch(self, seconds: float) -> float:
        return seconds / max(self._done - self._warmup, 1)

    def _shares(self) -> str:
        shares = (f"{name} {self._per_batch(s):.4f}" for name, s in self._seconds.items())
        return ", ".join(shares) + " s/batch"

    def report(self) -> None:
        seconds = time.perf_counter() - self._counting_since
        logger.info(
            "Total inference time: %s (%.6f s/batch, %s, on %d processes)",
            _hms(seconds),
            self._per_batch(seconds),
            self._shares(),
            comm.get_world_size(),
        )


def _hms(seconds: float) -> str:
    return str(datetime.timedelta(seconds=int(seconds)))
