import project  # noqa: F401  isort: skip

import pytest
import torch
from detectron2.structures import ImageList

CASES = {
    "d0": {},
    "d32": {"size_divisibility": 32},
    "d4_pad7": {"size_divisibility": 4, "pad_value": 7.0},
    "square40_div16": {"padding_constraints": {"square_size": 40, "size_divisibility": 16}},
    "pc_div10": {"size_divisibility": 32, "padding_constraints": {"size_divisibility": 10}},
    "single_d8": {"size_divisibility": 8, "pad_value": 2.0},
}


@pytest.fixture(scope="module")
def arrays(golden):
    return {k: torch.from_numpy(v) for k, v in golden.npz("image_list").items()}


@pytest.fixture
def images(arrays):
    return [arrays[f"in_{i}"] for i in range(3)]


@pytest.mark.parametrize("case", CASES)
def test_batches_match_golden(arrays, images, case):
    batch = ImageList.from_tensors(images[:1] if "single" in case else images, **CASES[case])
    torch.testing.assert_close(batch.tensor, arrays[f"out_{case}"], rtol=0, atol=0)
    assert [list(s) for s in batch.image_sizes] == arrays[f"out_sizes_{case}"].tolist()
    assert batch.tensor.is_contiguous()


def test_indexing_takes_the_padding_away(arrays, images):
    batch = ImageList.from_tensors(images, 32)
    torch.testing.assert_close(batch[1], arrays["out_getitem1"], rtol=0, atol=0)
    assert len(batch) == 3
    assert all(torch.equal(batch[i], image) for i, image in enumerate(images))


def test_dtype_and_leading_dimensions_are_kept():
    batch = ImageList.from_tensors([torch.ones(3, 4, dtype=torch.uint8)], 4, pad_value=9)
    assert batch.tensor.tolist() == [[[1] * 4] * 3 + [[9] * 4]]
    assert batch.tensor.dtype == torch.uint8
    assert batch.to(torch.float64).tensor.dtype == torch.float64
    assert batch.to("cpu").device == torch.device("cpu")


def test_gradients_pass_to_the_images():
    images = [torch.ones(1, 2, 3, requires_grad=True), torch.ones(1, 3, 2, requires_grad=True)]
    (ImageList.from_tensors(images).tensor * 5).sum().backward()
    assert all((image.grad == 5).all() for image in images)


def test_bad_lists_are_refused():
    with pytest.raises(AssertionError):
        ImageList.from_tensors([])
    with pytest.raises(AssertionError):
        ImageList.from_tensors([torch.zeros(3, 4, 4), torch.zeros(1, 4, 4)])
