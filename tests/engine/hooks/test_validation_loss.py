"""The validation loss: means over images, nothing disturbed, the averaged model judged."""

import random
from types import SimpleNamespace

from project.data.catalog import subset_dicts
from project.data.mapper import InstanceMapper
from project.engine.config import build, load_config
from project.engine.hooks import ValidationLoss
from project.engine.hooks.validation_loss import (
    _mean_over_ranks,
    evenly_spaced,
    losses_of,
    mean_losses,
)

import numpy as np
import pytest
import torch
from detectron2.layers import NaiveSyncBatchNorm
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, get_event_storage
from torch import nn
from torch.optim.swa_utils import AveragedModel


class Noisy(nn.Module):
    """Losses of x per image: norm and dropout between, and a draw in train mode."""

    def __init__(self):
        super().__init__()
        self.norm, self.dropout = nn.BatchNorm1d(1), nn.Dropout(0.5)
        self.factor = nn.Parameter(torch.tensor(1.0))

    def forward(self, batch):
        assert self.training
        x = torch.tensor([[sample["x"]] for sample in batch])
        y = self.factor * self.dropout(self.norm(x)).mean()
        get_event_storage().put_scalar("own_figure", 1.0)
        return {"loss_y": y, "loss_noise": torch.rand(())}


RECORDS = [{"x": float(x), "annotations": []} for x in (1, 2, 6)]


def keep(record):
    return record


def train(make_loop, hook, model=None, judged=None, steps=1, start=0):
    model = model or Noisy()
    loop = make_loop([hook], [[{"x": 1.0}, {"x": 2.0}]] * steps, model)
    loop.run = SimpleNamespace(evaluated_model=judged or model)
    loop.train(start, start + steps)
    return loop.storage


def untouched():
    """A model whose norm changes nothing in evaluation: mean 0, variance 1, eps 0."""
    model = Noisy()
    model.norm.eps = 0.0
    return model


def test_mean_over_images_of_each_loss_and_of_their_sum():
    losses = mean_losses(untouched(), [[r] for r in RECORDS], seed=3)
    torch.manual_seed(3)
    noise = float(torch.rand(()))  # the same draw for every image
    assert losses["loss_y"] == 3.0
    assert losses["loss_noise"] == pytest.approx(noise, rel=1e-6)
    assert losses["total_loss"] == pytest.approx(3.0 + noise, rel=1e-6)


def test_stored_when_due_and_at_the_end(make_loop):
    hook = ValidationLoss(RECORDS, keep, period=2)
    storage = train(make_loop, hook, steps=4)
    for name in ("total_loss", "loss_y", "loss_noise"):
        history = storage.history(f"validation/{name}").values()
        assert [when for _, when in history] == [1, 4]  # after step 3 comes the end


def test_the_end_alone_with_period_zero(make_loop):
    storage = train(make_loop, ValidationLoss(RECORDS, keep, period=0), steps=2)
    assert [when for _, when in storage.history("validation/loss_y").values()] == [2]


def test_an_interrupted_run_is_not_measured(make_loop):
    loop = make_loop([ValidationLoss(RECORDS, keep, period=0)], [[{"x": 1.0}] * 2], Noisy())
    loop.run = SimpleNamespace(evaluated_model=loop.model)
    with pytest.raises(StopIteration):
        loop.train(0, 5)
    assert "validation/loss_y" not in loop.storage.histories()


def test_model_and_generators_stay_as_they_are(make_loop):
    model = Noisy()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    hook = ValidationLoss(RECORDS, keep, period=1)
    hook.trainer = make_loop([], [[{}]], model)
    hook.trainer.run = SimpleNamespace(evaluated_model=model)
    model.dropout.eval()  # a mode of its own must come back too
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = random.random(), np.random.rand(), float(torch.rand(()))
    random.seed(1), np.random.seed(1), torch.manual_seed(1)

    def draws(record):
        random.random(), np.random.rand(), torch.rand(())
        return record

    hook._mapper = draws
    with EventStorage() as hook.trainer.storage:
        hook._measure()
    assert (random.random(), np.random.rand(), float(torch.rand(()))) == expected
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert (model.training, model.norm.training, model.dropout.training) == (True, True, False)
    assert model.factor.grad is None
    assert not any("own_figure" in name for name in hook.trainer.storage.histories())


def test_modes_come_back_after_an_exception():
    model, inside = Noisy(), []

    def fail():
        with losses_of(model):
            inside.append(model.norm.training)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (inside, model.norm.training) == ([False], True)


def test_all_kinds_of_norm_and_dropout_act_as_in_evaluation():
    class DropPath(nn.Module):
        pass

    model = nn.Sequential(
        nn.BatchNorm2d(1), nn.SyncBatchNorm(1), NaiveSyncBatchNorm(1), nn.Dropout2d(), DropPath()
    ).append(nn.Linear(1, 1))
    with losses_of(model):
        assert [module.training for module in model] == [False] * 5 + [True]


def test_the_averaged_model_is_judged(make_loop):
    averaged = AveragedModel(untouched())
    with torch.no_grad():
        averaged.module.factor.fill_(10.0)
    hook = ValidationLoss(RECORDS, keep, period=0)
    storage = train(make_loop, hook, judged=averaged.module)
    assert storage.history("validation/loss_y").latest() == 30.0


def test_ranks_with_shares_of_any_size_give_one_mean(monkeypatch):
    shares = [({"loss": 3.0, "loss_b": 6.0}, 2), ({}, 0), ({"loss": 9.0, "loss_b": 0.0}, 1)]
    assert _mean_over_ranks(shares) == {"total_loss": 6.0, "loss": 4.0, "loss_b": 2.0}
    monkeypatch.setattr(comm, "all_gather", lambda mine: [mine, ({"loss_y": 9.0}, 1)])
    assert mean_losses(untouched(), [[RECORDS[2]]], seed=0)["loss_y"] == 7.5


def test_images_are_evenly_spaced():
    dataset = [{"n": n} for n in range(10)]
    assert [r["n"] for r in evenly_spaced(dataset, 4)] == [0, 2, 5, 7]
    assert evenly_spaced(dataset, 10) == evenly_spaced(dataset, 99) == dataset


@pytest.mark.parametrize("records", [[], [{"x": 1.0}]])
def test_a_split_without_labels_is_left_alone(records, caplog):
    hook = ValidationLoss(records, keep, period=1)
    assert "no labels: no validation loss is measured" in caplog.text
    hook._measure()  # has no trainer whose model it could judge


def test_losses_of_a_mask_rcnn(make_loop, datasets_root):
    cfg = load_config("configs/quickstart.py", ["dataset.name=tiny"])
    torch.manual_seed(0)
    model = build(cfg.model, "model")
    mapper = InstanceMapper(is_train=True, augmentations=[], mask_format="bitmask")
    hook = ValidationLoss(subset_dicts("tiny", "val"), mapper, period=1, max_images=2)
    hook.trainer = make_loop([], [[{}]], model)
    hook.trainer.run = SimpleNamespace(evaluated_model=model)
    before = {name: value.clone() for name, value in model.named_buffers()}
    results = []
    for _ in range(2):
        with EventStorage() as hook.trainer.storage:
            hook._measure()
        latest = hook.trainer.storage.latest()
        results.append({name: value for name, (value, _) in latest.items()})
    assert results[0] == results[1]
    parts = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask"}
    assert set(results[0]) == {f"validation/{name}" for name in parts | {"total_loss"}}
    total = results[0].pop("validation/total_loss")
    assert total == pytest.approx(sum(results[0].values()))
    assert 0.5 < results[0]["validation/loss_mask"] < 1.5  # a fresh mask head: about ln 2
    assert all(torch.equal(before[name], value) for name, value in model.named_buffers())
