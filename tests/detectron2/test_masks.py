import project  # noqa: F401  isort: skip

import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks, PolygonMasks, ROIMasks, polygons_to_bitmask

# pycocotools' own, with NumPy 2.4
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SQUARE = [1.0, 1, 5, 1, 5, 4, 1, 4]  # 4 x 3 pixels


@pytest.fixture(scope="module")
def arrays(golden):
    return {k: torch.from_numpy(v) for k, v in golden.npz("masks").items()}


@pytest.fixture(scope="module")
def polygons(golden):
    facts = golden.json("masks")
    return PolygonMasks([[np.array(part) for part in parts] for parts in facts["polygons"]])


@pytest.fixture(scope="module")
def bitmasks(golden, polygons):
    facts = golden.json("masks")
    return BitMasks.from_polygon_masks(polygons, facts["height"], facts["width"])


def test_polygon_facts_match_golden(arrays, polygons):
    torch.testing.assert_close(polygons.area(), arrays["out_area"], rtol=1e-9, atol=0)
    twice = PolygonMasks.cat([polygons, polygons[1:3]]).area()
    torch.testing.assert_close(twice, arrays["out_cat_area"], rtol=1e-9, atol=0)
    assert torch.equal(polygons.nonempty(), arrays["out_nonempty"])
    wanted = {
        "out_boxes": polygons,
        "out_index_mask_boxes": polygons[torch.tensor([True, False, True, False, False, True])],
        "out_index_list_boxes": polygons[[4, 1]],
        "out_index_int_boxes": polygons[2],
    }
    for name, masks in wanted.items():
        boxes = masks.get_bounding_boxes().tensor
        torch.testing.assert_close(boxes, arrays[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [14, 28])
def test_crops_match_golden(arrays, polygons, bitmasks, size):
    rois = arrays["in_rois"]
    assert torch.equal(polygons.crop_and_resize(rois, size), arrays[f"out_poly_crop{size}"])
    crops = bitmasks.crop_and_resize(rois, size)
    assert crops.dtype == torch.bool
    wrong = (crops != arrays[f"out_bm_crop{size}"]).float().mean()
    assert wrong <= 0.005  # ties at one half


def test_bitmask_facts_match_golden(arrays, bitmasks):
    shape = tuple(arrays["out_bitmask_shape"].tolist())
    bits = np.unpackbits(arrays["out_bitmasks"].numpy())[: np.prod(shape)].reshape(shape)
    empty = BitMasks(torch.zeros(1, *shape[1:], dtype=torch.bool))
    masks = BitMasks.cat([bitmasks, empty])
    assert torch.equal(masks.tensor, torch.from_numpy(bits.astype(bool)))
    assert torch.equal(masks.nonempty(), arrays["out_bm_nonempty"])
    assert torch.equal(masks.get_bounding_boxes().tensor, arrays["out_bm_boxes"])
    assert masks.image_size == shape[1:]


def test_empty_cases_match_golden(arrays):
    assert torch.equal(
        torch.from_numpy(polygons_to_bitmask([], 5, 6)), arrays["out_empty_poly_bitmask"]
    )
    none = PolygonMasks([])
    shape = none.crop_and_resize(torch.zeros(0, 4), 7).shape
    assert list(shape) == arrays["out_empty_crop_shape"].tolist()
    assert none.area().shape == (0,)
    assert none.get_bounding_boxes().tensor.shape == (0, 4)
    assert none.nonempty().dtype == torch.bool
    assert BitMasks.from_polygon_masks(none, 4, 5).tensor.shape == (0, 4, 5)


def test_error_types_match_golden(golden, arrays, polygons):
    calls = {
        "4 coords": lambda: PolygonMasks([[np.arange(4.0)]]),
        "odd": lambda: PolygonMasks([[np.arange(7.0)]]),
        "not a list": lambda: PolygonMasks(np.zeros((1, 1, 6))),
        "inner not list": lambda: PolygonMasks([np.zeros((1, 6))]),
        "len mismatch": lambda: polygons.crop_and_resize(arrays["in_rois"][:2], 14),
        "BitMasks 2d": lambda: BitMasks(np.zeros((3, 3))),
        "float index": lambda: polygons[torch.zeros(3)],
    }
    expected = golden.json("masks")["errors"]
    assert set(calls) == set(expected)
    for name, call in calls.items():
        with pytest.raises(Exception) as caught:
            call()
        assert type(caught.value).__name__ == expected[name], name


def random_polygons(seed: int, count: int, low: float, high: float) -> list[list[np.ndarray]]:
    """Objects of 1 to 3 parts of 3 to 12 corners anywhere: self-crossing, thin, off the box."""
    rng = np.random.default_rng(seed)
    corners = [rng.integers(3, 13, rng.integers(1, 4)) for _ in range(count)]
    polygons = [[rng.uniform(low, high, 2 * n) for n in parts] for parts in corners]
    for parts in polygons[::3]:
        parts[0] = np.round(parts[0])  # corners and edges exactly on the grid
    for parts in polygons[1::3]:
        parts[0][2:4] = parts[0][:2]  # a corner twice
    return polygons


def fill_by_pycocotools(parts, height, width):
    from pycocotools import mask as coco_mask

    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(parts, height, width))) == 1


def crop_by_pycocotools(parts, box, size):
    """The rule in words: shift, scale by a float32 ratio, fill with pycocotools."""
    side = np.maximum(box[2:] - box[:2], np.float32(0.1))
    ratio = (np.float32(size) / side).astype(np.float64)
    scaled = [((p.reshape(-1, 2) - box[:2]) * ratio).flatten() for p in parts]
    return fill_by_pycocotools(scaled, size, size)


@pytest.mark.parametrize("size", [7, 14, 28])
@pytest.mark.parametrize("spread", [1.0, 6.0])
def test_polygon_crops_equal_pycocotools(size, spread):
    rng = np.random.default_rng(size)
    polygons = random_polygons(size, 60, -10 * spread, 50 * spread)
    start = rng.uniform(-10, 40, (60, 2))
    boxes = np.concatenate([start, start + rng.uniform(0, 40, (60, 2))], 1).astype(np.float32)
    boxes[:6, 2:] = boxes[:6, :2]  # no extent at all
    boxes[6:20] = np.round(boxes[6:20])
    crops = PolygonMasks(polygons).crop_and_resize(torch.from_numpy(boxes), size).numpy()
    wanted = [crop_by_pycocotools(p, b, size) for p, b in zip(polygons, boxes, strict=True)]
    np.testing.assert_array_equal(crops, np.stack(wanted))
    assert 0.05 < crops.mean() < 0.95


@pytest.mark.parametrize("height, width", [(40, 60), (60, 7), (1, 50)])
def test_polygons_to_bitmask_equals_pycocotools(height, width):
    for parts in random_polygons(height, 40, -30, 90):
        mask = polygons_to_bitmask(parts, height, width)
        np.testing.assert_array_equal(mask, fill_by_pycocotools(parts, height, width))


def test_an_object_without_parts_is_an_empty_crop():
    masks = PolygonMasks([[], [SQUARE], []])
    crops = masks.crop_and_resize(torch.tensor([[1.0, 1, 5, 4]] * 3), 4)
    assert crops.flatten(1).all(1).tolist() == [False, True, False]
    assert crops.flatten(1).any(1).tolist() == [False, True, False]
    assert masks.nonempty().tolist() == [False, True, False]
    assert masks.area().tolist() == [0, 12, 0]


def test_polygons_to_bitmask_by_hand():
    mask = polygons_to_bitmask([np.array(SQUARE), np.array([6.0, 0, 8, 0, 8, 1, 6, 1])], 5, 9)
    wanted = np.zeros((5, 9), bool)
    wanted[1:4, 1:5] = True
    wanted[0, 6:8] = True
    np.testing.assert_array_equal(mask, wanted)


def test_polygon_indexing():
    shifted = [[[v + 10 * i for v in SQUARE]] for i in range(4)]
    masks = PolygonMasks(shifted)
    assert masks.polygons[0][0].dtype == np.float64

    def left(picked):
        return picked.get_bounding_boxes().tensor[:, 0].tolist()

    assert left(masks[-1]) == [31]
    assert left(masks[1:3]) == [11, 21]
    assert left(masks[[3, 0, 3]]) == [31, 1, 31]
    assert left(masks[[]]) == []
    assert left(masks[torch.tensor([2, 2], dtype=torch.int32)]) == [21, 21]
    assert left(masks[torch.tensor([], dtype=torch.int64)]) == []
    assert left(masks[torch.tensor([False, True, False, True])]) == [11, 31]
    assert [len(parts) for parts in masks] == [1, 1, 1, 1]
    assert masks.to("cpu") is masks
    assert masks.device == torch.device("cpu")
    with pytest.raises(IndexError):
        masks[4]
    with pytest.raises(ValueError):
        masks[torch.tensor([1, 0, 0, 1], dtype=torch.uint8)]


@pytest.mark.bundled
def test_numpy_arrays_index_polygons():
    masks = PolygonMasks([[SQUARE], [SQUARE], []])
    assert masks[np.array([2, 0])].nonempty().tolist() == [False, True]
    assert masks[np.array([True, False, True])].nonempty().tolist() == [True, False]


@pytest.mark.bundled
def test_bounds_of_negative_polygons_are_true():
    masks = PolygonMasks([[[-5.0, -6, -2, -6, -2, -3]]])
    assert masks.get_bounding_boxes().tensor.tolist() == [[-5, -6, -2, -3]]


def test_bitmask_by_hand():
    tensor = torch.zeros(2, 5, 7, dtype=torch.uint8)
    tensor[0, 1:4, 2:6] = 1
    masks = BitMasks(tensor)
    assert masks.tensor.dtype == torch.bool
    assert masks.get_bounding_boxes().tensor.tolist() == [[2, 1, 6, 4], [0, 0, 0, 0]]
    assert masks[0].tensor.shape == (1, 5, 7)
    assert masks[masks.nonempty()].tensor.shape == (1, 5, 7)
    assert len(masks[1:]) == 1
    assert [m.shape for m in masks] == [(5, 7)] * 2
    inside = masks.crop_and_resize(torch.tensor([[2.0, 1, 6, 4], [0, 0, 7, 5]]), 3)
    assert inside.flatten(1).all(1).tolist() == [True, False]
    assert not inside[1].any()
    with pytest.raises(AssertionError):
        masks.crop_and_resize(torch.zeros(1, 4), 3)


def test_bitmask_crops_equal_roi_align():
    from torchvision.ops import roi_align

    g = torch.Generator().manual_seed(0)
    masks = torch.rand(30, 20, 25, generator=g) < 0.5
    start = torch.rand(30, 2, generator=g) * 30 - 8
    boxes = torch.cat([start, start + torch.rand(30, 2, generator=g) * 30], 1)
    boxes[0, 2:] = boxes[0, :2]
    boxes[1] += 100
    rois = torch.cat([torch.arange(30.0)[:, None], boxes], 1)
    wanted = roi_align(masks[:, None].float(), rois, (9, 9), 1.0, 0, True)[:, 0]
    crops = BitMasks(masks).crop_and_resize(boxes, 9)
    clear = (wanted - 0.5).abs() > 1e-5
    assert torch.equal(crops[clear], (wanted >= 0.5)[clear])
    assert clear.float().mean() > 0.95


def test_no_bitmasks():
    none = BitMasks(torch.zeros(0, 4, 5))
    assert none.nonempty().shape == (0,)
    assert none.get_bounding_boxes().tensor.shape == (0, 4)
    assert none.crop_and_resize(torch.zeros(0, 4), 6).shape == (0, 6, 6)


def test_soft_masks_become_bitmasks():
    soft = ROIMasks(torch.ones(2, 4, 4) * torch.tensor([1.0, 0.4])[:, None, None])
    masks = soft.to_bitmasks(torch.tensor([[1.0, 1, 3, 3], [0, 0, 5, 5]]), 5, 6)
    assert isinstance(masks, BitMasks)
    wanted = torch.zeros(2, 5, 6, dtype=torch.bool)
    wanted[0, 1:3, 1:3] = True
    assert torch.equal(masks.tensor, wanted)
    assert len(soft) == 2
    assert soft[0:1].tensor.shape == (1, 4, 4)
    assert soft.to("cpu").device == torch.device("cpu")


def test_a_cell_half_covered_is_foreground():
    left = torch.tensor([[[1, 0], [1, 0]]])
    assert BitMasks(left).crop_and_resize(torch.tensor([[0.0, 0, 2, 2]]), 1).all()


def test_sides_below_a_tenth_of_a_pixel_count_as_a_tenth():
    polygons = PolygonMasks([[[0.0, 0, 0.05, 0, 0.05, 8, 0, 8]]])
    crop = polygons.crop_and_resize(torch.tensor([[0.0, 0, 0.02, 8]]), 4)
    assert crop[0].tolist() == [[True, True, False, False]] * 4
