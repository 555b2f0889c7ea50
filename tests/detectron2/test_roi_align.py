import project  # noqa: F401  isort: skip

import pytest
import torch
from detectron2.layers import ROIAlign, roi_align

NEAR = {"rtol": 2e-5, "atol": 2e-5}


def reference(*args):
    import torchvision

    return torchvision.ops.roi_align(*args)


def make_rois(count: int, images: int, seed: int = 0) -> torch.Tensor:
    """Boxes in, across and off a map of 13 x 17 cells at scale 1/4: tiny, empty, huge, inverted."""
    g = torch.Generator().manual_seed(seed)
    start = torch.rand(count, 2, generator=g) * 100 - 25
    side = torch.exp(torch.rand(count, 2, generator=g) * 6 - 1)
    rois = torch.cat([torch.zeros(count, 1), start, start + side], 1)
    rois[:, 0] = torch.randint(images, (count,), generator=g)
    rois[0, 3:] = rois[0, 1:3]  # no extent
    rois[1, 1:] = torch.tensor([400.0, 400, 500, 500])  # nowhere
    rois[2, 1:] = torch.tensor([-4.0, -4, 72, 56])  # edges where samples begin to count
    rois[3, 1:] = torch.tensor([0.0, 0, 68, 52])  # the whole map
    rois[4, 1:] = torch.tensor([30.0, 30, 20, 22])  # inverted
    rois[5, 1:] = torch.tensor([16.0, 16, 24, 24])  # on the grid
    rois[6, 1:] = torch.tensor([-500.0, -500, 600, 600])
    return rois


@pytest.mark.parametrize("sampling", [0, 1, 2, -1])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("size", [(7, 7), (3, 5)])
def test_equals_torchvision_with_gradient(size, aligned, sampling):
    g = torch.Generator().manual_seed(1)
    x = torch.randn(2, 6, 13, 17, generator=g)
    rois = make_rois(60, 2)
    grad = torch.randn(60, 6, *size, generator=g)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    out = roi_align(ours, rois, size, 0.25, sampling, aligned)
    wanted = reference(theirs, rois, size, 0.25, sampling, aligned)
    out.backward(grad)
    wanted.backward(grad)
    torch.testing.assert_close(out, wanted, **NEAR)
    torch.testing.assert_close(ours.grad, theirs.grad, **NEAR)


def test_double_precision_equals_torchvision_closely():
    x = torch.randn(2, 3, 13, 17, dtype=torch.float64).requires_grad_()
    rois = make_rois(40, 2, seed=3).double()
    ours, theirs = (f(x, rois, 4, 0.25, 0, True) for f in (roi_align, reference))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    weights = torch.randn(ours.shape, dtype=torch.float64)
    (a,), (b,) = (torch.autograd.grad((y * weights).sum(), x) for y in (ours, theirs))
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_gradient_passes_the_numerical_check():
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, 0.3, 0.7, 4.1, 3.9], [0, -2, 1, 9, 3]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda t: roi_align(t, rois, (2, 3), 1.0, 0, True), x)


def test_channels_last_features_give_the_same():
    x, rois = torch.randn(2, 6, 13, 17), make_rois(20, 2)
    last = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(*(roi_align(t, rois, 7, 0.25, 2, True) for t in (x, last)))


@pytest.mark.bundled
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    x, rois = torch.randn(2, 3, 13, 17).to(dtype), make_rois(30, 2)
    out = roi_align(x, rois, 7, 0.25, 0, True)
    assert out.dtype == dtype
    assert torch.equal(out, roi_align(x.float(), rois, 7, 0.25, 0, True).to(dtype))


def test_boxes_may_come_as_a_list_per_image():
    x, rois = torch.randn(3, 2, 13, 17), make_rois(12, 1)
    boxes = [rois[:5, 1:], rois[:0, 1:], rois[5:, 1:]]
    image = torch.tensor([0.0] * 5 + [2.0] * 7)[:, None]
    out = roi_align(x, boxes, (2, 3), 0.25)
    torch.testing.assert_close(out, roi_align(x, torch.cat([image, rois[:, 1:]], 1), (2, 3), 0.25))
    torch.testing.assert_close(out, reference(x, boxes, (2, 3), 0.25), **NEAR)


def test_a_linear_ramp_is_sampled_exactly():
    """Bilinear sampling reproduces f(x, y) = 10 y + x; cell centres are at i + 0.5."""
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(9.0), indexing="ij")
    ramp = (10 * y + x)[None, None]
    out = roi_align(ramp, torch.tensor([[0, 2.0, 1, 6, 5]]), 2, 1.0, 0, True)[0, 0]
    # bins of 2 x 2 pixels centred on x = 3, 5 and y = 2, 4, less half a pixel
    wanted = torch.tensor([[10 * 1.5 + 2.5, 10 * 1.5 + 4.5], [10 * 3.5 + 2.5, 10 * 3.5 + 4.5]])
    torch.testing.assert_close(out, wanted)


def test_no_boxes():
    x = torch.randn(1, 2, 4, 4, requires_grad=True)
    out = roi_align(x, torch.zeros(0, 5), (3, 2), 1.0, 0, True)
    assert out.shape == (0, 2, 3, 2)
    out.sum().backward()
    assert x.grad.eq(0).all()
    assert roi_align(x, [torch.zeros(0, 4)], 2).shape == (0, 2, 2, 2)


def test_module_matches_golden(golden):
    arrays = {k: torch.from_numpy(v) for k, v in golden.npz("roi_pooler").items()}
    x, rois = arrays["in_f0"], arrays["in_rois"]
    close = {"rtol": 1e-4, "atol": 1e-5}
    aligned = ROIAlign((3, 5), 0.5, 0, aligned=True)
    torch.testing.assert_close(aligned(x, rois), arrays["out_roialign_aligned"], **close)
    legacy = ROIAlign((3, 5), 0.5, 2, aligned=False)
    torch.testing.assert_close(legacy(x, rois), arrays["out_roialign_legacy"], **close)
    assert "aligned=False" in repr(legacy)
    assert not list(aligned.parameters())
    with pytest.raises(AssertionError):
        aligned(x, rois[:, 1:])


@pytest.mark.gpu
def test_gpu_equals_cpu():
    x, rois = torch.randn(2, 6, 13, 17), make_rois(60, 2)
    out = roi_align(x.cuda(), rois.cuda(), 7, 0.25, 0, True)
    torch.testing.assert_close(
        out.cpu(), roi_align(x, rois, 7, 0.25, 0, True), rtol=1e-3, atol=1e-3
    )
    half = roi_align(x.cuda().bfloat16(), rois.cuda(), 7, 0.25, 0, True)
    assert half.dtype == torch.bfloat16
