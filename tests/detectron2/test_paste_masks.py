import project  # noqa: F401  isort: skip

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.layers import paste_masks_in_image
from detectron2.layers.mask_ops import paste_masks_in_image as same_function
from detectron2.structures import Boxes


@pytest.fixture(scope="module")
def arrays(golden):
    return {k: torch.from_numpy(v) for k, v in golden.npz("postprocess").items()}


@pytest.fixture(scope="module")
def pasteable(arrays):
    """Masks and boxes of the paste cases: those with a width."""
    wide = arrays["in_boxes"][:, 2] > arrays["in_boxes"][:, 0]
    return arrays["in_masks"][wide], arrays["in_boxes"][wide]


@pytest.mark.parametrize("threshold, wrap", [(0.5, torch.Tensor.clone), (0.3, Boxes)])
def test_pasted_masks_match_golden(arrays, pasteable, threshold, wrap):
    masks, boxes = pasteable
    shape = arrays["paste_shape"].tolist()
    bits = arrays[f"paste_0{round(10 * threshold)}"].numpy()
    wanted = torch.from_numpy(np.unpackbits(bits)[: np.prod(shape)].reshape(shape)).bool()
    out = paste_masks_in_image(masks, wrap(boxes), tuple(shape[1:]), threshold=threshold)
    assert out.dtype == torch.bool
    assert (out != wanted).float().mean() <= 0.001


def test_soft_masks_match_golden(arrays, pasteable):
    out = paste_masks_in_image(*pasteable, tuple(arrays["paste_shape"][1:].tolist()), threshold=-1)
    assert out.dtype == torch.uint8
    assert (out.int() - arrays["paste_soft"].int()).abs().max() <= 1


def test_non_square_masks_are_refused(golden):
    with pytest.raises(Exception) as caught:
        paste_masks_in_image(torch.zeros(1, 3, 4), torch.zeros(1, 4), (5, 5))
    assert type(caught.value).__name__ == golden.json("postprocess")["non square"]
    with pytest.raises(AssertionError):
        paste_masks_in_image(torch.zeros(2, 3, 3), torch.zeros(1, 4), (5, 5))


@pytest.mark.bundled
def test_no_masks_are_bool():
    out = paste_masks_in_image(torch.zeros(0, 28, 28), torch.zeros(0, 4), (6, 7))
    assert out.shape == (0, 6, 7)
    assert out.dtype == torch.bool


def test_equals_grid_sample_near_the_box():
    g = torch.Generator().manual_seed(0)
    masks = torch.rand(20, 9, 9, generator=g)
    start = torch.rand(20, 2, generator=g) * 60 - 15
    boxes = torch.cat([start, start + 0.5 + torch.rand(20, 2, generator=g) * 40], 1)
    height, width = 40, 50
    x0, y0, x1, y1 = (b[:, None] for b in boxes.unbind(1))
    u = 2 * (torch.arange(width) + 0.5 - x0) / (x1 - x0) - 1
    v = 2 * (torch.arange(height) + 0.5 - y0) / (y1 - y0) - 1
    grid = torch.stack(
        [u[:, None].expand(-1, height, -1), v[:, :, None].expand(-1, -1, width)], dim=3
    )
    wanted = F.grid_sample(masks[:, None], grid, align_corners=False)[:, 0]
    out = paste_masks_in_image(masks, boxes, (height, width))
    clear = (wanted - 0.5).abs() > 1e-4
    assert torch.equal(out[clear], (wanted >= 0.5)[clear])
    assert out.any(dim=(1, 2)).sum() > 10


def test_by_hand():
    mask = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    # Each mask pixel covers 2 x 2 image pixels. Along one axis the image pixels see mask
    # coordinates -0.25, 0.25, 0.75, 1.25 and with them 0.75, 0.75, 0.25, 0 of the first one.
    soft = paste_masks_in_image(mask, torch.tensor([[1.0, 1, 5, 5]]), (7, 8), threshold=-1)
    weights = torch.tensor([0, 0.75, 0.75, 0.25, 0, 0, 0, 0])
    weights[0] = 0.25  # one pixel outside of the box: half of a mask pixel fades out there
    wanted = (weights[:7, None] * weights * 255).to(torch.uint8)
    assert torch.equal(soft[0], wanted)
    hard = paste_masks_in_image(mask, torch.tensor([[1.0, 1, 5, 5]]), (7, 8))
    assert hard[0].nonzero().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]


@pytest.mark.bundled
def test_boxes_without_extent_or_off_the_image_leave_nothing():
    boxes = torch.tensor(
        [[3.0, 3, 3, 9], [4, 4, 4, 4], [5, 5, 2, 2], [-9, -9, -3, -3], [50, 50, 60, 60]]
    )
    out = paste_masks_in_image(torch.ones(5, 4, 4), boxes, (10, 10))
    assert not out.any()


def test_many_masks_equal_single_ones():
    g = torch.Generator().manual_seed(2)
    masks = torch.rand(5, 6, 6, generator=g)
    boxes = torch.tensor(
        [[1.0, 2, 9, 9], [0, 0, 12, 11], [3, 3, 4, 4], [-5, 2, 6, 20], [7, 7, 9, 8]]
    )
    together = paste_masks_in_image(masks, boxes, (11, 12))
    alone = [
        paste_masks_in_image(m[None], b[None], (11, 12)) for m, b in zip(masks, boxes, strict=True)
    ]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.bundled
def test_masks_in_half_precision_and_with_gradient():
    masks = torch.rand(2, 5, 5).requires_grad_()
    boxes = torch.tensor([[0.0, 0, 8, 8], [2, 2, 7, 7]])
    out = paste_masks_in_image(masks.bfloat16(), boxes, (9, 9))
    assert torch.equal(out, paste_masks_in_image(masks.bfloat16().float(), boxes, (9, 9)))
    assert not out.requires_grad


def test_submodule_has_the_function():
    assert same_function is paste_masks_in_image


@pytest.mark.bundled
def test_the_way_of_a_gpu_gives_the_same(pasteable, monkeypatch):
    """Whole images at once, in as many pieces as memory asks for; here on the CPU."""
    from detectron2.layers import mask_ops

    masks, boxes = pasteable
    boxes = torch.cat([boxes, torch.tensor([[9.0, 9.0, 9.0, 30.0]])])  # and one without width
    masks = torch.cat([masks, masks[:1]])
    expected = paste_masks_in_image(masks, boxes, (80, 100))
    calls = []
    monkeypatch.setattr(mask_ops, "_CHUNK_BYTES", 4 * 80 * 100 * 3)
    monkeypatch.setattr(
        mask_ops,
        "_paste_windows",
        lambda canvas, *rest: calls.append(len(canvas)) or mask_ops._paste_whole(canvas, *rest),
    )
    assert (paste_masks_in_image(masks, boxes, (80, 100)) != expected).float().mean() <= 1e-4
    assert calls == [3, 3, 1]


@pytest.mark.gpu
def test_gpu_equals_cpu(pasteable):
    masks, boxes = pasteable
    for threshold in (0.5, -1):
        cpu = paste_masks_in_image(masks, boxes, (80, 100), threshold).int()
        gpu = paste_masks_in_image(masks.cuda(), boxes.cuda(), (80, 100), threshold).cpu().int()
        assert ((cpu - gpu).abs() > (threshold < 0)).float().mean() <= 0.001


def test_values_at_the_threshold_are_foreground():
    out = paste_masks_in_image(torch.full((1, 2, 2), 0.5), torch.tensor([[1.0, 1, 5, 5]]), (7, 7))
    assert out[0].nonzero().tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]
