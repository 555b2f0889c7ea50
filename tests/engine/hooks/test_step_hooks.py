"""Gradient norms, throughput, memory: numbers of single steps."""

import mmap
import re

from project.engine.hooks import GradientNorms, Memory, Throughput
from project.engine.hooks.gradient_norms import gradient_norms
from project.engine.hooks.memory import process_mib
from project.errors import UserError

import pytest
import torch
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import nn


def history(loop, name):
    return loop.storage.history(name).values()


def test_gradient_norms_of_the_whole_and_of_each_child(make_loop):
    loop = make_loop([GradientNorms(period=2)])
    loop.train(0, 5)
    # The gradients are (3, 4) and 12: 5, 12 and 13.
    for name, norm in {"a": 5.0, "b": 12.0, "total": 13.0}.items():
        assert history(loop, f"gradient_norm/{name}") == [(norm, 1), (norm, 3)]


def test_gradient_norms_come_before_clipping(make_loop):
    loop = make_loop([GradientNorms(period=1)])
    step = loop.optimizer.step

    def clipped_step():
        nn.utils.clip_grad_norm_(loop.model.parameters(), 1.0)
        step()

    loop.optimizer.step = clipped_step
    loop.train(0, 2)
    assert history(loop, "gradient_norm/total") == [(13.0, 0), (13.0, 1)]


def test_gradients_of_scaled_losses_are_unscaled(make_loop):
    class Scaler:
        def is_enabled(self):
            return True

        def get_scale(self):
            return 4.0

    loop = make_loop([GradientNorms(period=1)])
    loop.grad_scaler = Scaler()
    loop.train(0, 1)
    assert history(loop, "gradient_norm/total") == [(13.0 / 4, 0)]


def test_parameters_without_gradient_count_as_zero():
    model = nn.ModuleDict({"frozen": nn.Linear(1, 1), "used": nn.Linear(1, 1, bias=False)})
    assert gradient_norms(model) == {"total": 0.0, "frozen": 0.0, "used": 0.0}
    model["used"].weight.grad = torch.tensor([[-2.0]])
    assert gradient_norms(model) == {"total": 2.0, "frozen": 0.0, "used": 2.0}


def test_non_finite_gradients_are_named(make_loop, caplog):
    class Spoil(HookBase):
        def after_backward(self):
            if self.trainer.iter == 1:
                self.trainer.model.b.w.grad.fill_(float("inf"))

    loop = make_loop([Spoil(), GradientNorms(period=1)])
    loop.train(0, 2)
    warnings = [r.getMessage() for r in caplog.records if "not finite" in r.getMessage()]
    assert warnings == ["gradients are not finite at iteration 1: total, b"]


def test_only_the_main_process_measures_gradients(make_loop, monkeypatch):
    loop = make_loop([GradientNorms(period=1)])
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    loop.train(0, 2)
    assert "gradient_norm/total" not in loop.storage.histories()


def test_throughput_is_images_over_step_time(make_loop, monkeypatch):
    # The clock of the hook: steps take 2 and 3 seconds, 5 seconds pass between them.
    times = iter([0.0, 100.0, 102.0, 107.0, 110.0, 200.0, 201.0])
    monkeypatch.setattr("project.engine.hooks.throughput.time.perf_counter", lambda: next(times))
    hook = Throughput(period=2)
    monkeypatch.setattr(comm, "get_world_size", lambda: 4)
    batches = [[{}, {}], [{}] * 3, [{}]]
    trainer = make_loop([])
    put = []

    class Storage:
        def put_scalar(self, name, value, smoothing_hint):
            put.append((name, value))

    trainer.storage, hook.trainer = Storage(), trainer
    for iteration, batch in enumerate(batches):
        trainer.iter, trainer.last_batch = iteration, batch
        hook.before_step()
        hook.after_step()
    assert put == [("images_per_second", 4 * (2 + 3) / (2 + 3))]


def test_memory_of_this_process(make_loop):
    before = process_mib()
    ballast = mmap.mmap(-1, 2**25)  # 32 MiB that no allocator has in stock
    ballast.write(bytes([1]) * 2**25)
    loop = make_loop([Memory(period=2)])
    loop.train(0, 4)
    values = history(loop, "memory/process_mib")
    assert [when for _, when in values] == [1, 3]
    assert values[0][0] > before + 0.9 * 32
    assert not any("gpu" in name for name in loop.storage.histories())
    ballast.close()


def test_process_memory_is_the_kernel_s_figure():
    with open("/proc/self/status") as status:
        kib = int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1])
    assert process_mib() == pytest.approx(kib / 1024, rel=0.05)


def test_peaks_of_a_gpu_are_reported_and_reset(make_loop, monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**20)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 5 * 2**20)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", calls.append)
    loop = make_loop([Memory(period=1)])

    class OnGpu:
        device = torch.device("cuda", 1)

    monkeypatch.setattr(loop.model, "parameters", lambda: iter([OnGpu()]))
    loop.train(0, 1)
    assert history(loop, "memory/gpu_allocated_peak_mib") == [(3.0, 0)]
    assert history(loop, "memory/gpu_reserved_peak_mib") == [(5.0, 0)]
    assert calls == [torch.device("cuda", 1)]


@pytest.mark.parametrize("kind", [GradientNorms, Throughput, Memory])
def test_periods_are_at_least_one(kind):
    with pytest.raises(UserError, match="period=0: expected a whole number of at least 1"):
        kind(period=0)
