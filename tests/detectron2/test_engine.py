"""engine: trainers, hooks, start-up (contract 12)."""

from __future__ import annotations

import argparse
import gc
import json
import logging
import math
import weakref

import project  # noqa: F401

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import (
    AMPTrainer,
    HookBase,
    SimpleTrainer,
    TrainerBase,
    create_ddp_model,
    default_argument_parser,
    default_setup,
    default_writers,
    hooks,
    launch,
)
from detectron2.solver import WarmupParamScheduler
from detectron2.utils.events import (
    CommonMetricPrinter,
    EventStorage,
    EventWriter,
    JSONWriter,
    TensorboardXWriter,
    get_event_storage,
)
from fvcore.common.param_scheduler import CosineParamScheduler
from torch import nn

BATCHES = [[[1.0, 2.0]], [[0.5, -1.0]], [[2.0, 0.0]], [[1.0, 1.0]], [[0.0, 3.0]], [[-1.0, 1.0]]]
TIMES = ("time", "data_time", "rank_data_time", "eta_seconds")


@pytest.fixture(scope="module")
def expected(golden):
    return golden.json("engine")


class Line(nn.Module):
    """y = mean(w x + b) with two losses; tells a log when it runs."""

    def __init__(self, log=None):
        super().__init__()
        self.fc = nn.Linear(2, 1)
        nn.init.constant_(self.fc.weight, 0.5)
        nn.init.constant_(self.fc.bias, 0.1)
        self.log = [] if log is None else log

    def forward(self, x):
        self.log.append("forward")
        y = self.fc(torch.tensor(x, dtype=torch.float32)).mean()
        return {"loss_a": (y - 1) ** 2, "loss_b": 0.5 * y**2}


def sgd(model):
    groups = [{"params": [model.fc.weight], "lr": 0.1}, {"params": [model.fc.bias], "lr": 0.2}]
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9)


def make_trainer(folder="", log=None):
    model = Line(log)
    trainer = SimpleTrainer(model, BATCHES * 3, sgd(model))
    return trainer, DetectionCheckpointer(model, str(folder), trainer=trainer)


def schedule():
    return WarmupParamScheduler(CosineParamScheduler(1.0, 0.0), 0.1, 0.3)


def record_class(log):
    """A hook class that tells its calls; the figures know it as ``engine.<locals>.Rec``."""

    class Rec(HookBase):
        def __init__(self, name):
            self.name = name

        def tell(self, text):
            log.append(f"{self.name}.{text}")

        def before_train(self):
            self.tell(f"before_train iter={self.trainer.iter}")

        def after_train(self):
            self.tell(f"after_train iter={self.trainer.iter} storage={self.trainer.storage.iter}")

        def before_step(self):
            self.tell(f"before_step iter={self.trainer.iter}")

        def after_backward(self):
            self.tell("after_backward")

        def after_step(self):
            self.tell(f"after_step iter={self.trainer.iter}")

        def state_dict(self):
            return {"n": self.name}

        def load_state_dict(self, state):
            self.tell(f"load {state}")

    Rec.__qualname__ = "engine.<locals>.Rec"
    return Rec


@pytest.fixture(scope="module")
def golden_run(tmp_path_factory):
    """Seven iterations with every hook; what the figures in engine.json were read from."""
    folder, log, evals = tmp_path_factory.mktemp("run"), [], []
    trainer, checkpointer = make_trainer(folder, log)

    def evaluate():
        evals.append(trainer.iter)
        log.append("eval")
        return {"bbox": {"AP": 10.0 + (3 - len(evals)) ** 2, "AP-x": 1.0}, "loss_val": 0.25}

    class Writer(EventWriter):
        def write(self):
            log.append(f"writer.write iter={get_event_storage().iter}")

        def close(self):
            log.append("writer.close")

    rec = record_class(log)
    writers = [Writer(), JSONWriter(str(folder / "metrics.json"))]
    trainer.register_hooks(
        [
            rec("first"),
            hooks.IterationTimer(),
            hooks.LRScheduler(scheduler=schedule()),
            hooks.PeriodicCheckpointer(checkpointer, 3, max_to_keep=2),
            hooks.EvalHook(2, evaluate),
            hooks.BestCheckpointer(2, checkpointer, "bbox/AP"),
            hooks.PeriodicWriter(writers, period=2),
            None,
            rec("last"),
        ]
    )
    trainer.train(0, 7)
    return {"trainer": trainer, "folder": folder, "log": log, "evals": evals}


def same_weights(model, weights):
    state = {name: value.tolist() for name, value in model.state_dict().items()}
    assert state.keys() == weights.keys()
    for name, value in weights.items():
        torch.testing.assert_close(
            torch.tensor(state[name]), torch.tensor(value), rtol=1e-6, atol=1e-6
        )


def test_order_of_calls(golden_run, expected):
    assert golden_run["log"] == expected["trace"]
    assert golden_run["evals"] == expected["evals_at_trainer_iter"]
    assert golden_run["trainer"].iter == expected["iter_after"]


def test_lines_of_metrics(golden_run, expected):
    lines = [json.loads(x) for x in (golden_run["folder"] / "metrics.json").open()]
    plain = [{k: v for k, v in line.items() if k not in TIMES} for line in lines]
    assert len(plain) == len(expected["metrics_json"])
    for line, want in zip(plain, expected["metrics_json"], strict=True):
        assert line == pytest.approx(want, abs=1e-6)
    seen = sorted({k for line in lines for k in line if k in TIMES})
    assert seen == expected["metrics_json_time_keys_seen"]


def test_files_of_a_run(golden_run, expected):
    folder = golden_run["folder"]
    assert sorted(file.name for file in folder.iterdir()) == expected["files"]
    assert (folder / "last_checkpoint").read_text() == expected["last_checkpoint"]


def test_end_of_a_run(golden_run, expected):
    trainer = golden_run["trainer"]
    same_weights(trainer.model, expected["final_weights"])
    rates = [group["lr"] for group in trainer.optimizer.param_groups]
    assert rates == pytest.approx(expected["final_lr"], abs=1e-6)


def test_content_of_a_checkpoint(golden_run, expected):
    saved = torch.load(golden_run["folder"] / "model_0000005.pth", weights_only=False)
    want = expected["checkpoint_keys"]
    assert sorted(saved) == want["top"]
    assert saved["iteration"] == want["iteration"]
    assert sorted(saved["trainer"]) == want["trainer"]
    assert saved["trainer"]["iteration"] == want["trainer_iteration"]
    states = saved["trainer"]["hooks"]
    assert {name: sorted(state) for name, state in states.items()} == want["hooks"]
    assert states["LRScheduler"] == want["hook_LRScheduler"]
    assert states["engine.<locals>.Rec"] == {"n": "first"}  # the first of a class


class StopAt(HookBase):
    def __init__(self, iteration):
        self.iteration = iteration

    def after_step(self):
        if self.trainer.iter == self.iteration:
            raise KeyboardInterrupt


class RateSpy(HookBase):
    def __init__(self):
        self.rates = []

    def before_step(self):
        self.rates.append([group["lr"] for group in self.trainer.optimizer.param_groups])


def test_resume_goes_on_where_the_run_stopped(tmp_path, expected):
    trainer, checkpointer = make_trainer(tmp_path)
    trainer.register_hooks([hooks.LRScheduler(scheduler=schedule())])
    trainer.register_hooks([hooks.PeriodicCheckpointer(checkpointer, 2), StopAt(4)])
    with pytest.raises(KeyboardInterrupt):
        trainer.train(0, 7)
    want = expected["resume"]
    assert sorted(file.name for file in tmp_path.iterdir()) == want["files"]

    trainer, checkpointer = make_trainer(tmp_path)
    spy = RateSpy()
    trainer.register_hooks([hooks.LRScheduler(scheduler=schedule()), spy])
    checkpointer.resume_or_load("", resume=True)
    assert trainer.iter == want["trainer_iter_after_load"]
    assert trainer.iter + 1 == want["start_iter"]
    trainer.train(trainer.iter + 1, 7)
    for rates, wanted in zip(spy.rates, want["lr_per_step"], strict=True):
        assert rates == pytest.approx(wanted, rel=1e-6)
    same_weights(trainer.model, want["final_weights"])


def test_resumed_run_ends_like_an_unbroken_one(tmp_path):
    """With the same batches per iteration, stopping changes nothing, to the last bit."""

    def run(folder, start, stop):
        folder.mkdir(exist_ok=True)
        model = Line()
        trainer = SimpleTrainer(model, (BATCHES * 3)[start:], sgd(model))
        checkpointer = DetectionCheckpointer(model, str(folder), trainer=trainer)
        trainer.register_hooks([hooks.LRScheduler(scheduler=schedule())])
        trainer.register_hooks([hooks.PeriodicCheckpointer(checkpointer, 4), StopAt(stop)])
        checkpointer.resume_or_load("", resume=True)
        try:
            trainer.train(start, 10)
        except KeyboardInterrupt:
            assert trainer.iter == stop
        return model.state_dict()

    whole = run(tmp_path / "whole", 0, stop=99)
    run(tmp_path / "parts", 0, stop=3)
    parts = run(tmp_path / "parts", 4, stop=99)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_non_finite_loss_stops_before_the_optimizer(expected):
    class Nan(nn.Module):
        def __init__(self):
            super().__init__()
            self.p = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return {"l": self.p.sum() * float("nan")}

    assert expected["nan_loss_error"] == "FloatingPointError"
    model = Nan()
    trainer = SimpleTrainer(model, [1], torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(FloatingPointError, match="iteration.?0"):
        trainer.train(0, 1)
    assert model.p.item() == 0.0


def test_exhausted_loader_and_eval_mode_are_errors(expected):
    assert expected["exhausted_loader_error"] == "StopIteration"
    assert expected["eval_mode_error"] == "AssertionError"
    model = Line()
    trainer = SimpleTrainer(model, BATCHES[:1], sgd(model))
    with pytest.raises(StopIteration):
        trainer.train(0, 2)
    assert trainer.iter == 1
    model = Line()
    trainer = SimpleTrainer(model, BATCHES, sgd(model))
    model.eval()
    with pytest.raises(AssertionError, match="eval mode"):
        trainer.train(0, 1)


def test_one_loss_needs_no_dict():
    class Single(Line):
        def forward(self, x):
            return super().forward(x)["loss_a"]

    model = Single()
    trainer = SimpleTrainer(model, BATCHES, sgd(model))
    trainer.train(0, 1)
    stored = trainer.storage.latest()
    # y = 0.5 + 1.0 + 0.1; (y - 1) ** 2
    assert stored["total_loss"][0] == pytest.approx(0.36, abs=1e-6)
    assert "loss_a" not in stored


@pytest.mark.parametrize("options", [{}, {"gather_metric_period": 3}])
def test_metrics_come_every_period(options):
    model = Line()
    trainer = SimpleTrainer(model, BATCHES, sgd(model), **options)
    trainer.train(0, 6)
    iterations = [when for _, when in trainer.storage.history("total_loss").values()]
    assert iterations == ([2, 5] if options else [0, 1, 2, 3, 4, 5])
    names = {"rank_data_time", "data_time", "total_loss", "loss_a", "loss_b"}
    assert set(trainer.storage.latest()) == names


@pytest.mark.parametrize("option", ["zero_grad_before_forward", "async_write_metrics"])
def test_options_leave_the_results_alone(option):
    runs = []
    for options in ({}, {option: True}):
        model = Line()
        trainer = SimpleTrainer(model, BATCHES, sgd(model), **options)
        trainer.train(0, 5)
        runs.append((trainer, model.state_dict()))
    (plain, weights), (other, other_weights) = runs
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights)
    if option == "zero_grad_before_forward":
        losses = [run.storage.history("total_loss").values() for run in (plain, other)]
        assert losses[0] == losses[1]


def test_gradients_are_cleared_before_the_forward_pass():
    seen = []

    class Spy(Line):
        def forward(self, x):
            seen.append(self.fc.weight.grad)
            return super().forward(x)

    for before in (False, True):
        model = Spy()
        options = {"zero_grad_before_forward": before}
        SimpleTrainer(model, BATCHES, sgd(model), **options).train(0, 2)
    assert [grad is None for grad in seen] == [True, False, True, True]


def test_loader_is_replaced_between_runs():
    model = Line()
    trainer = SimpleTrainer(model, BATCHES[:1], sgd(model))
    trainer.train(0, 1)
    trainer.reset_data_loader(lambda: BATCHES[1:3])
    trainer.train(1, 3)
    assert trainer.data_loader == BATCHES[1:3]
    with pytest.raises(StopIteration):
        trainer.train(3, 4)


def test_after_train_runs_after_an_exception(caplog):
    log = []

    class Broken(TrainerBase):
        def run_step(self):
            raise ValueError("broken step")

    trainer = Broken()
    trainer.register_hooks([record_class(log)("hook")])
    with pytest.raises(ValueError, match="broken step"), caplog.at_level(logging.ERROR):
        trainer.train(5, 9)
    assert log[-1] == "hook.after_train iter=5 storage=5"
    assert trainer.iter == 5


def test_hooks_must_be_hooks_and_hold_their_trainer_weakly():
    trainer, _ = make_trainer()
    with pytest.raises(AssertionError):
        trainer.register_hooks([object()])
    hook = HookBase()
    trainer.register_hooks([hook, None])
    assert hook.trainer.model is trainer.model
    gone = weakref.ref(trainer)
    del trainer, _
    gc.collect()
    assert gone() is None


def test_unknown_hook_state_is_only_a_warning(caplog):
    trainer, _ = make_trainer()
    state = {**trainer.state_dict(), "iteration": 12, "hooks": {"Unknown": {"x": 1}}}
    with caplog.at_level(logging.WARNING):
        trainer.load_state_dict(state)
    assert trainer.iter == 12
    assert "Unknown" in caplog.text


# --- hooks ------------------------------------------------------------------------------------


def test_group_whose_rate_is_shown(expected):
    def group(count, **options):
        return {"params": [nn.Parameter(torch.zeros(1)) for _ in range(count)], **options}

    best = hooks.LRScheduler.get_best_param_group_id
    by_size = torch.optim.SGD([group(1), group(3)], lr=0.1)
    by_rate = torch.optim.SGD([group(1, lr=rate) for rate in (0.3, 0.1, 0.1)], lr=0.1)
    assert best(by_size) == expected["best_group"]["by_size"]
    assert best(by_rate) == expected["best_group"]["by_common_lr"]


def test_torch_schedulers_keep_their_own_state():
    trainer, _ = make_trainer()
    scheduler = torch.optim.lr_scheduler.StepLR(trainer.optimizer, step_size=1, gamma=0.5)
    trainer.register_hooks([hooks.LRScheduler(scheduler=scheduler)])
    trainer.train(0, 2)
    assert trainer.storage.history("lr").values() == [(0.1, 0), (0.05, 1)]
    state = trainer.state_dict()
    assert state["hooks"]["LRScheduler"]["last_epoch"] == 2

    other, _ = make_trainer()
    scheduler = torch.optim.lr_scheduler.StepLR(other.optimizer, step_size=1, gamma=0.5)
    other.register_hooks([hooks.LRScheduler(scheduler=scheduler)])
    other.load_state_dict(state)
    assert scheduler.last_epoch == 2
    assert other.optimizer.param_groups[0]["lr"] == pytest.approx(0.025)


def test_scheduler_defaults_to_the_trainers():
    trainer, _ = make_trainer()
    trainer.scheduler = CosineParamScheduler(0.5, 0.1)
    trainer.register_hooks([hooks.LRScheduler()])
    trainer.train(0, 1)
    assert trainer.storage.latest()["lr"][0] == pytest.approx(0.05)


def test_timer_starts_after_the_warmup():
    trainer, _ = make_trainer()
    trainer.register_hooks([hooks.IterationTimer(warmup_iter=3)])
    trainer.train(0, 5)
    samples = trainer.storage.history("time").values()
    assert [when for _, when in samples] == [2, 3, 4]
    assert all(seconds > 0 for seconds, _ in samples)


@pytest.mark.parametrize(
    "period, start, end, iterations",
    [(2, 0, 6, [1, 3, 6]), (0, 0, 3, [3]), (5, 0, 3, [3]), (3, 0, 7, [2, 5, 7])],
)
def test_when_evaluation_runs(period, start, end, iterations):
    trainer, _ = make_trainer()
    seen = []
    trainer.register_hooks([hooks.EvalHook(period, lambda: seen.append(trainer.iter))])
    trainer.train(start, end)
    assert seen == iterations


def test_no_evaluation_after_train_if_unwanted_or_interrupted():
    seen = []
    trainer, _ = make_trainer()
    trainer.register_hooks([hooks.EvalHook(0, lambda: seen.append(1), eval_after_train=False)])
    trainer.train(0, 2)
    trainer, _ = make_trainer()
    trainer.register_hooks([hooks.EvalHook(0, lambda: seen.append(1)), StopAt(1)])
    with pytest.raises(KeyboardInterrupt):
        trainer.train(0, 5)
    assert seen == []


@pytest.mark.parametrize(
    "result, error", [([1.0], AssertionError), ({"bbox": {"AP": "high"}}, ValueError)]
)
def test_results_must_be_numbers(result, error):
    trainer, _ = make_trainer()
    trainer.register_hooks([hooks.EvalHook(0, lambda: result)])
    with pytest.raises(error):
        trainer.train(0, 1)


def run_best(folder, values, mode="max", start=0):
    """Evaluate after each step; the values come in turn. Which iteration does the file hold?"""
    trainer, checkpointer = make_trainer(folder)
    values = iter(values)
    trainer.register_hooks(
        [
            hooks.EvalHook(1, lambda: {"m": {"AP": next(values)}}),
            hooks.BestCheckpointer(1, checkpointer, "m/AP", mode=mode),
        ]
    )
    trainer.train(start, start + 4)
    file = folder / "model_best.pth"
    return torch.load(file, weights_only=False)["iteration"] if file.exists() else None


@pytest.mark.parametrize(
    "values, mode, iteration",
    [
        ([1.0, 3.0, 3.0, 2.0], "max", 1),
        ([4.0, 3.0, 2.0, 2.0], "min", 2),
        ([math.nan, 1.0, 0.5, 0.5], "max", 1),
        ([math.inf, 1.0, 0.5, 0.5], "max", 1),
        ([math.nan] * 4, "max", None),
    ],
)
def test_best_checkpoint_is_the_strictly_best(tmp_path, values, mode, iteration):
    assert run_best(tmp_path, values, mode) == iteration


@pytest.mark.bundled  # upstream tags the best file as the last one
def test_best_checkpoint_leaves_the_last_one_alone(tmp_path):
    (tmp_path / "last_checkpoint").write_text("model_0000000.pth")
    assert run_best(tmp_path, [1.0, 2.0, 3.0, 4.0]) == 4
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000000.pth"


@pytest.mark.bundled  # upstream forgets the best value and overwrites the file
def test_best_value_survives_a_resume(tmp_path):
    assert run_best(tmp_path, [5.0, 9.0, 1.0, 1.0]) == 1
    assert run_best(tmp_path, [8.0, 7.0, 7.0, 7.0], start=4) == 1
    assert run_best(tmp_path, [8.0, 9.5, 7.0, 7.0], start=8) == 9
    assert run_best(tmp_path, [1.0, 1.0, 2.0, 1.0]) == 2  # a fresh start is a fresh start


def test_absent_metric_and_wrong_mode(tmp_path, caplog):
    trainer, checkpointer = make_trainer(tmp_path)
    trainer.register_hooks([hooks.BestCheckpointer(1, checkpointer, "bbox/AP")])
    with caplog.at_level(logging.WARNING):
        trainer.train(0, 2)
    assert "bbox/AP" in caplog.text
    assert not (tmp_path / "model_best.pth").exists()
    with pytest.raises(AssertionError):
        hooks.BestCheckpointer(1, checkpointer, "bbox/AP", mode="best")


def test_writers_must_be_writers():
    with pytest.raises(AssertionError):
        hooks.PeriodicWriter([print])


def test_writers_are_called_by_period_at_the_end_and_closed():
    calls = []

    class Writer(EventWriter):
        def write(self):
            calls.append(get_event_storage().iter)

        def close(self):
            calls.append("close")

    trainer, _ = make_trainer()
    trainer.register_hooks([hooks.PeriodicWriter([Writer()], period=3)])
    trainer.train(0, 5)
    assert calls == [2, 4, 5, "close"]


@pytest.mark.parametrize("tensorboard", [False, True])
def test_profiler_writes_a_trace_per_wanted_step(tmp_path, tensorboard):
    trainer, _ = make_trainer()
    profiler = hooks.TorchProfiler(
        lambda t: t.iter == 1,
        str(tmp_path),
        activities=[torch.profiler.ProfilerActivity.CPU],
        save_tensorboard=tensorboard,
    )
    trainer.register_hooks([profiler])
    trainer.train(0, 3)
    files = [str(f.relative_to(tmp_path)) for f in tmp_path.rglob("*") if f.is_file()]
    assert len(files) == 1
    name = "log/profiler-tensorboard-iter1/" if tensorboard else "profiler-trace-iter1.json"
    assert files[0].startswith(name)


# --- mixed precision --------------------------------------------------------------------------


class Precise(Line):
    """Notes the type in which its layer computes."""

    def forward(self, x):
        y = self.fc(torch.tensor(x, dtype=torch.float32, device=self.fc.weight.device))
        self.log.append(y.dtype)
        y = y.float().mean()
        return {"loss_a": (y - 1) ** 2, "loss_b": 0.5 * y**2}


@pytest.mark.bundled  # upstream asserts CUDA
def test_bfloat16_trains_on_the_cpu():
    model = Precise()
    trainer = AMPTrainer(model, BATCHES, sgd(model), precision=torch.bfloat16, log_grad_scaler=True)
    trainer.train(0, 4)
    assert model.log == [torch.bfloat16] * 4
    assert model.fc.weight.dtype == torch.float32
    losses = [value for value, _ in trainer.storage.history("total_loss").values()]
    # y = 1.6 in bfloat16 is 1.6015625
    assert losses[0] == pytest.approx(0.6015625**2 + 0.5 * 1.6015625**2, rel=1e-6)
    assert trainer.storage.latest()["[metric]grad_scaler"] == (1.0, 3)
    assert trainer.state_dict()["grad_scaler"] == {}
    other = AMPTrainer(model, BATCHES, sgd(model), precision=torch.bfloat16)
    other.load_state_dict(trainer.state_dict())
    assert other.iter == 4


@pytest.mark.bundled
def test_float16_needs_cuda():
    model = Line()
    with pytest.raises(AssertionError, match="bfloat16"):
        AMPTrainer(model, BATCHES, sgd(model))


def test_amp_takes_one_device_per_process():
    model = Line()
    with pytest.raises(AssertionError):
        AMPTrainer(nn.DataParallel(model), BATCHES, sgd(model), precision=torch.bfloat16)


@pytest.mark.gpu
def test_float16_scales_its_gradients_on_the_gpu():
    model = Precise().cuda()
    # The default scale of 65536 would overflow in the first step, which is then skipped.
    scaler = torch.amp.GradScaler("cuda", init_scale=128.0)
    trainer = AMPTrainer(model, BATCHES, sgd(model), grad_scaler=scaler, log_grad_scaler=True)
    trainer.train(0, 4)
    assert model.log == [torch.float16] * 4
    assert trainer.storage.latest()["[metric]grad_scaler"] == (128.0, 3)
    other = AMPTrainer(model, BATCHES, sgd(model))
    other.load_state_dict(trainer.state_dict())
    assert other.grad_scaler.get_scale() == 128.0
    # float16 against float32 on the CPU: rounding of 2 ** -11
    reference = Line()
    SimpleTrainer(reference, BATCHES, sgd(reference)).train(0, 4)
    torch.testing.assert_close(model.fc.weight.cpu(), reference.fc.weight, rtol=5e-3, atol=5e-3)


@pytest.mark.gpu
@pytest.mark.bundled
def test_waiting_for_the_device_changes_no_number():
    runs = []
    for wait in (True, False):
        model = Precise().cuda()
        trainer = SimpleTrainer(model, BATCHES, sgd(model), async_write_metrics=not wait)
        trainer.train(0, 6)
        runs.append(trainer.storage.history("total_loss").values())
    assert [when for _, when in runs[1]] == [0, 1, 2, 3, 4, 5]
    for (plain, _), (other, _) in zip(*runs, strict=True):
        assert other == pytest.approx(plain, rel=1e-6)


@pytest.mark.gpu
@pytest.mark.bundled
@pytest.mark.parametrize("bad, stops_at", [(1, 2), (3, 4)])
def test_a_late_check_still_stops(bad, stops_at):
    model = Precise().cuda()
    batches = [[[math.nan, 0.0]] if i == bad else [[1.0, 2.0]] for i in range(4)]
    trainer = SimpleTrainer(model, batches, sgd(model), async_write_metrics=True)
    with pytest.raises(FloatingPointError, match=f"iteration {bad}"):
        trainer.train(0, 4)
    assert trainer.iter == stops_at


# --- start-up ---------------------------------------------------------------------------------


def test_parser_options(expected):
    parser = default_argument_parser()
    words = ["--config-file", "c.py", "--num-gpus", "2", "--resume", "x.y=1", "z=2"]
    args, empty = vars(parser.parse_args(words)), vars(parser.parse_args([]))
    for parsed in (args, empty):
        assert parsed.pop("dist_url").startswith("tcp://127.0.0.1:")
    assert args == expected["args"]
    assert empty == expected["args_default"]
    assert "my epilog" in default_argument_parser("my epilog").format_help()
    assert "--config-file" in parser.format_help()


def test_launch_of_one_process_is_a_call():
    seen = []
    assert launch(lambda *args: seen.append(args), 1, args=(1, "b")) is None
    assert seen == [(1, "b")]


def test_auto_address_is_for_one_machine():
    if torch.cuda.is_available():
        pytest.skip("counts GPUs first")
    with pytest.raises(AssertionError):
        launch(print, 1, num_machines=2, dist_url="auto")


def test_ddp_of_one_process_is_the_model():
    model = Line()
    assert create_ddp_model(model) is model


def test_default_writers(tmp_path):
    folder = tmp_path / "new" / "run"
    writers = default_writers(str(folder), 100)
    kinds = [CommonMetricPrinter, JSONWriter, TensorboardXWriter]
    assert [type(writer) for writer in writers] == kinds
    with EventStorage() as storage:
        storage.put_scalars(total_loss=1.0)
        for writer in writers:
            writer.write()
            writer.close()
    assert json.loads((folder / "metrics.json").read_text()) == {"total_loss": 1.0, "iteration": 0}


@pytest.fixture
def clean_setup():
    """Takes back what `default_setup` changes in the process."""
    benchmark = torch.backends.cudnn.benchmark
    precision = torch.get_float32_matmul_precision()
    loggers = [logging.getLogger(name) for name in ("detectron2", "fvcore")]
    before = [(log, list(log.handlers), log.level, log.propagate) for log in loggers]
    yield
    torch.backends.cudnn.benchmark = benchmark
    torch.set_float32_matmul_precision(precision)
    for log, handlers, level, propagate in before:
        log.handlers[:], log.propagate = handlers, propagate
        log.setLevel(level)


def test_setup_records_the_run(tmp_path, clean_setup, monkeypatch):
    from detectron2.config import LazyConfig
    from omegaconf import OmegaConf

    monkeypatch.setenv("PYTHONHASHSEED", "0")
    file = tmp_path / "my_config.py"
    file.write_text("train = dict(marker=1)\n")
    output = tmp_path / "run"
    train = {
        "output_dir": str(output),
        "seed": 41,
        "cudnn_benchmark": True,
        "float32_precision": "high",
    }
    cfg = OmegaConf.create({"train": train})
    default_setup(cfg, argparse.Namespace(config_file=str(file), eval_only=False))
    assert torch.initial_seed() == 41
    assert torch.backends.cudnn.benchmark
    assert torch.get_float32_matmul_precision() == "high"
    assert LazyConfig.load(str(output / "config.yaml")).train == cfg.train
    log = (output / "log.txt").read_text()
    for text in ("marker=1", torch.__version__, "eval_only=False"):
        assert text in log


@pytest.mark.parametrize("struct", [False, True])
def test_setup_defaults(clean_setup, monkeypatch, tmp_path, struct):
    from omegaconf import OmegaConf

    monkeypatch.setenv("PYTHONHASHSEED", "0")
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(7)
    cfg = OmegaConf.create({"output_dir": str(tmp_path), "train": {"max_iter": 3}})
    OmegaConf.set_struct(cfg, struct)
    args = argparse.Namespace(config_file="", eval_only=True)
    default_setup(cfg, args)
    assert torch.backends.cudnn.benchmark  # evaluation leaves it
    assert torch.initial_seed() != 7
    default_setup(cfg, argparse.Namespace(config_file="", eval_only=False))
    assert not torch.backends.cudnn.benchmark


def test_infinite_loss_stops_training():
    class Infinite(Line):
        def forward(self, x):
            return {"loss": super().forward(x)["loss_a"] * math.inf}

    model = Infinite()
    with pytest.raises(FloatingPointError, match="iteration.?0"):
        SimpleTrainer(model, BATCHES, sgd(model)).train(0, 1)


@pytest.mark.parametrize("rank, seed, expected", [(0, 0, 0), (3, 41, 44)])
def test_each_process_has_a_seed_of_its_own(
    clean_setup, monkeypatch, tmp_path, rank, seed, expected
):
    from omegaconf import OmegaConf

    monkeypatch.setenv("PYTHONHASHSEED", "0")
    monkeypatch.setattr("detectron2.utils.comm.get_rank", lambda: rank)
    cfg = OmegaConf.create({"train": {"output_dir": str(tmp_path), "seed": seed}})
    default_setup(cfg, argparse.Namespace(config_file="", eval_only=False))
    assert torch.initial_seed() == expected
