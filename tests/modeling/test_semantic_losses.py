"""Losses on label maps against closed forms, torch's own functions and their limits."""

from __future__ import annotations

import math

from project.errors import UserError
from project.modeling.semantic_losses import (
    IGNORE,
    SemanticLoss,
    pixel_cross_entropy,
    soft_dice_loss,
)

import pytest
import torch
from torch.nn import functional as F

WEIGHTS = torch.tensor([0.5, 2.0, 3.0])


@pytest.fixture
def logits() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64) * 2
    return x.requires_grad_()


@pytest.fixture
def labels() -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(0, 3, (2, 4, 5), generator=generator)
    labels[0, 1:3, 2:] = IGNORE
    return labels


def test_hand_worked_cross_entropy():
    # Two pixels with p = 1/2 and 1/4 of their labels, weights 1 and 4, and one that isn't counted.
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0], [9.0, -9.0]], dtype=torch.float64)
    logits = logits.T[None, :, None]
    labels, weights = torch.tensor([[[0, 1, IGNORE]]]), torch.tensor([1.0, 4.0])
    ce = pixel_cross_entropy(logits, labels, weights)
    assert ce == pytest.approx(4.5 * math.log(2))
    focal = pixel_cross_entropy(logits, labels, weights, focal_gamma=2)
    assert focal == pytest.approx((1 / 4 + 8 * 9 / 16) / 2 * math.log(2))


def test_cross_entropy_is_torchs(logits, labels):
    ours = pixel_cross_entropy(logits, labels)
    theirs = F.cross_entropy(logits, labels, ignore_index=IGNORE)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    for a, b in zip(*[torch.autograd.grad(x, logits) for x in (ours, theirs)], strict=True):
        torch.testing.assert_close(a, b)
    weights = WEIGHTS.double()
    summed = F.cross_entropy(logits, labels, weights, ignore_index=IGNORE, reduction="sum")
    expected = summed / (labels != IGNORE).sum()
    torch.testing.assert_close(pixel_cross_entropy(logits, labels, WEIGHTS), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_weights_of_one_change_nothing(logits, labels, gamma):
    weighted = pixel_cross_entropy(logits, labels, torch.ones(3), gamma)
    torch.testing.assert_close(weighted, pixel_cross_entropy(logits, labels, None, gamma))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_the_focal_gradient_is_the_closed_form(logits, labels, gamma):
    pixel_cross_entropy(logits, labels, WEIGHTS, gamma).backward()
    p = logits.detach().softmax(1)
    counted = (labels != IGNORE)[:, None]
    known = labels.where(counted[:, 0], 0)
    own = p.gather(1, known[:, None])
    factor = (1 - own) ** gamma - gamma * own * (1 - own) ** (gamma - 1) * own.log()
    one_hot = F.one_hot(known, 3).movedim(-1, 1)
    expected = WEIGHTS.double()[known][:, None] * factor * (p - one_hot) / counted.sum()
    torch.testing.assert_close(logits.grad, expected * counted, rtol=1e-9, atol=1e-14)


def test_a_perfect_pixel_has_a_finite_focal_gradient():
    logits = torch.tensor([200.0, -200.0]).view(1, 2, 1, 1).requires_grad_()
    loss = pixel_cross_entropy(logits, torch.zeros(1, 1, 1, dtype=torch.int64), focal_gamma=0.5)
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros(1, 2, 1, 1))


def dice_by_loops(p, labels, classes, smooth=1.0) -> list[float]:
    """1 - Dice of each class present, pixel by pixel."""
    losses = []
    for c in classes:
        pairs = [
            (float(p[n, c, y, x]), float(labels[n, y, x] == c))
            for n in range(len(p))
            for y in range(p.shape[2])
            for x in range(p.shape[3])
            if labels[n, y, x] != IGNORE
        ]
        total = sum(t for _, t in pairs)
        if total:
            overlap = sum(a * t for a, t in pairs)
            losses.append(1 - (2 * overlap + smooth) / (sum(a for a, _ in pairs) + total + smooth))
    return losses


@pytest.mark.parametrize("background", [False, True])
def test_dice_is_the_mean_over_classes_of_sums_over_pixels(logits, labels, background):
    p = logits.detach().softmax(1)
    expected = dice_by_loops(p, labels, range(3 if background else 2))
    loss = soft_dice_loss(logits, labels, background=background)
    assert loss.item() == pytest.approx(sum(expected) / len(expected), rel=1e-12)


def test_dice_per_image_is_the_mean_over_pairs_of_image_and_class(logits, labels):
    labels[0][labels[0] == 1] = 0  # a class that only the second image has
    p = logits.detach().softmax(1)
    pairs = [x for n in range(2) for x in dice_by_loops(p[n : n + 1], labels[n : n + 1], (0, 1))]
    assert len(pairs) == 3
    loss = soft_dice_loss(logits, labels, per_image=True)
    assert loss.item() == pytest.approx(sum(pairs) / 3, rel=1e-12)


def test_hand_worked_dice_and_its_gradient():
    # Four pixels, p = 1/2 everywhere, one of the class: 1 - (2 * 1/2 + 1) / (2 + 1 + 1) = 1/2.
    logits = torch.zeros(1, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[[0, 1], [1, 1]]])
    loss = soft_dice_loss(logits, labels)
    loss.backward()
    assert loss.item() == 0.5
    # d/dp of -(2 p0 + 1) / (sum p + 2) is -2/4 at the class's pixel and +2/16 at each; dp/dz = 1/4.
    expected = torch.tensor([[1 / 8 - 1 / 2, 1 / 8], [1 / 8, 1 / 8]], dtype=torch.float64) / 4
    torch.testing.assert_close(logits.grad[0, 0], expected)


def test_gradients_agree_with_finite_differences(logits, labels):
    assert torch.autograd.gradcheck(lambda x: soft_dice_loss(x, labels), logits)
    assert torch.autograd.gradcheck(lambda x: pixel_cross_entropy(x, labels, WEIGHTS, 1.5), logits)


def test_classes_that_are_not_there_do_not_count_in_dice(logits, labels):
    """A class without a pixel, however probable, changes nothing; a false pixel is CE's affair."""
    labels[labels == 1] = 2
    only = dice_by_loops(logits.detach().softmax(1), labels, (0,))
    assert soft_dice_loss(logits, labels).item() == pytest.approx(only[0], rel=1e-12)


@pytest.mark.parametrize("label", [2, IGNORE])
@pytest.mark.parametrize("per_image", [False, True])
def test_dice_without_any_class_is_zero_and_connected(logits, label, per_image):
    labels = torch.full((2, 4, 5), label)
    loss = soft_dice_loss(logits, labels, per_image=per_image)
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_without_a_pixel_that_counts_the_cross_entropy_is_zero_and_connected(logits):
    loss = pixel_cross_entropy(logits, torch.full((2, 4, 5), IGNORE), WEIGHTS, 2.0)
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def losses_of(logits, labels, weights=None, **options):
    yield pixel_cross_entropy(logits, labels, weights)
    yield pixel_cross_entropy(logits, labels, weights, 2.0)
    yield soft_dice_loss(logits, labels, background=True)
    yield soft_dice_loss(logits, labels, per_image=True)


def test_ignored_pixels_have_no_say(logits, labels):
    ignored = (labels == IGNORE)[:, None]
    others = logits.detach().masked_fill(ignored, 77.0)
    for a, b in zip(losses_of(logits, labels), losses_of(others, labels), strict=True):
        assert a == b
        (grad,) = torch.autograd.grad(a, logits)
        assert grad.masked_select(ignored).eq(0).all()
        assert grad.masked_select(~ignored).ne(0).any()


def test_permuted_classes_and_images_change_nothing(logits, labels):
    order = torch.tensor([1, 0, 2])  # the background stays last
    names = torch.tensor([1, 0, 2] + [IGNORE] * 253)
    shuffled, renamed = logits[:, order].flip(0), names[labels].flip(0)
    pairs = zip(
        losses_of(logits, labels, WEIGHTS),
        losses_of(shuffled, renamed, WEIGHTS[order]),
        strict=True,
    )
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)


def test_one_channel_is_a_softmax_of_two_with_the_other_at_zero(logits, labels):
    z, labels = logits[:, :1], labels.where(labels != 2, 1)  # 0 the class, 1 the background
    both = torch.cat([z, torch.zeros_like(z)], dim=1)
    weights = WEIGHTS[:2]
    for a, b in zip(losses_of(z, labels, weights), losses_of(both, labels, weights), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)
    counted = labels != IGNORE
    truth = (labels == 0).double()[counted]
    expected = F.binary_cross_entropy_with_logits(z[:, 0][counted], truth)
    torch.testing.assert_close(pixel_cross_entropy(z, labels), expected, rtol=1e-12, atol=0)


def test_half_precision_logits_are_summed_in_single():
    """A sum over 90,000 pixels would overflow in float16 and stall in bfloat16."""
    for dtype in (torch.float16, torch.bfloat16):
        logits = torch.zeros(1, 2, 300, 300, dtype=dtype, requires_grad=True)
        labels = torch.zeros(1, 300, 300, dtype=torch.int64)
        loss = SemanticLoss(1)([logits], labels)
        assert {x.dtype for x in loss.values()} == {torch.float32}
        assert loss["loss_ce"].item() == pytest.approx(math.log(2), rel=1e-6)
        assert loss["loss_dice"].item() == pytest.approx(1 - 90001 / 135001, rel=1e-5)
        sum(loss.values()).backward()
        assert logits.grad.isfinite().all()


def test_entries_and_weights(logits, labels):
    plain = SemanticLoss(2)([logits], labels)
    assert list(plain) == ["loss_ce", "loss_dice"]
    torch.testing.assert_close(plain["loss_ce"], pixel_cross_entropy(logits, labels))
    torch.testing.assert_close(plain["loss_dice"], soft_dice_loss(logits, labels))
    scaled = SemanticLoss(2, ce_weight=3, dice_weight=0.5)([logits], labels)
    torch.testing.assert_close(scaled["loss_ce"], 3 * plain["loss_ce"])
    torch.testing.assert_close(scaled["loss_dice"], plain["loss_dice"] / 2)
    assert list(SemanticLoss(2, dice_weight=0)([logits], labels)) == ["loss_ce"]
    assert list(SemanticLoss(2, ce_weight=0)([logits], labels)) == ["loss_dice"]
    weighted = SemanticLoss(2, class_weights=[0.5, 2], background_weight=3, focal_gamma=1)
    expected = pixel_cross_entropy(logits, labels, WEIGHTS, 1.0)
    torch.testing.assert_close(weighted([logits], labels)["loss_ce"], expected)
    assert not weighted.state_dict()


def test_other_outputs_are_summed_under_their_own_entry(logits, labels):
    loss = SemanticLoss(2, side_weight=0.5)
    outputs = [logits, logits * 2, -logits]
    losses = loss(outputs, labels)
    assert list(losses) == ["loss_ce", "loss_dice", "loss_side"]
    alone = [sum(loss([x], labels).values()) for x in outputs]
    torch.testing.assert_close(losses["loss_ce"] + losses["loss_dice"], alone[0])
    torch.testing.assert_close(losses["loss_side"], 0.5 * (alone[1] + alone[2]))
    assert "loss_side" not in SemanticLoss(2, side_weight=0)(outputs, labels)


def test_mistakes_are_told(logits, labels):
    with pytest.raises(UserError, match="2 numbers for 3 classes"):
        SemanticLoss(3, class_weights=[1, 2])
    with pytest.raises(UserError, match="must be numbers >= 0, got"):
        SemanticLoss(2, class_weights=[1, -2])
    with pytest.raises(UserError, match="focal_gamma=-1 must be a number of at least 0"):
        SemanticLoss(2, focal_gamma=-1)
    with pytest.raises(UserError, match="dice_weight=nan must be"):
        SemanticLoss(2, dice_weight=float("nan"))
    with pytest.raises(UserError, match="both 0"):
        SemanticLoss(2, ce_weight=0, dice_weight=0)
    with pytest.raises(UserError, match=r"gives 3 channels, and 5 classes .* need 6; leave"):
        SemanticLoss(5)([logits], labels)
    with pytest.raises(UserError, match=r"gives 3 channels, and 1 classes .* need 2 \(or 1\)"):
        SemanticLoss(1)([logits], labels)
    with pytest.raises(UserError, match="gives 1 channels"):
        SemanticLoss(2)([logits, logits[:, :1]], labels)
