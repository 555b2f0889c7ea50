"""Clipping, the fused optimizers and layers' learning rates against numbers worked by hand."""

from project.engine.optimizer import adam, adamw, clip_gradients, lr_factors, sgd
from project.errors import UserError
from project.modeling.backbones import build_small_resnet

import pytest
import torch
from detectron2.config import LazyCall, instantiate
from detectron2.modeling import FPN
from detectron2.solver import get_default_optimizer_params
from omegaconf import OmegaConf
from torch import nn


def parameter(*values: float, grad: tuple[float, ...]) -> torch.nn.Parameter:
    p = torch.nn.Parameter(torch.tensor(values))
    p.grad = torch.tensor(grad)
    return p


def test_sgd_steps_along_the_clipped_gradient():
    # |(3, 4)| = 5 is clipped to 1, i.e. to (0.6, 0.8).
    p = parameter(1.0, 1.0, grad=(3.0, 4.0))
    sgd([p], lr=1.0, momentum=0.0, weight_decay=0.0, max_norm=1.0).step()
    assert p.tolist() == pytest.approx([0.4, 0.2], abs=1e-5)


def test_the_norm_is_taken_over_all_parameters():
    p, q = parameter(0.0, grad=(3.0,)), parameter(0.0, grad=(4.0,))
    sgd([{"params": [p]}, {"params": [q]}], lr=1.0, weight_decay=0.0, max_norm=2.5).step()
    assert (p.item(), q.item()) == pytest.approx((-1.5, -2.0), abs=1e-5)


def test_small_gradients_stay():
    p = parameter(0.0, grad=(0.5,))
    sgd([p], lr=1.0, momentum=0.0, weight_decay=0.0, max_norm=1.0).step()
    assert p.item() == pytest.approx(-0.5)


def test_scaled_gradients_are_clipped_by_their_true_size():
    # A GradScaler hands a fused optimizer gradients times 8 and tells the factor.
    optimizer = sgd([parameter(0.0, grad=(24.0,))], lr=1.0, max_norm=1.0)
    optimizer.grad_scale = torch.tensor(8.0)
    for hook in optimizer._optimizer_step_pre_hooks.values():
        hook(optimizer, (), {})
    assert optimizer.param_groups[0]["params"][0].grad.item() == pytest.approx(8.0, rel=1e-5)


@pytest.mark.parametrize("build", [sgd, adam, adamw])
def test_clipping_under_a_grad_scaler(build):
    # The gradient is (3, 4) and the scaler multiplies it by 1024; clipped to 1 it is (0.6, 0.8).
    options = {"lr": 0.1, "weight_decay": 0.0}
    scaled, plain = torch.nn.Parameter(torch.zeros(2)), parameter(0.0, 0.0, grad=(0.6, 0.8))
    build([plain], **options).step()
    optimizer = build([scaled], max_norm=1.0, **options)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(scaled @ torch.tensor([3.0, 4.0])).backward()
    scaler.step(optimizer)
    torch.testing.assert_close(scaled, plain, atol=1e-6, rtol=0)


def test_an_overflow_under_a_grad_scaler_skips_the_step():
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = sgd([p], lr=1.0, max_norm=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(p * float("inf")).sum().backward()
    scaler.step(optimizer)
    scaler.update()
    assert p.item() == 0.0
    assert scaler.get_scale() == 512.0


def test_parameters_without_gradient():
    optimizer = sgd([torch.nn.Parameter(torch.ones(1))], lr=1.0, max_norm=1.0)
    optimizer.step()
    assert optimizer.param_groups[0]["params"][0].item() == 1.0


@pytest.mark.parametrize("build, reference", [(adamw, torch.optim.AdamW), (adam, torch.optim.Adam)])
def test_without_a_bound_they_are_pytorchs(build, reference):
    ours, theirs = parameter(1.0, -2.0, grad=(0.3, 5.0)), parameter(1.0, -2.0, grad=(0.3, 5.0))
    build([ours], lr=0.1, weight_decay=0.2).step()
    reference([theirs], lr=0.1, weight_decay=0.2).step()
    torch.testing.assert_close(ours, theirs)


def test_a_bound_that_is_no_bound():
    with pytest.raises(ValueError, match="above 0"):
        clip_gradients(sgd([torch.nn.Parameter(torch.ones(1))]), 0.0)


@pytest.mark.parametrize(
    "name, factor",
    [
        ("backbone.bottom_up.stem.conv1.weight", 0.5**5),
        ("backbone.bottom_up.res2.0.conv1.weight", 0.5**4),
        ("backbone.bottom_up.res4.22.conv3.norm.bias", 0.5**2),
        ("backbone.bottom_up.res5.0.shortcut.weight", 0.5),
        ("backbone.res3.0.conv1.weight", 0.5**3),
        ("backbone.fpn_lateral2.weight", 1.0),
        ("proposal_generator.rpn_head.conv.weight", 1.0),
        ("roi_heads.box_predictor.cls_score.weight", 1.0),
    ],
)
def test_layer_decay(name, factor):
    assert lr_factors(layer_decay=0.5)(name) == factor
    assert lr_factors()(name) == 1.0
    of_backbone = 0.1 if factor < 1 else 1.0
    assert lr_factors(backbone=0.1)(name) == of_backbone
    assert lr_factors(0.5, backbone=0.1)(name) == pytest.approx(factor * of_backbone)


def test_another_backbone_has_no_known_layers():
    name = "backbone.bottom_up.blocks.3.weight"
    assert lr_factors(backbone=0.1)(name) == 0.1
    with pytest.raises(UserError, match=r"layer_decay=0.9 needs a ResNet .*has backbone.bottom_up"):
        lr_factors(0.9)(name)


@pytest.mark.parametrize("options", [{"layer_decay": 0}, {"layer_decay": 1.1}, {"backbone": 0}])
def test_factors_out_of_range(options):
    with pytest.raises(UserError, match="above 0"):
        lr_factors(**options)


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        bottom_up = build_small_resnet([4, 6], out_features=["res2", "res3"])
        self.backbone = FPN(bottom_up, ["res2", "res3"], 4)
        self.head = nn.Linear(4, 2)


def optimizer_of(model: nn.Module, **factors: float) -> torch.optim.Optimizer:
    """SGD of a config with these factors, as `configs/common/optim.py` writes it."""
    params = LazyCall(get_default_optimizer_params)(
        base_lr="${..lr}",
        weight_decay_norm=0.0,
        lr_factor_func=LazyCall(lr_factors)(**factors),
    )
    cfg = LazyCall(sgd)(params=params, lr=0.2, weight_decay=0.1)
    cfg = OmegaConf.create({"optimizer": cfg}, flags={"allow_objects": True})
    cfg.optimizer.params.model = model
    return instantiate(cfg.optimizer)


def settings(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, tuple]:
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }


def test_layer_decay_from_a_config():
    model = Detector()
    found = settings(model, optimizer_of(model, layer_decay=0.5, backbone=0.1))
    assert len(found) == len(list(model.parameters()))
    assert found["head.weight"] == found["backbone.fpn_output3.bias"] == (0.2, 0.1)
    assert found["backbone.bottom_up.res3.0.conv1.weight"] == pytest.approx((0.2 * 0.1 / 8, 0.1))
    assert found["backbone.bottom_up.stem.conv1.norm.bias"] == pytest.approx((0.2 * 0.1 / 32, 0))


def test_factors_of_one_change_nothing():
    model = Detector()
    with_factors = optimizer_of(model)
    plain = sgd(get_default_optimizer_params(model, weight_decay_norm=0.0), 0.2, weight_decay=0.1)
    assert len(with_factors.param_groups) == len(plain.param_groups)
    assert settings(model, with_factors) == settings(model, plain)
