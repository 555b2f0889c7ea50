"""The best model: saved when better, the best value known after a resume, no pointer moved."""

import errno

from project.engine.hooks import BestCheckpoint
from project.errors import UserError

import pytest
import torch
from detectron2.engine import hooks


@pytest.fixture
def saves(tmp_path):
    """What ``model_best.pth`` says: ``(best_metric, iteration)``, or None."""

    def read():
        file = tmp_path / "model_best.pth"
        if not file.is_file():
            return None
        saved = torch.load(file, weights_only=True)
        return saved["best_metric"], saved["iteration"]

    return read


def train(make_loop, metric_hook, values, *, state=None, start=0, end=100, **options):
    hook = BestCheckpoint("segm/AP", period=2, **options)
    if state:
        hook.load_state_dict(state)
    loop = make_loop([metric_hook("segm/AP", values), hook])
    loop.train(start, end)
    return hook.state_dict()


def test_the_best_value_is_kept(make_loop, metric_hook, saves):
    values = {1: 10.0, 3: 30.0, 5: 20.0, 7: 30.0}
    state = train(make_loop, metric_hook, values, end=9)
    assert saves() == (30.0, 3)
    assert state == {"best": 30.0, "best_iteration": 3}


def test_the_smallest_is_best_on_request(make_loop, metric_hook, saves):
    train(make_loop, metric_hook, {1: 2.0, 3: 1.0, 5: float("nan"), 7: 1.5}, end=9, mode="min")
    assert saves() == (1.0, 3)


def test_the_evaluation_after_the_last_step_counts(make_loop, metric_hook, saves):
    train(make_loop, metric_hook, {1: 10.0, 4: 11.0}, end=4)
    assert saves() == (11.0, 4)


def test_a_resumed_run_knows_the_best_value(make_loop, metric_hook, saves, tmp_path):
    state = train(make_loop, metric_hook, {1: 10.0, 3: 30.0}, end=5)
    (tmp_path / "model_best.pth").unlink()
    train(make_loop, metric_hook, {5: 20.0}, state=state, start=5, end=7)
    assert saves() is None
    train(make_loop, metric_hook, {5: 31.0}, state=state, start=5, end=7)
    assert saves() == (31.0, 5)


def test_the_state_travels_in_the_run_s_checkpoints(make_loop, metric_hook, tmp_path):
    def loop_with(values):
        best = BestCheckpoint("segm/AP", period=2)
        loop = make_loop([metric_hook("segm/AP", values), best])
        return loop, best

    loop, _ = loop_with({1: 10.0, 3: 30.0})
    loop.register_hooks([hooks.PeriodicCheckpointer(loop.run.checkpointer, period=4)])
    loop.train(0, 5)
    resumed, best = loop_with({})
    resumed.run.checkpointer.resume_or_load("", resume=True)
    assert best.state_dict() == {"best": 30.0, "best_iteration": 3}


def test_last_checkpoint_still_names_the_newest(make_loop, metric_hook, tmp_path):
    values = {1: 10.0, 3: 30.0}
    loop = make_loop([])
    loop.run.checkpointer.save("model_0000000")
    train(make_loop, metric_hook, values, end=5)
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000000.pth"
    loop.run.checkpointer.save("model_0000001")
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000001.pth"


def test_a_full_disk_is_told_and_the_next_best_value_is_saved(
    make_loop, metric_hook, monkeypatch, saves, caplog
):
    best = BestCheckpoint("segm/AP", period=2)
    loop = make_loop([metric_hook("segm/AP", {1: 10.0, 3: 9.0}), best])
    real, attempts = loop.run.checkpointer.save, []

    def save(name, **kwargs):
        attempts.append(kwargs["best_metric"])
        if len(attempts) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(name, **kwargs)

    monkeypatch.setattr(loop.run.checkpointer, "save", save)
    loop.train(0, 6)
    assert attempts == [10.0, 9.0]  # 9 is the best that is on disk
    assert saves() == (9.0, 3)
    assert "no room for model_best.pth" in caplog.text


def test_other_errors_of_saving_end_the_run(make_loop, metric_hook, monkeypatch):
    loop = make_loop([metric_hook("segm/AP", {1: 1.0}), BestCheckpoint("segm/AP", period=2)])

    def save(name, **kwargs):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(loop.run.checkpointer, "save", save)
    with pytest.raises(OSError, match="Permission denied"):
        loop.train(0, 4)


def test_refuses_an_unknown_mode():
    with pytest.raises(UserError, match="unknown mode 'avg'"):
        BestCheckpoint("segm/AP", period=1, mode="avg")
