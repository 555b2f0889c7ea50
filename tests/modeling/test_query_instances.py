"""Instances from hand-made logits of queries."""

from project.modeling.query_instances import query_instances

import pytest
import torch

SIZE = (2, 4)
# Two queries, two classes and "no object".
CLASSES = torch.tensor([[0.6, 0.1, 0.3], [0.1, 0.2, 0.7]]).log()
# Query 0: the two left columns with probability 3/4. Query 1: everything with 9/10.
MASKS = torch.tensor([[3.0, 3.0, 0.5, 0.5], [9.0] * 4]).log()[:, None].repeat(1, 2, 1)


def found(classes=CLASSES, masks=MASKS, **options):
    sizes = {"padded_size": SIZE, "image_size": SIZE, "output_size": SIZE}
    return query_instances(classes, masks, **{**sizes, **options})


def test_score_is_class_times_mask():
    instances = found()
    # 0.6 * 3/4, 0.2 * 0.9, 0.1 * 0.9, 0.1 * 3/4
    expected = torch.tensor([0.45, 0.18, 0.09, 0.075])
    torch.testing.assert_close(instances.scores, expected)
    assert instances.pred_classes.tolist() == [0, 1, 0, 1]
    left, all_of_it = [0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 4.0, 2.0]
    assert instances.pred_boxes.tensor.tolist() == [left, all_of_it, all_of_it, left]
    assert instances.pred_masks.dtype == torch.bool
    assert instances.pred_masks[0].tolist() == [[True, True, False, False]] * 2
    assert instances.pred_masks.shape == (4, *SIZE)
    assert instances.image_size == SIZE


def test_the_order_of_queries_means_nothing():
    turned = found(CLASSES.flip(0), MASKS.flip(0))
    for name, values in found().get_fields().items():
        values, other = (getattr(x, "tensor", x) for x in (values, turned.get(name)))
        assert torch.equal(values, other), name


def test_limits():
    assert found(score_threshold=0.08).scores.tolist() == pytest.approx([0.45, 0.18, 0.09])
    # The most probable pairs are looked at: 0.6 and 0.2.
    assert found(max_detections=2).scores.tolist() == pytest.approx([0.45, 0.18])
    assert len(found(max_detections=100)) == 4


def test_nothing_is_left_of_empty_masks_and_of_queries_below_the_threshold():
    for instances in (found(masks=-MASKS.abs()), found(score_threshold=0.5)):
        assert len(instances) == 0
        assert instances.pred_masks.shape == (0, *SIZE)
        assert instances.pred_boxes.tensor.shape == (0, 4)


def test_padding_is_cut_off_and_the_rest_resized():
    # Logits at a quarter of a 4x8 input, of which the picture is the left half.
    masks = torch.tensor([[[-5.0, 5.0]]])
    options = {"padded_size": (4, 8), "image_size": (4, 4), "output_size": (8, 8)}
    only_padding = found(CLASSES[:1], masks, **options)
    # Half-way between the centres 2 and 6 the logit is 0: no pixel of the picture is above it.
    assert len(only_padding) == 0
    inside = found(CLASSES[:1], -masks, max_detections=1, **options)
    assert inside.pred_boxes.tensor.tolist() == [[0.0, 0.0, 8.0, 8.0]]
    assert inside.image_size == (8, 8)


def test_many_masks_are_made_in_parts():
    classes, masks = CLASSES.repeat(20, 1), MASKS.repeat(20, 1, 1)
    scores = found(classes, masks).scores
    expected = torch.tensor([0.45, 0.18, 0.09, 0.075]).repeat_interleave(20)
    torch.testing.assert_close(scores, expected)


def test_half_precision_is_scored_in_full():
    instances = found(CLASSES.bfloat16(), MASKS.bfloat16())
    assert instances.scores.dtype == torch.float32
    torch.testing.assert_close(instances.scores, found().scores, atol=0.01, rtol=0)
