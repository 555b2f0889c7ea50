"""One step: micro-batches, seeds, averages, losses read late, and the ways out of the loop."""

import copy
import os
import signal
from collections import Counter

from project.engine import interrupt, meeting
from project.engine.loop import Diverged, Loop, Stopped, averaged, step_seed
from project.errors import UserError

import pytest
import torch
import torch.distributed as dist
from detectron2.engine import HookBase
from detectron2.engine.hooks import EvalHook
from detectron2.utils.events import EventStorage
from torch import nn


class Line(nn.Module):
    """Loss: mean of (w x - y)^2 over a batch of {"x", "y"}; optional dropout."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch):
        x = torch.stack([sample["x"] for sample in batch])
        y = torch.stack([sample["y"] for sample in batch])
        errors = (self.dropout(x) @ self.w - y) ** 2
        return {"square": errors.mean(), "nothing": 0 * self.w.sum()}


def batches(number: int, size: int = 4) -> list[list[dict]]:
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(number, size, 4, generator=generator)
    return [
        [{"x": row[:3], "y": row[3], "position": 10 * i + j} for j, row in enumerate(batch)]
        for i, batch in enumerate(rows)
    ]


def build_loop(model, data, lr=0.1, **options) -> Loop:
    return Loop(model, data, torch.optim.SGD(model.parameters(), lr=lr), **options)


def gradient(model, batch) -> torch.Tensor:
    model = copy.deepcopy(model)
    sum(model(batch).values()).backward()
    return model.w.grad


def test_accumulated_gradients_are_the_mean_of_the_parts():
    model, (batch,) = Line(), batches(1)
    loop = build_loop(model, [batch], accumulate=2)
    expected = (gradient(model, batch[:2]) + gradient(model, batch[2:])) / 2
    whole = gradient(model, batch)
    start = model.w.detach().clone()
    loop.train(0, 1)
    torch.testing.assert_close((start - model.w.detach()) / 0.1, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(expected, whole, rtol=1e-6, atol=1e-6)  # the loss is a plain mean


def test_a_batch_that_does_not_split():
    loop = build_loop(Line(), batches(1, size=3), accumulate=2)
    with pytest.raises(UserError, match=r"train.accumulate=2: a batch of 3 images"):
        loop.train(0, 1)


def test_a_step_draws_what_its_seed_says_whatever_was_drawn_before():
    weights = []
    for disturbance in (0, 5):
        model = Line(dropout=0.5)
        loop = build_loop(model, batches(3), seed=7)
        torch.rand(disturbance)
        loop.train(0, 3)
        weights.append(model.w.detach().clone())
    assert torch.equal(*weights)
    seeds = {step_seed(s, i, r) for s in (0, 1) for i in (0, 1) for r in (0, 1)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_averages_follow_with_a_growing_memory():
    model = Line()
    averages = averaged(model, decay=0.15)
    loop = build_loop(model, batches(3), ema=averages)
    trace = []

    class Trace(HookBase):
        def after_step(self):
            trace.append(model.w.detach().clone())

    loop.register_hooks([Trace()])
    loop.train(0, 3)
    # The first step copies; then d = min(0.15, (1 + n) / (10 + n)) = 0.15 for n = 1, 2.
    expected = trace[0]
    for weights in trace[1:]:
        expected = 0.15 * expected + 0.85 * weights
    torch.testing.assert_close(averages.module.w, expected)
    with pytest.raises(UserError, match=r"train.ema.decay=1.0"):
        averaged(model, 1.0)


def test_state_with_averages_comes_back_and_training_goes_on_alike():
    data = batches(4)
    straight, resumed = Line(), Line()
    loop = build_loop(straight, data, ema=averaged(straight, 0.9))
    loop.train(0, 4)

    half = Line()
    first = build_loop(half, data[:2], ema=averaged(half, 0.9))
    first.train(0, 2)
    first.iter = 1  # as in a hook's after_step, where states are saved
    kept, used = first.state_dict(), first.ema.module.state_dict()

    averages = averaged(resumed, 0.9)
    averages.module.load_state_dict(used)
    second = build_loop(resumed, data[2:], ema=averages)
    second.load_state_dict(kept)
    second.train(2, 4)
    assert torch.equal(straight.w, resumed.w)
    assert torch.equal(loop.ema.module.w, averages.module.w)


@pytest.mark.parametrize("before, after", [(None, 0.9), (0.9, None)])
def test_averaging_may_begin_or_end_with_a_resume(before, after):
    old, new = Line(), Line()
    first = build_loop(old, batches(3), ema=averaged(old, before) if before else None)
    first.train(0, 3)
    saved = (first.ema.module if before else old).state_dict()  # a checkpoint's "model"
    second = build_loop(new, [], ema=averaged(new, after) if after else None)
    (second.ema.module if after else new).load_state_dict(saved)
    second.load_state_dict(first.state_dict())
    assert torch.equal(new.w, old.w)
    assert not after or second.ema.n_averaged == 0


def test_losses_are_read_together_and_put_at_their_own_iterations():
    model, data = Line(), batches(5)
    loop = build_loop(model, data, lr=0.0, read_period=2)
    seen = []

    class Seen(HookBase):
        def after_step(self):
            history = self.trainer.storage.histories().get("total_loss")
            seen.append(len(history.values()) if history else 0)

    loop.register_hooks([Seen()])
    loop.train(0, 5)
    assert seen == [0, 2, 2, 4, 5]
    values = loop.storage.histories()["total_loss"].values()
    assert [iteration for _, iteration in values] == [0, 1, 2, 3, 4]
    expected = [float(model(batch)["square"]) for batch in data]
    assert [value for value, _ in values] == pytest.approx(expected)


def test_an_infinite_loss_names_its_batches():
    data = batches(3)
    data[1][2]["y"] = torch.tensor(float("nan"))
    loop = build_loop(Line(), data, read_period=3)
    with pytest.raises(Diverged, match="not finite at iteration 1: {'square': nan") as caught:
        loop.train(0, 3)
    assert [step["iteration"] for step in caught.value.steps] == [0, 1]
    assert [s["position"] for s in caught.value.steps[1]["samples"]] == [10, 11, 12, 13]


class Complains(Line):
    def forward(self, batch):
        if batch[0]["position"] == 10:
            raise FloatingPointError("boxes are not finite")
        return super().forward(batch)


def test_a_complaint_of_one_process_alone_ends_the_run(monkeypatch):
    monkeypatch.setattr("project.engine.loop.meet", lambda name, patience: False)
    words = r"not finite \(iteration 1\), on process 0 and not on all 1; lower optimizer.lr"
    with pytest.raises(UserError, match=words):
        build_loop(Complains(), batches(2)).train(0, 2)


def test_waiting_for_the_other_processes_may_end(monkeypatch):
    monkeypatch.setattr(meeting, "_meeting", dist.HashStore())
    monkeypatch.setattr(meeting, "_times_met", Counter())
    monkeypatch.setattr(meeting.dist, "get_world_size", lambda: 2)
    assert not meeting.meet("here", patience=0.01)
    meeting._meeting.add("here/2", 1)  # the other process
    assert meeting.meet("here", patience=0.01)


def test_a_models_own_complaint_comes_with_the_batches():
    loop = build_loop(Complains(), batches(2))
    with pytest.raises(Diverged, match=r"boxes are not finite \(iteration 1\)") as caught:
        loop.train(0, 2)
    assert [step["iteration"] for step in caught.value.steps] == [0, 1]


def test_reading_before_a_checkpoint_keeps_unsound_weights_out():
    data = batches(2)
    data[0][0]["x"] = torch.full((3,), float("inf"))
    loop = build_loop(Line(), data, read_period=100)

    class Saves(HookBase):
        def after_step(self):
            self.trainer.read_losses()
            raise AssertionError("would save")

    loop.register_hooks([Saves()])
    with pytest.raises(Diverged):
        loop.train(0, 2)


def test_a_hook_can_stop_the_run():
    class Stops(HookBase):
        def after_step(self):
            if self.trainer.iter == 1:
                self.trainer.stop("enough")

    loop = build_loop(Line(), batches(4))
    loop.register_hooks([Stops()])
    with pytest.raises(Stopped):
        loop.train(0, 4)
    assert (loop.iter, loop.stop_reason) == (1, "enough")
    assert loop.state_dict()["stop_reason"] == "enough"


def test_a_signal_ends_the_loop_after_the_step():
    class Kills(HookBase):
        def after_step(self):
            if self.trainer.iter == 1:
                signal_self()

    loop = build_loop(Line(), batches(4))
    loop.register_hooks([Kills()])
    with interrupt.listening(), pytest.raises(interrupt.Interrupted):
        loop.train(0, 4)
    assert loop.iter == 1
    assert not interrupt.requested()


def test_a_step_whose_batch_a_signal_took_away_is_not_counted():
    def data():
        yield from batches(2)
        signal_self()
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated.")

    loop = build_loop(Line(), data())
    with interrupt.listening(), pytest.raises(interrupt.Interrupted):
        loop.train(0, 4)
    assert loop.state_dict()["iteration"] == 1


def test_a_second_signal_at_once_is_the_same_one(monkeypatch):
    with interrupt.listening():
        signal_self(signal.SIGINT)
        signal_self(signal.SIGINT)
        monkeypatch.setattr(interrupt, "AGAIN", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal_self(signal.SIGINT)


def test_a_signal_ends_what_can_be_dropped_at_once():
    with interrupt.listening():
        with pytest.raises(interrupt.Interrupted), interrupt.ends_at_once():
            signal_self()
        assert interrupt.signal_name() == "SIGTERM"
        with pytest.raises(interrupt.Interrupted), interrupt.ends_at_once():
            raise AssertionError("began")


def signal_self(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("fails", [False, True])
def test_nobody_takes_a_run_for_finished_whose_last_step_failed(fails):
    class Last(HookBase):
        def after_step(self):
            if fails and self.trainer.iter == 1:
                raise OSError("disk")

    calls = []
    loop = build_loop(Line(), batches(2))
    loop.register_hooks([Last(), EvalHook(0, lambda: calls.append("evaluated"))])
    if fails:
        with pytest.raises(OSError, match="disk"):
            loop.train(0, 2)
    else:
        loop.train(0, 2)
    assert calls == ([] if fails else ["evaluated"])


def test_an_empty_storage_stays_empty():
    loop = build_loop(Line(), [])
    with EventStorage(0) as loop.storage:
        loop.read_losses()
        assert not loop.storage.histories()
