import project  # noqa: F401  isort: skip

import threading

import pytest
import torch
import torch.nn.functional as F
from detectron2.layers import (
    BatchNorm2d,
    CNNBlockBase,
    Conv2d,
    ConvTranspose2d,
    FrozenBatchNorm2d,
    Linear,
    NaiveSyncBatchNorm,
    ShapeSpec,
    batched_nms,
    cat,
    ciou_loss,
    cross_entropy,
    diou_loss,
    get_norm,
    interpolate,
    nms,
    nonzero_tuple,
)
from torch import nn

STATE = ("weight", "bias", "running_mean", "running_var")
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def arrays(golden):
    return {k: torch.from_numpy(v) for k, v in golden.npz("norm_layers").items()}


@pytest.fixture(scope="module")
def facts(golden):
    return golden.json("norm_layers")


@pytest.fixture(scope="module")
def state(arrays):
    return {name: arrays[f"in_{name}"] for name in STATE}


def test_frozen_norm_matches_golden(arrays, facts, state):
    norm = FrozenBatchNorm2d(32)
    assert list(norm.state_dict()) == facts["state_dict_keys_frozen"]
    assert len(list(norm.parameters())) == facts["trainable_parameters_frozen"]
    assert norm._version == facts["version"]
    torch.testing.assert_close(norm.running_var, arrays["out_default_running_var"], **CLOSE)
    norm.load_state_dict(state)
    x = arrays["in_x"]
    torch.testing.assert_close(norm(x), arrays["out_frozen"], **CLOSE)
    x = x.clone().requires_grad_()
    y = norm(x)
    y.square().sum().backward()
    torch.testing.assert_close(y, arrays["out_frozen_grad"], **CLOSE)
    torch.testing.assert_close(x.grad, arrays["out_dx"], **CLOSE)


def test_a_new_frozen_norm_is_the_identity():
    x = torch.randn(2, 3, 4, 5)
    norm = FrozenBatchNorm2d(3, eps=1e-3)
    torch.testing.assert_close(norm(x), x, **CLOSE)
    torch.testing.assert_close(norm(x.clone().requires_grad_()), x, **CLOSE)
    assert repr(norm) == "FrozenBatchNorm2d(num_features=3, eps=0.001)"


def test_frozen_norm_keeps_the_input_dtype_and_memory_format():
    x = torch.randn(2, 3, 4, 5).to(torch.bfloat16, memory_format=torch.channels_last)
    y = FrozenBatchNorm2d(3)(x.requires_grad_())
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_old_states_may_lack_statistics(arrays, facts, state):
    norm = FrozenBatchNorm2d(32)
    partial = {name: state[name] for name in ("weight", "bias")}
    result = norm.load_state_dict(partial, strict=False)
    assert result.missing_keys == facts["partial_load_missing_keys"]
    assert list(partial) == ["weight", "bias"]
    torch.testing.assert_close(norm.running_var, arrays["out_running_after_partial_load"])
    assert norm.running_mean.eq(0).all()
    # A state that knows its version must be complete.
    versioned = FrozenBatchNorm2d(32).state_dict()
    del versioned["running_mean"]
    assert norm.load_state_dict(versioned, strict=False).missing_keys == ["running_mean"]


def test_conversion_matches_golden(arrays, facts, state):
    norm = nn.BatchNorm2d(32, eps=1e-3)
    norm.load_state_dict({**state, "num_batches_tracked": torch.tensor(7)})
    stack = nn.Sequential(nn.Conv2d(3, 32, 1), norm)
    converted = FrozenBatchNorm2d.convert_frozen_batchnorm(stack)
    assert (converted is stack) == facts["convert_returns_same_container"]
    assert converted[1].eps == facts["converted_eps"]
    assert int(converted[1].num_batches_tracked) == facts["converted_num_batches_tracked"]
    torch.testing.assert_close(converted[1](arrays["in_x"]), arrays["out_converted"], **CLOSE)


def test_conversion_reaches_nested_norms_and_copies():
    inner = nn.Sequential(nn.SyncBatchNorm(4), nn.ReLU())
    outer = FrozenBatchNorm2d.convert_frozen_batchnorm(nn.ModuleDict({"a": inner}))
    assert isinstance(outer["a"][0], FrozenBatchNorm2d)
    bare = nn.BatchNorm2d(4)
    frozen = FrozenBatchNorm2d.convert_frozen_batchnorm(bare)
    assert isinstance(frozen, FrozenBatchNorm2d)
    frozen.weight.fill_(5)
    assert bare.weight.eq(1).all()
    assert not list(frozen.parameters())


def test_norm_names_match_golden(arrays, facts):
    for name, wanted in facts["get_norm"].items():
        norm = get_norm(None if name == "None" else name, 32)
        if wanted is None:
            assert norm is None
            continue
        assert type(norm).__name__ == wanted["class"]
        assert norm.eps == wanted["eps"]
        if "num_groups" in wanted:
            assert norm.num_groups == wanted["num_groups"]
    assert isinstance(get_norm(nn.Identity, 5), nn.Identity)
    for name in ("LN", "GN"):
        out = get_norm(name, 32)(arrays["in_x"])
        torch.testing.assert_close(out, arrays[f"out_{name.lower()}"], **CLOSE)


def test_error_types_match_golden(facts):
    calls = {"unknown norm": lambda: get_norm("XX", 3), "cat of tensor": lambda: cat(torch.ones(2))}
    assert set(calls) == set(facts["errors"])
    for name, call in calls.items():
        with pytest.raises(Exception) as caught:
            call()
        assert type(caught.value).__name__ == facts["errors"][name]


def test_convolution_with_norm_and_activation_matches_golden(arrays, facts):
    conv = Conv2d(32, 4, 3, padding=1, bias=False, norm=nn.BatchNorm2d(4), activation=F.relu)
    assert list(conv.state_dict()) == facts["conv_wrapper_keys"]
    conv.weight.data.copy_(arrays["in_conv_weight"])
    torch.testing.assert_close(conv.eval()(arrays["in_x"]), arrays["out_conv"], **CLOSE)


def test_layers_take_empty_batches():
    conv = Conv2d(3, 4, 3, stride=2, padding=1, norm=get_norm("FrozenBN", 4), activation=F.relu)
    assert conv(torch.zeros(0, 3, 8, 8)).shape == (0, 4, 4, 4)
    assert ConvTranspose2d(3, 4, 2, stride=2)(torch.zeros(0, 3, 8, 8)).shape == (0, 4, 16, 16)
    assert Linear(3, 4)(torch.zeros(0, 3)).shape == (0, 4)
    assert BatchNorm2d(3).eval()(torch.zeros(0, 3, 2, 2)).shape == (0, 3, 2, 2)
    assert interpolate(torch.ones(1, 1, 2, 2), scale_factor=2).shape == (1, 1, 4, 4)


def test_small_helpers(facts):
    x = torch.tensor([[0, 3], [4, 0]])
    assert (cat([x]) is x) == facts["cat_single_is_same_object"]
    assert cat((x, x), dim=1).shape == (2, 4)
    assert [i.tolist() for i in nonzero_tuple(x)] == [[0, 1], [1, 0]]
    assert [i.tolist() for i in nonzero_tuple(torch.tensor(5))] == [[0]]
    assert ShapeSpec(channels=3) == ShapeSpec(3, None, None, None)


def test_cross_entropy_of_nothing_is_zero(facts):
    logits = torch.zeros(0, 3, requires_grad=True)
    loss = cross_entropy(logits, torch.zeros(0, dtype=torch.long))
    assert float(loss.detach()) == facts["cross_entropy_empty"]
    loss.backward()
    assert logits.grad.shape == (0, 3)


def test_cross_entropy_is_torchs_otherwise():
    logits, target = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    assert cross_entropy(logits, target) == F.cross_entropy(logits, target)
    losses = cross_entropy(logits, target, reduction="none")
    assert torch.equal(losses, F.cross_entropy(logits, target, reduction="none"))


def test_block_freezes_itself():
    class Block(CNNBlockBase):
        def __init__(self):
            super().__init__(3, 4, 2)
            self.conv = Conv2d(3, 4, 1, norm=nn.BatchNorm2d(4))

    block = Block()
    assert (block.in_channels, block.out_channels, block.stride) == (3, 4, 2)
    assert block.freeze() is block
    assert isinstance(block.conv.norm, FrozenBatchNorm2d)
    assert not any(p.requires_grad for p in block.parameters())


# ------------------------------------------------------------------------------ suppression


def test_suppression_matches_golden(golden):
    arrays = {k: torch.from_numpy(v) for k, v in golden.npz("nms_and_inference").items()}
    boxes, scores, idxs = arrays["in_boxes"], arrays["in_scores"], arrays["in_idxs"]
    for threshold in (0.3, 0.5, 0.9):
        keep = batched_nms(boxes, scores, idxs, threshold)
        assert torch.equal(keep, arrays[f"keep_{threshold}"])
    keep = batched_nms(boxes[:0], scores[:0], idxs[:0], 0.5)
    assert torch.equal(keep, arrays["keep_empty"])


def test_suppression_by_hand():
    # IoU of the first two is 1/3; equal to the threshold isn't above it
    boxes = torch.tensor([[0, 0, 2, 2], [0, 0, 2, 6], [9.0, 9, 10, 10]])
    scores, groups = torch.tensor([0.1, 0.9, 0.5]), torch.tensor([0, 0, 1])
    assert nms(boxes, scores, 0.34).tolist() == [1, 2, 0]
    assert nms(boxes, scores, 0.3).tolist() == [1, 2]
    assert batched_nms(boxes, scores, groups, 0.3).tolist() == [1, 2]
    assert batched_nms(boxes, scores, torch.tensor([0, 1, 1]), 0.3).tolist() == [1, 2, 0]
    half = batched_nms(boxes.half(), scores, torch.tensor([1000, 1001, 1001]), 0.3)
    assert half.tolist() == [1, 2, 0]


# ----------------------------------------------------------------------------------- losses


def random_boxes(seed: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    start = torch.rand(20, 2, generator=g) * 10
    return torch.cat([start, start + 0.5 + torch.rand(20, 2, generator=g) * 10], 1)


def test_losses_equal_torchvisions():
    from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss

    target = random_boxes(1)
    for ours, theirs in ((diou_loss, distance_box_iou_loss), (ciou_loss, complete_box_iou_loss)):
        for reduction in ("none", "mean", "sum"):
            a, b = (random_boxes(0).requires_grad_() for _ in range(2))
            loss, wanted = ours(a, target, reduction), theirs(b, target, reduction)
            torch.testing.assert_close(loss, wanted)
            loss.sum().backward()
            wanted.sum().backward()
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)


def test_losses_by_hand():
    a, b = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[2.0, 0, 6, 4]])
    # no overlap; centres (1, 1) and (4, 2), enclosing box 6 x 4; both square
    assert diou_loss(a, b).tolist() == pytest.approx([1 + 10 / 52])
    assert ciou_loss(a, b).tolist() == pytest.approx([1 + 10 / 52])
    assert diou_loss(a, a).tolist() == pytest.approx([0], abs=1e-6)


def test_losses_of_nothing():
    for loss in (diou_loss, ciou_loss):
        boxes = torch.zeros(0, 4, requires_grad=True)
        assert loss(boxes, torch.zeros(0, 4)).shape == (0,)
        mean = loss(boxes, torch.zeros(0, 4), reduction="mean")
        assert mean.detach() == 0
        mean.backward()


# ----------------------------------------------------------------------- norms over processes


class FakeProcesses:
    """Threads in place of processes: `all_reduce` sums over threads."""

    def __init__(self, count: int):
        self.count, self.parts = count, [None] * count
        self.barrier = threading.Barrier(count, timeout=20)
        self.rank = threading.local()

    def all_reduce(self, tensor, *args, **kwargs):
        self.parts[self.rank.value] = tensor.clone()
        self.barrier.wait()
        tensor.copy_(sum(self.parts))
        self.barrier.wait()

    def run(self, function):
        results = [None] * self.count

        def work(rank):
            self.rank.value = rank
            results[rank] = function(rank)

        threads = [threading.Thread(target=work, args=(r,)) for r in range(self.count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


@pytest.mark.bundled
@pytest.mark.parametrize("mode, sizes", [("", (2, 2)), ("N", (1, 3)), ("N", (2, 0))])
def test_synchronised_norm_equals_one_batch(monkeypatch, mode, sizes):
    world = FakeProcesses(len(sizes))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda *a: world.count)
    monkeypatch.setattr(torch.distributed, "all_reduce", world.all_reduce)
    g = torch.Generator().manual_seed(0)
    x = torch.randn(sum(sizes), 3, 4, 5, generator=g) * 2 + 1
    grad = torch.randn(x.shape, generator=g)

    def run(rank):
        norm = NaiveSyncBatchNorm(3, stats_mode=mode)
        part = x.split(sizes)[rank].clone().requires_grad_()
        out = norm(part)
        out.backward(grad.split(sizes)[rank])
        return out.detach(), part.grad, norm.weight.grad, norm.running_mean

    outs, grads, weight_grads, means = zip(*world.run(run), strict=True)
    reference, whole = nn.BatchNorm2d(3), x.clone().requires_grad_()
    out = reference(whole)
    out.backward(grad)
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(torch.cat(outs), out.detach(), **close)
    torch.testing.assert_close(torch.cat(grads), whole.grad, **close)
    torch.testing.assert_close(sum(weight_grads), reference.weight.grad, **close)
    for mean in means:
        torch.testing.assert_close(mean, reference.running_mean, **close)


def test_synchronised_norm_in_one_process_is_batch_norm():
    x = torch.randn(2, 3, 4, 5)
    for norm in (NaiveSyncBatchNorm(3), NaiveSyncBatchNorm(3, stats_mode="N")):
        torch.testing.assert_close(norm(x), nn.BatchNorm2d(3)(x))
        assert norm.num_batches_tracked == 1
    with pytest.raises(AssertionError):
        NaiveSyncBatchNorm(3, stats_mode="M")


def test_norm_comes_before_activation():
    norm = FrozenBatchNorm2d(1)
    norm.bias.fill_(-1.0)
    conv = Conv2d(1, 1, 1, bias=False, norm=norm, activation=F.relu)
    nn.init.ones_(conv.weight)
    out = conv(torch.tensor([0.5, 3.0]).view(1, 1, 1, 2))
    torch.testing.assert_close(out.flatten(), torch.tensor([0.0, 2.0]))
