"""Losses against closed forms of their values and gradients, and at their limits."""

from __future__ import annotations

import math

from project.modeling.losses import background_bias, dice_loss, weighted_cross_entropy

import pytest
import torch
from torch.nn import functional as F

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0], [1.0, 1.0, 1.0], [-4.0, 6.0, 0.0]])
CLASSES = torch.tensor([0, 2, 1, 1])
WEIGHTS = torch.tensor([0.5, 2.0, 3.0])


def double(requires_grad=True):
    return LOGITS.double().requires_grad_(requires_grad)


def test_hand_worked_values():
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]], dtype=torch.float64)
    classes, weights = torch.tensor([0, 1]), torch.tensor([1.0, 4.0])
    # p = 1/2 and 1/4: (1 log 2 + 4 log 4) / 2 = 9/2 log 2; with gamma 2 times 1/4 and 9/16.
    assert weighted_cross_entropy(logits, classes, weights) == pytest.approx(4.5 * math.log(2))
    focal = weighted_cross_entropy(logits, classes, weights, focal_gamma=2)
    assert focal == pytest.approx((1 / 4 + 8 * 9 / 16) / 2 * math.log(2))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_the_gradient_is_the_closed_form(gamma):
    logits = double()
    weighted_cross_entropy(logits, CLASSES, WEIGHTS, gamma).backward()
    p = logits.detach().softmax(1)
    own = p.gather(1, CLASSES[:, None])
    factor = (1 - own) ** gamma - gamma * own * (1 - own) ** (gamma - 1) * own.log()
    expected = WEIGHTS.double()[CLASSES, None] * factor * (p - F.one_hot(CLASSES, 3)) / 4
    torch.testing.assert_close(logits.grad, expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_gradients_agree_with_finite_differences(gamma):
    def loss(logits):
        return weighted_cross_entropy(logits, CLASSES, WEIGHTS, gamma)

    assert torch.autograd.gradcheck(loss, double())


def test_gamma_0_is_cross_entropy_and_weights_of_one_change_nothing():
    for gamma in (0.0, 2.0):
        scaled = weighted_cross_entropy(LOGITS, CLASSES, 3 * torch.ones(3), gamma)
        plain = weighted_cross_entropy(LOGITS, CLASSES, torch.ones(3), gamma)
        torch.testing.assert_close(scaled, 3 * plain)
    plain = weighted_cross_entropy(double(), CLASSES, torch.ones(3))
    torch.testing.assert_close(plain, F.cross_entropy(double(), CLASSES), rtol=1e-14, atol=0)
    weighted = weighted_cross_entropy(double(), CLASSES, WEIGHTS)
    summed = F.cross_entropy(double(), CLASSES, WEIGHTS.double(), reduction="sum")
    torch.testing.assert_close(weighted, summed / 4)


def test_micro_batches_of_one_size_average_to_the_whole():
    parts = [
        weighted_cross_entropy(LOGITS[s], CLASSES[s], WEIGHTS, 1.5)
        for s in (slice(0, 2), slice(2, 4))
    ]
    whole = weighted_cross_entropy(LOGITS, CLASSES, WEIGHTS, 1.5)
    torch.testing.assert_close(sum(parts) / 2, whole)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
def test_extreme_logits_have_finite_losses_and_gradients(gamma):
    logits = torch.tensor([[200.0, 0.0], [-200.0, 0.0]], requires_grad=True)
    loss = weighted_cross_entropy(logits, torch.tensor([0, 0]), torch.ones(2), gamma)
    loss.backward()
    assert loss.item() == pytest.approx(100)  # the first row is certain, the second costs 200
    assert logits.grad.isfinite().all()
    assert logits.grad[0].abs().max() == 0
    assert logits.grad[1, 0].item() == pytest.approx(-0.5)


def test_without_rows_the_loss_is_a_connected_zero():
    logits = torch.zeros(0, 3, requires_grad=True)
    loss = weighted_cross_entropy(logits, torch.zeros(0, dtype=torch.int64), WEIGHTS, 2.0)
    loss.backward()
    assert loss.item() == 0
    masks = torch.zeros(0, 4, 4, requires_grad=True)
    dice = dice_loss(masks, torch.zeros(0, 4, 4, dtype=torch.bool))
    dice.backward()
    assert dice.item() == 0
    assert logits.grad.shape == (0, 3)
    assert masks.grad.shape == (0, 4, 4)


def test_dice_by_hand():
    target = torch.tensor([[[1, 1], [0, 0]]]).bool()
    # p = 1/2 everywhere: 1 - (2 * 1 + 1) / (2 + 2 + 1)
    assert dice_loss(torch.zeros(1, 2, 2), target).item() == pytest.approx(2 / 5)
    assert dice_loss(100 * (2.0 * target - 1), target).item() == pytest.approx(0)
    # everything wrong: 1 - 1 / (2 + 2 + 1)
    assert dice_loss(-100 * (2.0 * target - 1), target).item() == pytest.approx(4 / 5)
    both = dice_loss(torch.zeros(2, 2, 2), torch.stack([target[0], torch.ones(2, 2).bool()]))
    assert both.item() == pytest.approx((2 / 5 + 1 - 5 / 7) / 2)


def test_dice_gradient_is_the_closed_form():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    targets = torch.rand(3, 4, 4, generator=generator) > 0.5
    dice_loss(logits, targets).backward()
    p, t = logits.detach().sigmoid(), targets.double()
    above = 2 * (p * t).sum((1, 2), keepdim=True) + 1
    below = (p + t).sum((1, 2), keepdim=True) + 1
    expected = -(2 * t * below - above) / below**2 * p * (1 - p) / 3
    torch.testing.assert_close(logits.grad, expected)
    assert torch.autograd.gradcheck(lambda x: dice_loss(x, targets), logits)


@pytest.mark.parametrize("num_classes, background", [(4, 0.75), (80, 0.99), (1, 0.2)])
def test_zero_features_get_the_background_prior(num_classes, background):
    logits = torch.zeros(num_classes + 1, dtype=torch.float64)
    logits[-1] = background_bias(num_classes, background)
    assert logits.softmax(0)[-1].item() == pytest.approx(background)
    assert background_bias(3, 0.25) == pytest.approx(0)  # as often as each of three classes
