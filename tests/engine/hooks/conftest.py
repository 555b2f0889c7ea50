"""A loop small enough to know all its numbers, with what hooks find in ours."""

from __future__ import annotations

from types import SimpleNamespace

import project  # noqa: F401

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import SimpleTrainer
from torch import nn


class Point(nn.Module):
    """Children a = (3, 4) and b = 12; the loss is (|a|² + b²) / 2: gradients are weights."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Module(), nn.Module()
        self.a.w = nn.Parameter(torch.tensor([3.0, 4.0]))
        self.b.w = nn.Parameter(torch.tensor([12.0]))

    def forward(self, batch):
        return {"loss_a": self.a.w.square().sum() / 2, "loss_b": self.b.w.square().sum() / 2}


class ToyLoop(SimpleTrainer):
    """`SimpleTrainer` with the attributes of our loop; the learning rate is 0."""

    def __init__(self, model, batches, folder):
        super().__init__(model, batches, torch.optim.SGD(model.parameters(), lr=0.0))
        checkpointer = DetectionCheckpointer(model, str(folder), trainer=self)
        self.run = SimpleNamespace(checkpointer=checkpointer, evaluated_model=model)
        self.last_batch, self.stop_reason = [], ""

    def _next_batch(self):
        self.last_batch, seconds = super()._next_batch()
        return self.last_batch, seconds

    def stop(self, reason):
        self.stop_reason = reason

    def after_step(self):
        super().after_step()
        if self.stop_reason:
            raise KeyboardInterrupt  # the way out of a loop that isn't ours


@pytest.fixture
def make_loop(tmp_path):
    """``make_loop(hooks, batches=None, model=None)`` → a `ToyLoop` with the hooks registered."""

    def make(hooks, batches=None, model=None):
        loop = ToyLoop(model or Point(), batches or [[{}, {}]] * 100, tmp_path)
        loop.register_hooks(hooks)
        return loop

    return make


@pytest.fixture
def metric_hook():
    """``metric_hook(name, {iteration: value})`` → a hook that stores them, like an evaluation."""
    from detectron2.engine import HookBase

    class Store(HookBase):
        def __init__(self, name, values):
            self.name, self.values = name, values

        def after_step(self):
            self._put()

        def after_train(self):
            self._put()

        def _put(self):
            if self.trainer.iter in self.values:
                value = self.values[self.trainer.iter]
                self.trainer.storage.put_scalar(self.name, value, smoothing_hint=False)

    return Store
