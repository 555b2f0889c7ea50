"""RLE without full-size masks, and the boundary IoU, against plain ways."""

from __future__ import annotations

import math
import warnings

from project.evaluation.boundary import boundary_pixels, boundary_rles, mask_boundary
from project.evaluation.evaluate import evaluate_results, match
from project.evaluation.rle import (
    compress,
    crop_runs,
    decode_crop,
    encode_boxed_masks,
    encode_masks,
)

import cv2
import numpy as np
import pytest
import torch
from detectron2.layers import paste_masks_in_image
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask


def encoded(mask) -> dict:
    rle = coco_mask.encode(np.asfortranarray(np.asarray(mask, dtype=np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def decoded(rle) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return coco_mask.decode(rle)


def random_mask(seed: int, height: int, width: int) -> np.ndarray:
    """Speckles, a rectangle (often over the whole height), or nothing."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), dtype=np.uint8)
    kind = rng.integers(3)
    if kind == 0:
        mask[:] = rng.random(mask.shape) < rng.choice([0.05, 0.5, 0.95])
    elif kind == 1:
        top, left = rng.integers(0, height), rng.integers(0, width)
        mask[rng.choice([0, top]) :, left:] = 1
    return mask


shapes = {"height": st.integers(1, 12), "width": st.integers(1, 12)}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), **shapes)
def test_runs_are_those_of_pycocotools(seed, height, width):
    mask = random_mask(seed, height, width)
    whole = compress([crop_runs(mask, 0, 0, height, width)], height, width)
    assert whole == [encoded(mask)]
    assert encode_masks(torch.from_numpy(mask)[None].bool()) == whole


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), **shapes)
def test_decoding_gives_the_box_of_the_mask(seed, height, width):
    mask = random_mask(seed, height, width)
    for rle in (encoded(mask), {"size": [height, width], "counts": uncompressed(mask)}):
        crop, left, top = decode_crop(rle)
        again = np.zeros_like(mask)
        again[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
        assert np.array_equal(again, mask)
        if mask.any():
            assert crop.any(axis=0)[[0, -1]].all()
            assert crop.any(axis=1)[[0, -1]].all()


def uncompressed(mask) -> list[int]:
    flat = np.concatenate([[0], mask.ravel(order="F")])
    return np.diff([0, *np.flatnonzero(np.diff(flat)), mask.size]).tolist()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_boxed_masks_give_what_pasting_gives(seed):
    generator = torch.Generator().manual_seed(seed)
    height, width = 37, 53
    corners = torch.rand(6, 2, 2, generator=generator) * 80 - 15  # beyond the image too
    boxes = torch.cat([corners.amin(1), corners.amax(1)], dim=1)
    boxes[0] = torch.tensor([4.0, 5.0, 4.0, 9.0])  # no width
    boxes[1] = torch.tensor([0.0, 0.0, width, height])
    boxes[2] = boxes[2].round()
    masks = torch.rand(6, 1, 7, 7, generator=generator)
    masks[1] = 1.0
    pasted = paste_masks_in_image(masks[:, 0], boxes, (height, width))
    found = encode_boxed_masks(masks, boxes, (height, width))
    assert [decoded(rle).tolist() for rle in found] == pasted.int().tolist()
    assert found == [encoded(mask) for mask in pasted]


def test_no_masks():
    assert encode_boxed_masks(torch.zeros(0, 1, 7, 7), torch.zeros(0, 4), (5, 6)) == []
    assert encode_masks(torch.zeros(0, 5, 6, dtype=torch.bool)) == []
    assert boundary_rles([]) == []


# --- boundary IoU -----------------------------------------------------------------------------


def authors_boundary(mask: np.ndarray, ratio: float = 0.02) -> np.ndarray:
    """The definition, pixel by pixel: within ``d`` king's moves of a pixel outside of the mask."""
    height, width = mask.shape
    distance = max(1, round(ratio * math.sqrt(height**2 + width**2)))
    padded = np.pad(mask, distance)
    boundary = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        window = padded[y : y + 2 * distance + 1, x : x + 2 * distance + 1]
        boundary[y, x] = not window.all()
    return boundary


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_boundary_is_that_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    height, width = 90, 120  # a diagonal of 150: 3 pixels
    mask = cv2.blur(rng.random((height, width)), (15, 15)) > rng.choice([0.4, 0.48, 0.5])
    mask = mask.astype(np.uint8)
    assert np.array_equal(decoded(boundary_rles([encoded(mask)])[0]), authors_boundary(mask))


def test_boundary_of_a_square_by_hand():
    """20 x 20 pixels, 3 pixels of boundary: all but the 14 x 14 inside."""
    square = np.ones((20, 20), dtype=np.uint8)
    boundary = mask_boundary(square, 3)
    assert boundary.sum() == 20**2 - 14**2
    assert not boundary[3:17, 3:17].any()
    assert boundary_pixels(90, 120) == 3
    assert boundary_pixels(3, 4) == 1  # at least one
    assert mask_boundary(np.zeros((0, 0), dtype=np.uint8), 2).size == 0


def one_object(mask) -> dict:
    height, width = mask.shape
    y, x = np.nonzero(mask)
    box = [int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1]
    row = {"image_id": 1, "category_id": 1, "bbox": box, "segmentation": encoded(mask)}
    return {
        "images": [{"id": 1, "height": height, "width": width}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [{"id": 1, "iscrowd": 0, "area": int(mask.sum()), **row}],
    }


def detection(mask, score=0.9) -> dict:
    row = one_object(mask)["annotations"][0]
    kept = ("image_id", "category_id", "bbox", "segmentation")
    return {"score": score, **{k: row[k] for k in kept}}


def test_boundary_iou_by_hand():
    """40 x 40 against 40 x 36 pixels in the same corner; the boundary is 3 pixels wide.

    Mask IoU 0.9. Boundaries: 444 and 1440 - 34 x 30 = 420 pixels. They share the first 3 rows of
    36 (108), the last 3 (108), the first 3 columns of the 34 rows between (102), and the smaller
    one's last 3 columns meet only the larger one's rows: nothing more. IoU 318 / 546.
    """
    large, small = (np.zeros((90, 120), dtype=np.uint8) for _ in range(2))
    large[10:50, 10:50] = 1
    small[10:50, 10:46] = 1
    truth, results = one_object(large), [detection(small)]
    assert match(truth, results, iou_type="segm").iou.tolist() == [0.9]
    assert match(truth, results, iou_type="boundary").iou.tolist() == [318 / 546]
    assert evaluate_results(truth, results, "boundary")["AP"] == pytest.approx(20.0)  # 0.5, 0.55
    assert evaluate_results(truth, results, "segm")["AP"] == pytest.approx(90.0)


def test_a_hole_is_not_forgiven():
    """A ring against the full disc: same outer boundary, so the mask IoU decides."""
    disc = np.zeros((90, 120), dtype=np.uint8)
    disc[10:70, 10:70] = 1
    ring = disc.copy()
    ring[30:50, 30:50] = 0
    found = match(one_object(disc), [detection(ring)], iou_type="boundary")
    mask_iou = ring.sum() / disc.sum()
    outlines = [authors_boundary(m) for m in (disc, ring)]
    outline_iou = (outlines[0] & outlines[1]).sum() / (outlines[0] | outlines[1]).sum()
    assert found.iou.tolist() == [pytest.approx(min(mask_iou, outline_iou), abs=1e-12)]
