"""Soft-NMS against a plain loop, its limits, and the box predictor around it."""

import math

from project.errors import UserError
from project.modeling.heads import BalancedOutputLayers
from project.modeling.postprocess.soft_nms import SoftNMSOutputLayers, soft_nms

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from detectron2.layers import ShapeSpec, batched_nms
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.structures import Boxes, Instances, pairwise_iou


def random_boxes(n, seed=0, groups=3):
    """Crowded boxes, so that most of them overlap some others; scores all different."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=generator) * 30
    size = 5 + torch.rand(n, 2, generator=generator) * 25
    scores = (torch.randperm(n, generator=generator) + 1.0) / (n + 1)
    group = torch.randint(groups, (n,), generator=generator)
    return torch.cat([corner, corner + size], 1), scores, group


def loop(boxes, scores, groups, method, sigma, threshold, min_score):
    """The paper's figure 2, a box at a time: ``{index: score}``."""
    kept = {}
    for group in set(groups.tolist()):
        left = {i: float(scores[i]) for i in range(len(boxes)) if groups[i] == group}
        while left:
            best = max(left, key=left.get)
            kept[best] = left.pop(best)
            for i in left:
                iou = float(pairwise_iou(Boxes(boxes[best][None]), Boxes(boxes[i][None])))
                if method == "linear":
                    left[i] *= 1 - iou if iou >= threshold else 1
                else:
                    left[i] *= math.exp(-(iou**2) / sigma)
    return {i: score for i, score in kept.items() if score > min_score}


@pytest.mark.parametrize("method", ["linear", "gaussian"])
@pytest.mark.parametrize("sigma, threshold, min_score", [(0.5, 0.3, 0.001), (0.1, 0.6, 0.2)])
def test_against_a_plain_loop(method, sigma, threshold, min_score):
    boxes, scores, groups = random_boxes(60)
    expected = loop(boxes, scores, groups, method, sigma, threshold, min_score)
    kept, new = soft_nms(
        boxes,
        scores,
        groups,
        method=method,
        sigma=sigma,
        iou_threshold=threshold,
        min_score=min_score,
    )
    assert sorted(expected) == sorted(kept.tolist())
    wanted = torch.tensor([expected[i] for i in kept.tolist()])
    torch.testing.assert_close(new, wanted, atol=1e-5, rtol=1e-4)
    assert (new.diff() <= 0).all()
    assert (new < scores[kept]).any()


def test_two_boxes_by_hand():
    # Shared 5 x 10 of 10 x 10 each: IoU 50 / 150.
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10]])
    scores, groups = torch.tensor([0.6, 0.9]), torch.zeros(2, dtype=torch.int64)
    kept, new = soft_nms(boxes, scores, groups, method="linear")
    assert kept.tolist() == [1, 0]
    assert new.tolist() == pytest.approx([0.9, 0.6 * 2 / 3])
    kept, new = soft_nms(boxes, scores, groups, method="gaussian", sigma=0.5)
    assert new.tolist() == pytest.approx([0.9, 0.6 * math.exp(-2 / 9)])
    _, new = soft_nms(boxes, scores, groups, method="linear", iou_threshold=0.34)
    assert new.tolist() == pytest.approx([0.9, 0.6])
    _, new = soft_nms(boxes, scores, torch.tensor([7, 3]), method="gaussian")
    assert new.tolist() == pytest.approx([0.9, 0.6])  # other groups


@pytest.mark.parametrize("threshold", [0.1, 0.5])
def test_the_hard_form_is_hard_nms(threshold):
    boxes, scores, groups = random_boxes(80, seed=1)
    kept, new = soft_nms(boxes, scores, groups, method="hard", iou_threshold=threshold)
    assert kept.tolist() == batched_nms(boxes, scores, groups, threshold).tolist()
    assert torch.equal(new, scores[kept])


def test_a_small_sigma_is_hard_nms_without_any_overlap():
    boxes, scores, groups = random_boxes(80, seed=2)
    kept, new = soft_nms(boxes, scores, groups, method="gaussian", sigma=1e-9)
    assert kept.tolist() == batched_nms(boxes, scores, groups, 0.0).tolist()
    assert torch.equal(new, scores[kept])


def test_a_large_sigma_and_a_threshold_of_one_change_nothing():
    boxes, scores, groups = random_boxes(40, seed=3)
    for options in ({"method": "gaussian", "sigma": 1e9}, {"method": "linear", "iou_threshold": 1}):
        kept, new = soft_nms(boxes, scores, groups, min_score=0.0, **options)
        assert kept.tolist() == scores.argsort(descending=True).tolist()
        torch.testing.assert_close(new, scores[kept])


def test_copies_go_by_the_linear_form():
    boxes = torch.tensor([[0.0, 0, 10, 10]] * 3 + [[20, 0, 30, 10]])
    scores = torch.tensor([0.5, 0.5, 0.4, 0.1])
    kept, new = soft_nms(boxes, scores, torch.zeros(4, dtype=torch.int64), method="linear")
    assert kept.tolist() == [0, 3]  # of equal scores the first
    assert new.tolist() == pytest.approx([0.5, 0.1])


@pytest.mark.parametrize("method", ["hard", "linear", "gaussian"])
def test_the_best_of_each_group_are_the_best_of_all(method):
    boxes, scores, groups = random_boxes(90, seed=4)
    all_kept, all_new = soft_nms(boxes, scores, groups, method=method)
    kept, new = soft_nms(boxes, scores, groups, method=method, most=4)
    assert kept[:4].tolist() == all_kept[:4].tolist()
    assert torch.equal(new[:4], all_new[:4])
    assert torch.bincount(groups[kept]).max() == 4


def test_nothing_and_boxes_without_area():
    nothing = torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    assert [len(x) for x in soft_nms(*nothing)] == [0, 0]
    flat = torch.tensor([[3.0, 3, 3, 9], [3, 3, 3, 9]])
    kept, new = soft_nms(flat, torch.tensor([0.2, 0.3]), torch.zeros(2, dtype=torch.int64))
    assert kept.tolist() == [1, 0]
    assert new.tolist() == pytest.approx([0.3, 0.2])


K = 2


def predictor(**options):
    layers = SoftNMSOutputLayers(
        ShapeSpec(channels=8),
        num_classes=K,
        box2box_transform=Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0)),
        test_score_thresh=0.05,
        **options,
    )
    return layers.eval()


def scene(num_images=2, rows=30):
    """Predictions and proposals that lie close together; the deltas are zero."""
    proposals, boxes = [], []
    for image in range(num_images):
        own, _, _ = random_boxes(rows, seed=10 + image)
        proposals.append(Instances((50, 40), proposal_boxes=Boxes(own)))
        boxes.append(own)
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(num_images * rows, K + 1, generator=generator)
    return (logits, torch.zeros(num_images * rows, 4 * K)), proposals, boxes


@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_detections_of_a_batch(method):
    predictions, proposals, boxes = scene()
    layers = predictor(soft_nms=method, test_topk_per_image=10)
    results, rows = layers.inference(predictions, proposals)
    probs = predictions[0].softmax(1).split([30, 30])
    for found, row, own, p in zip(results, rows, boxes, probs, strict=True):
        own = own.clone()
        own[:, [0, 2]] = own[:, [0, 2]].clamp(0, 40)
        own[:, [1, 3]] = own[:, [1, 3]].clamp(0, 50)
        everything = {}
        for k in range(K):
            there = (p[:, k] > 0.05).nonzero()[:, 0]
            zeros = torch.zeros_like(there)
            scores = loop(own[there], p[there, k], zeros, method, 0.5, 0.3, 0.001)
            everything |= {(int(there[i]), k): s for i, s in scores.items()}
        best = sorted(everything.items(), key=lambda item: -item[1])[:10]
        assert list(zip(row.tolist(), found.pred_classes.tolist(), strict=True)) == [
            place for place, _ in best
        ]
        assert found.scores.tolist() == pytest.approx([s for _, s in best], abs=1e-5)
        assert found.image_size == (50, 40)
        torch.testing.assert_close(found.pred_boxes.tensor, own[row], atol=1e-4, rtol=1e-4)


def test_the_hard_form_is_the_parents():
    predictions, proposals, _ = scene()
    soft = predictor(soft_nms="hard")
    results, rows = soft.inference(predictions, proposals)
    expected, expected_rows = BalancedOutputLayers.inference(soft, predictions, proposals)
    for found, wanted, row, wanted_row in zip(results, expected, rows, expected_rows, strict=True):
        assert torch.equal(found.scores, wanted.scores)
        assert torch.equal(found.pred_boxes.tensor, wanted.pred_boxes.tensor)
        assert torch.equal(row, wanted_row)


def test_rows_count_among_the_finite_ones_and_topk_may_be_off():
    (logits, deltas), proposals, _ = scene(num_images=1)
    logits[0] = torch.nan
    _, (rows,) = predictor(test_topk_per_image=-1).inference((logits, deltas), proposals)
    same = [Instances((50, 40), proposal_boxes=proposals[0].proposal_boxes[1:])]
    _, (wanted,) = predictor(test_topk_per_image=-1).inference((logits[1:], deltas[1:]), same)
    assert rows.tolist() == wanted.tolist()
    assert len(rows) > 30  # a row is there with both classes


def test_images_without_proposals_and_no_images():
    layers = predictor()
    empty = Instances((50, 40), proposal_boxes=Boxes(torch.zeros(0, 4)))
    (found,), (rows,) = layers.inference((torch.zeros(0, 3), torch.zeros(0, 8)), [empty])
    assert len(found) == len(rows) == 0
    assert found.has("pred_classes")
    assert list(layers.inference((torch.zeros(0, 3), torch.zeros(0, 8)), [])) == [[], []]


def test_it_has_the_parents_parameters_and_one_box_for_all_classes():
    layers = predictor(cls_agnostic_bbox_reg=True)
    assert set(layers.state_dict()) == {
        "cls_score.weight",
        "cls_score.bias",
        "bbox_pred.weight",
        "bbox_pred.bias",
    }
    (logits, deltas), proposals, _ = scene()
    whole = predictor().inference((logits, deltas), proposals)
    agnostic = layers.inference((logits, deltas[:, :4]), proposals)
    for one, other in zip(whole[0], agnostic[0], strict=True):
        assert torch.equal(one.scores, other.scores)


def test_it_is_a_node_of_a_config():
    node = L(SoftNMSOutputLayers)(
        input_shape=L(ShapeSpec)(channels=8),
        num_classes=K,
        box2box_transform=L(Box2BoxTransform)(weights=[10.0, 10.0, 5.0, 5.0]),
        soft_nms="linear",
    )
    assert instantiate(node).soft_nms == "linear"


@pytest.mark.parametrize(
    "options, why",
    [
        ({"soft_nms": "gausian"}, "unknown method 'gausian'; did you mean 'gaussian'"),
        ({"soft_nms_sigma": 0}, "soft_nms_sigma=0 must be above 0"),
        ({"soft_nms_threshold": 1.5}, "soft_nms_threshold=1.5 must be from 0 to 1"),
    ],
)
def test_what_is_refused(options, why):
    with pytest.raises(UserError, match=why):
        predictor(**options)
