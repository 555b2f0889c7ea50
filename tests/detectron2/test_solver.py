"""Learning-rate schedules and parameter groups, against the golden figures and worked numbers."""

import copy

import project  # noqa: F401

import numpy as np
import pytest
import torch
from detectron2.solver import (
    LRMultiplier,
    LRScheduler,
    WarmupParamScheduler,
    get_default_optimizer_params,
)
from fvcore.common.param_scheduler import (
    ConstantParamScheduler,
    CosineParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
)
from omegaconf import OmegaConf
from torch import nn

RTOL = 1e-9


def schedule(case: str) -> WarmupParamScheduler:
    """The schedules of the golden file, as its table of cases describes them."""
    if case == "cosine":
        return WarmupParamScheduler(CosineParamScheduler(1.0, 0.05), 0.001, 0.1)
    if case == "multistep":
        steps = MultiStepParamScheduler([1.0, 0.1, 0.01], milestones=[60, 80], num_updates=100)
        return WarmupParamScheduler(steps, warmup_factor=0.067, warmup_length=0.25)
    if case == "cosine_rescale":
        cosine = CosineParamScheduler(1.0, 0.0)
        return WarmupParamScheduler(cosine, 0.01, 0.2, rescale_interval=True)
    if case == "constant_warmup":
        linear = LinearParamScheduler(1.0, 0.0)
        return WarmupParamScheduler(linear, 0.3, 0.15, warmup_method="constant")
    assert case == "full_warmup"
    return WarmupParamScheduler(CosineParamScheduler(1.0, 0.0), 0.1, 1.0)


CASES = ["cosine", "multistep", "cosine_rescale", "constant_warmup", "full_warmup"]


def sgd(*rates: float, **settings) -> torch.optim.SGD:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": r, **settings} for r in rates]
    return torch.optim.SGD(groups, lr=0.1)


def rates_over(optimizer, scheduler, steps: int) -> list[list[float]]:
    rates = []
    for _ in range(steps):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return rates


class TestSchedules:
    def test_every_golden_case_is_here(self, golden):
        assert list(golden.json("schedules")["cases"]) == CASES

    @pytest.mark.parametrize("case", CASES)
    def test_values(self, golden, case):
        figures = golden.npz("schedules")
        scheduler = schedule(case)
        values = [scheduler(float(where)) for where in figures["where"]]
        np.testing.assert_allclose(values, figures[case], rtol=RTOL, atol=1e-15)

    @pytest.mark.parametrize("case", CASES)
    def test_learning_rates(self, golden, case):
        optimizer = sgd(0.02, 0.5)
        multiplier = LRMultiplier(optimizer, schedule(case), 100)
        expected = golden.npz("schedules")[f"{case}_lr"]
        rates = rates_over(optimizer, multiplier, 100)
        np.testing.assert_allclose(rates, expected, rtol=RTOL, atol=1e-15)

    def test_resuming_goes_on_with_the_next_iteration(self, golden):
        optimizer = sgd(0.02, initial_lr=0.02)
        multiplier = LRMultiplier(optimizer, schedule("cosine"), 100, last_iter=41)
        figures = golden.npz("schedules")["resumed_at_42_lr"]
        np.testing.assert_allclose([optimizer.param_groups[0]["lr"]], figures, rtol=RTOL)
        assert multiplier.state_dict() == golden.json("schedules")["state_dict"]

    def test_a_warmup_by_hand(self):
        """From 0.1 * 1 to scheduler(0.5) = 0.5 on a straight line; then the scheduler's values."""
        scheduler = WarmupParamScheduler(LinearParamScheduler(1.0, 0.0), 0.1, 0.5)
        assert [scheduler(where) for where in (0.0, 0.25, 0.5, 0.75, 1.0)] == pytest.approx(
            [0.1, 0.3, 0.5, 0.25, 0.0]
        )

    def test_no_warmup_is_the_scheduler(self):
        cosine = CosineParamScheduler(1.0, 0.1)
        scheduler = WarmupParamScheduler(cosine, 0.001, 0.0)
        for where in (0.0, 0.3, 1.0):
            assert scheduler(where) == cosine(where)

    @pytest.mark.parametrize("max_iter", [7, 90, 1000, 90_000])
    def test_rounding_never_lengthens_a_warmup(self, max_iter):
        """Constant warm-up of 3 iterations: 0, 1 and 2 have its value, 3 hasn't."""
        scheduler = WarmupParamScheduler(
            ConstantParamScheduler(1.0), 0.5, 3 / max_iter, warmup_method="constant"
        )
        assert [scheduler(i / max_iter) for i in range(5)] == [0.5, 0.5, 0.5, 1.0, 1.0]

    def test_state_moves_a_scheduler(self):
        """What a resumed run does: new scheduler, old state, same rates as an unbroken run."""
        first = sgd(0.02, 0.5)
        before = LRMultiplier(first, schedule("cosine_rescale"), 20)
        unbroken = rates_over(first, before, 8)
        assert set(before.state_dict()) == {"base_lrs", "last_epoch"}
        second = sgd(1.0, 1.0)
        after = LRMultiplier(second, schedule("cosine_rescale"), 20)
        second.load_state_dict(copy.deepcopy(first.state_dict()))
        after.load_state_dict(copy.deepcopy(before.state_dict()))
        rest = rates_over(first, before, 12)
        assert rates_over(second, after, 12) == rest
        assert rest[0] != unbroken[-1]

    def test_progress_ends_at_one(self):
        seen = []

        class Recorder(LinearParamScheduler):
            def __call__(self, where):
                seen.append(where)
                return super().__call__(where)

        optimizer = sgd(1.0)
        multiplier = LRMultiplier(optimizer, Recorder(1.0, 0.0), 4)
        assert isinstance(multiplier, LRScheduler)
        rates_over(optimizer, multiplier, 4)
        assert seen == [0.0, 0.25, 0.5, 0.75, 1.0]
        assert optimizer.param_groups[0]["lr"] == 0.0

    def test_errors(self, golden):
        assert golden.json("schedules")["errors"] == {
            "multiplier not a scheduler": "ValueError",
            "unknown method": "ValueError",
        }
        with pytest.raises(ValueError, match="ParamScheduler"):
            LRMultiplier(sgd(0.1), lambda where: 1.0, 10)
        with pytest.raises(ValueError, match="(?i)method"):
            WarmupParamScheduler(CosineParamScheduler(1, 0), 0.1, 0.1, "x")

    @pytest.mark.bundled
    def test_lengths_that_mean_nothing(self):
        with pytest.raises(ValueError, match="fraction of training, 0..1, got 2.5"):
            WarmupParamScheduler(CosineParamScheduler(1, 0), 0.1, 2.5)
        with pytest.raises(ValueError, match="at least 1 iteration, got 0"):
            LRMultiplier(sgd(0.1), CosineParamScheduler(1, 0), 0)


class Net(nn.Module):
    """The module of the golden file: norms, a tied layer, a frozen one, a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.bn = nn.BatchNorm2d(4)
        self.gn = nn.GroupNorm(2, 4)
        self.ln = nn.LayerNorm(4)
        self.fc = nn.Linear(4, 4)
        self.tied = self.fc
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.emb = nn.Embedding(3, 4)
        self.scale = nn.Parameter(torch.ones(1))


@pytest.fixture(scope="module")
def net():
    return Net()


def named_groups(net: nn.Module, **settings) -> list[dict]:
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    groups = get_default_optimizer_params(net, **settings)
    return [{**group, "params": [names[id(p)] for p in group["params"]]} for group in groups]


class TestParameterGroups:
    @pytest.mark.parametrize(
        "case",
        ["none", "base_lr", "wd_norm0", "lr_wd_norm", "bias", "overrides", "norm_and_bias"],
    )
    def test_groups(self, golden, net, case):
        figures = golden.json("optim_groups")
        assert [name for name, _ in net.named_parameters()] == figures["parameters"]
        expected = figures["cases"][case]
        assert named_groups(net, **expected["kwargs"]) == expected["groups"]

    def test_lr_factor_func(self, golden, net):
        expected = golden.json("optim_groups")["cases"]["lr_factor_func"]
        names = []

        def factor(name):
            names.append(name)
            return 0.5 if name.startswith("conv") else 1.0

        assert named_groups(net, base_lr=0.1, lr_factor_func=factor) == expected["groups"]
        assert names == expected["names_passed"]

    def test_overrides_win_over_factors(self, net):
        groups = named_groups(
            net, base_lr=0.1, lr_factor_func=lambda _: 0.5, overrides={"bias": {"lr": 3.0}}
        )
        assert [group["lr"] for group in groups] == [0.05, 3.0]
        assert all(name.endswith("bias") for name in groups[1]["params"])

    def test_every_trainable_parameter_once(self, net):
        groups = named_groups(net, base_lr=0.1, weight_decay_norm=0.0, bias_lr_factor=2.0)
        names = [name for group in groups for name in group["params"]]
        trainable = [name for name, p in net.named_parameters() if p.requires_grad]
        assert sorted(names) == sorted(trainable)

    def test_a_shared_parameter_comes_once(self):
        pair = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
        pair[1].weight = pair[0].weight
        (group,) = get_default_optimizer_params(pair, base_lr=0.1)
        assert len(group["params"]) == 1

    @pytest.mark.bundled
    @pytest.mark.parametrize("kind", [dict, OmegaConf.create])
    def test_the_callers_overrides_stay(self, net, kind):
        """Upstream writes the bias options into them, so that a second call fails."""
        overrides = kind({"weight": {"lr": 0.05}})
        settings = {"base_lr": 0.1, "weight_decay_bias": 0.0, "overrides": overrides}
        first = named_groups(net, **settings)
        assert named_groups(net, **settings) == first
        assert overrides == {"weight": {"lr": 0.05}}

    def test_a_model_without_trainable_parameters(self):
        assert get_default_optimizer_params(nn.Linear(1, 1).requires_grad_(False)) == []

    def test_errors(self, golden, net):
        assert set(golden.json("optim_groups")["errors"].values()) == {"ValueError"}
        with pytest.raises(ValueError):
            get_default_optimizer_params(net, bias_lr_factor=2.0)
        with pytest.raises(ValueError):
            get_default_optimizer_params(net, lr_factor_func=lambda name: 1.0)
        with pytest.raises(ValueError, match="bias"):
            get_default_optimizer_params(
                net, weight_decay_bias=0.0, overrides={"bias": {"weight_decay": 1.0}}
            )
