"""evaluation: running models, merging and printing results (contract 13)."""

from __future__ import annotations

import logging

import project  # noqa: F401

import pytest
import torch
from detectron2.evaluation import (
    DatasetEvaluator,
    DatasetEvaluators,
    inference_context,
    inference_on_dataset,
    print_csv_format,
)
from detectron2.evaluation.testing import flatten_results_dict
from torch import nn


class Fixed(DatasetEvaluator):
    """Gives what it was made with; counts images."""

    def __init__(self, results):
        self.results = results
        self.resets = 0

    def reset(self):
        self.seen = []
        self.resets += 1

    def process(self, inputs, outputs):
        self.seen += list(zip(inputs, outputs, strict=True))

    def evaluate(self):
        return self.results


def test_evaluators_see_all_and_are_merged(golden):
    first, second, silent = Fixed({"bbox": {"AP": 1}}), Fixed({"segm": {"AP": 2}}), Fixed(None)
    both = DatasetEvaluators([first, second, silent])
    both.reset()
    both.process([1], [2])
    assert both.evaluate() == {"bbox": {"AP": 1}, "segm": {"AP": 2}}
    assert first.seen == second.seen == silent.seen == [(1, 2)]
    same_task = DatasetEvaluators([first, Fixed({"bbox": 3})])
    assert golden.json("coco40_results")["duplicate_keys_in_DatasetEvaluators"] == "AssertionError"
    with pytest.raises(AssertionError):
        same_task.evaluate()
    assert DatasetEvaluators([]).evaluate() == {}


def test_flat_names(golden):
    nested = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    assert flatten_results_dict(nested) == golden.json("coco40_results")["flatten"]
    assert flatten_results_dict({}) == {}


def test_csv_lines_leave_single_classes_out(caplog):
    with caplog.at_level(logging.INFO):
        print_csv_format({"bbox": {"AP": 12.34567, "AP-cat": 1.0, "AP50": float("nan")}})
    lines = [r.getMessage() for r in caplog.records if "copypaste" in r.getMessage()]
    assert lines[0] == "copypaste: Task: bbox"
    assert [line.removeprefix("copypaste: ") for line in lines[1:]] == ["AP,AP50", "12.3457,nan"]


class Mixed(nn.Module):
    """A part of it stays in eval mode (a frozen norm, say)."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.BatchNorm1d(1).eval()
        self.live = nn.Dropout()

    def forward(self, batch):
        return [self.training or self.live.training or torch.is_grad_enabled() for _ in batch]

    @property
    def modes(self):
        return [module.training for module in self.modules()]


@pytest.mark.bundled  # upstream: not after an exception, and one mode for all
def test_modes_come_back():
    model = Mixed()
    before = model.modes
    assert before == [True, False, True]
    with inference_context(model):
        assert model.modes == [False] * 3
    assert model.modes == before
    with pytest.raises(ValueError, match="inside"), inference_context(model):
        raise ValueError("inside")
    assert model.modes == before


@pytest.mark.parametrize("batches", [0, 1, 3, 12])
def test_every_batch_is_run_in_eval_mode_without_gradients(batches):
    model, evaluator = Mixed(), Fixed({"task": {"x": 1.0}})
    loader = [[2 * i, 2 * i + 1] for i in range(batches)]
    assert inference_on_dataset(model, loader, evaluator) == {"task": {"x": 1.0}}
    assert evaluator.resets == 1
    assert evaluator.seen == [(i, False) for i in range(2 * batches)]
    assert model.training
    assert torch.is_grad_enabled()


def test_kinds_of_evaluators():
    loader = [[1], [2]]
    seen = []
    assert inference_on_dataset(seen.append, [1, 2], None) == {}
    assert seen == [1, 2]
    two = [Fixed({"a": 1}), Fixed({"b": 2})]
    assert inference_on_dataset(lambda batch: batch, loader, two) == {"a": 1, "b": 2}
    assert inference_on_dataset(lambda batch: batch, loader, Fixed(None)) == {}
    with pytest.raises(TypeError):
        inference_on_dataset(lambda batch: batch, iter(loader), None)  # no length


def test_callbacks_are_called_in_order():
    log = []
    names = ("on_start", "before_inference", "after_inference", "on_end")
    callbacks = {name: lambda name=name: log.append(name) for name in names}
    inference_on_dataset(lambda batch: log.append("model"), [1, 2], None, callbacks)
    batch = ["before_inference", "model", "after_inference"]
    assert log == ["on_start", *batch, *batch, "on_end"]
