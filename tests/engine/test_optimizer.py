"""Clipping and the fused optimizers against steps worked by hand."""

from project.engine.optimizer import adam, adamw, clip_gradients, sgd

import pytest
import torch


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
