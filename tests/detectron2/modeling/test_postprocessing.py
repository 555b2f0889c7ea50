"""Results at the wanted size, against the golden figures."""

from __future__ import annotations

import project  # noqa: F401  makes `detectron2` importable

import numpy as np
import pytest
import torch
from detectron2.modeling.postprocessing import detector_postprocess, sem_seg_postprocess
from detectron2.structures import Boxes, Instances, ROIMasks


@pytest.fixture(scope="module")
def arrays(golden):
    return golden.npz("postprocess")


@pytest.fixture
def results(arrays):
    t = {
        name: torch.from_numpy(arrays[f"in_{name}"].copy()) for name in ("boxes", "scores", "masks")
    }
    return Instances(
        (80, 100),
        pred_boxes=Boxes(t["boxes"]),
        scores=t["scores"],
        pred_classes=torch.from_numpy(arrays["in_classes"]),
        pred_masks=t["masks"][:, None],
    )


@pytest.mark.parametrize("tag", ["up", "same", "down"])
def test_golden(golden, arrays, results, tag):
    out = detector_postprocess(results, *golden.json("postprocess")["dp"][tag])
    np.testing.assert_allclose(out.pred_boxes.tensor, arrays[f"dp_{tag}_boxes"], atol=1e-4)
    np.testing.assert_array_equal(out.scores, arrays[f"dp_{tag}_scores"])
    np.testing.assert_array_equal(out.pred_classes, arrays[f"dp_{tag}_classes"])
    shape = tuple(arrays[f"dp_{tag}_shape"])
    bits = np.unpackbits(arrays[f"dp_{tag}_masks"])[: np.prod(shape)].reshape(shape)
    assert tuple(out.pred_masks.shape) == shape
    assert out.pred_masks.dtype == torch.bool
    assert (out.pred_masks.numpy() != bits).mean() <= 1e-3
    assert out.image_size == shape[1:]


def test_proposals(golden, arrays):
    proposals = Instances(
        tuple(golden.json("postprocess")["input_image_size"]),
        proposal_boxes=Boxes(torch.from_numpy(arrays["in_boxes"].copy())),
        objectness_logits=torch.from_numpy(arrays["in_scores"]),
    )
    out = detector_postprocess(proposals, 160, 200)
    np.testing.assert_allclose(out.proposal_boxes.tensor, arrays["dp_prop_boxes"], atol=1e-4)
    assert len(out.objectness_logits) == len(out.proposal_boxes)


def test_no_boxes_at_all(golden):
    assert golden.json("postprocess")["no boxes error"] == "AssertionError"
    with pytest.raises(AssertionError):
        detector_postprocess(Instances((3, 3), scores=torch.zeros(1)), 3, 3)


@pytest.mark.bundled
def test_input_stays_unchanged(arrays, results):
    detector_postprocess(results, 160, 150)
    np.testing.assert_array_equal(results.pred_boxes.tensor, arrays["in_boxes"])
    assert results.pred_masks.shape == (7, 1, 28, 28)
    assert results.image_size == (80, 100)


def test_roi_masks_are_soft_masks_too(results):
    expected = detector_postprocess(results[:5], 80, 100).pred_masks
    results.pred_masks = ROIMasks(results.pred_masks[:, 0])
    assert torch.equal(detector_postprocess(results[:5], 80, 100).pred_masks, expected)


def test_no_detections():
    nothing = Instances((8, 8), pred_boxes=Boxes(torch.zeros(0, 4)), scores=torch.zeros(0))
    nothing.pred_masks = torch.zeros(0, 1, 28, 28)
    out = detector_postprocess(nothing, 16, 12)
    assert out.pred_masks.shape == (0, 16, 12)
    assert len(out.scores) == 0


def test_semantic_logits(golden, arrays):
    spec = golden.json("postprocess")["sem_seg"]
    logits = torch.from_numpy(arrays["in_logits"])
    out = sem_seg_postprocess(logits, tuple(spec["img_size"]), *spec["out"])
    np.testing.assert_allclose(out, arrays["sem_seg"], atol=1e-5)
