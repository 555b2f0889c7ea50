"""What is packed comes out as it was, over the border between processes too."""

from __future__ import annotations

import gc
import pickle
from multiprocessing.reduction import ForkingPickler

from project.data.catalog import subset_dicts
from project.data.mapper import InstanceMapper
from project.data.transport import ALIGNMENT, Packed, pack, unpack

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from torch.utils.data import DataLoader

MAPPED = ("bitmask", "polygon")


def same(one, other):
    """Whether two model inputs are alike in every type, shape, dtype and number."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert torch.equal(one, other)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            same(a, b)
    elif hasattr(one, "__dict__"):
        same(vars(one), vars(other))
    else:
        assert one == other


@pytest.fixture(scope="module", params=MAPPED)
def mapped(request, tiny_root):
    mapper = InstanceMapper(True, augmentations=[T.Resize(64)], mask_format=request.param)
    return [mapper(record) for record in subset_dicts("tiny", "train", tiny_root)[:3]]


def test_model_inputs_come_back(mapped):
    same(unpack(pack(mapped)), mapped)


def test_tensors_are_aligned_views_of_one_buffer(mapped):
    packed = pack(mapped)
    assert packed.memory.is_shared()
    first = packed.memory.data_ptr()
    for record in unpack(packed):
        found = record["instances"]
        for tensor in (record["image"], found.gt_boxes.tensor, found.gt_classes):
            assert first <= tensor.data_ptr() < first + len(packed.memory)
            assert (tensor.data_ptr() - first) % ALIGNMENT == 0
            assert tensor.is_contiguous()


def test_one_handle_crosses_the_border(mapped):
    message = bytes(ForkingPickler.dumps(pack(mapped)))
    pixels = sum(record["image"].nbytes for record in mapped)
    assert len(message) < pixels / 2
    assert message.count(b"rebuild_storage_fd") + message.count(b"rebuild_storage_filename") == 1


def test_what_comes_out_may_be_written_and_kept():
    images = unpack(pack([{"image": torch.zeros(3, 5, 7)}, {"image": torch.ones(2)}]))
    kept = images[0]["image"]
    kept += 2
    assert images[1]["image"].tolist() == [1, 1]
    del images
    gc.collect()
    assert kept.unique().tolist() == [2]


class Foreign:
    """Something of somebody else's."""

    def __init__(self, values):
        self.values = values


@pytest.mark.parametrize(
    "thing",
    [
        [],
        [{"a": 1, "b": None, "text": "é", "raw": b"x" * 100}],
        [torch.zeros(0, 4), np.zeros((0, 3), bool), torch.tensor(2.5), np.float32(3)],
        [torch.arange(12).reshape(3, 4).T, np.arange(9.0)[::-2], torch.arange(5)[::2]],
        [torch.ones(2, dtype=torch.bfloat16), torch.ones(3, dtype=torch.complex64).conj()],
        [torch.ones(2, requires_grad=True), torch.nn.Parameter(torch.ones(2))],
        [torch.eye(3).to_sparse().to_dense(), np.array([1, "a", None], dtype=object)],
        [Foreign({"deep": [torch.arange(3), (np.arange(4, dtype=np.int16),)]})],
        {"batch": torch.ones(4)},
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_anything_comes_back(thing):
    same(unpack(pack(thing)), thing)


def test_one_object_in_two_places_stays_one():
    tensor = torch.arange(3)
    first, second = unpack(pack([tensor, tensor]))
    assert first is second


def test_sparse_tensors_take_torchs_way():
    (found,) = unpack(pack([torch.eye(3).to_sparse()]))
    assert found.is_sparse
    assert torch.equal(found.to_dense(), torch.eye(3))


def test_arrays_that_are_read_only_stay_so():
    array = np.arange(5)
    array.flags.writeable = False
    (found,) = unpack(pack([array]))
    assert not found.flags.writeable


def test_what_cant_be_pickled_is_told():
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pack([lambda: None])


def test_a_loader_process_hands_it_over(mapped):
    packed = list(DataLoader(mapped, batch_size=2, num_workers=1, collate_fn=pack))
    assert all(isinstance(batch, Packed) for batch in packed)
    same([record for batch in packed for record in unpack(batch)], mapped)
