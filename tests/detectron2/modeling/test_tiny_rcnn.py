"""The whole model against the golden figures: every stage of evaluation, eleven ways to train."""

from __future__ import annotations

import copy

import project  # noqa: F401  makes `detectron2` importable

import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage
from omegaconf import OmegaConf
from torch import nn


def group_norm_4(channels: int) -> nn.Module:
    return nn.GroupNorm(4, channels)


VARIANTS = {
    "default": {},
    "bitmask_gt": {},
    "empty_gt_one": {},
    "empty_gt_both": {},
    "giou": {"loss": {"box_reg_loss_type": "giou"}},
    "smooth_l1_beta": {"loss": {"smooth_l1_beta": 0.4}},
    "sigmoid_ce": {"predictor": {"use_sigmoid_ce": True}},
    "pred_boxes": {"pred_boxes": True},
    "agnostic": {"agnostic": True},
    "gn_convs": {"head_norm": group_norm_4, "rpn_convs": (-1, -1), "box_convs": (16, 16)},
    "bn_train_3x3stride": {"norm": "BN", "freeze_at": 0, "stride_in_1x1": False},
}
LOSS_RTOL = 1e-4
GRADIENT_RTOL = {"gn_convs": 5e-2, "bn_train_3x3stride": 5e-2}  # else 1e-2
EMPTY = {"empty_gt_one": (1,), "empty_gt_both": (0, 1)}


def close(actual, expected, **tolerance):
    actual = actual.detach().cpu().numpy() if isinstance(actual, torch.Tensor) else actual
    np.testing.assert_allclose(actual, expected, **tolerance)


# ------------------------------------------------------------------------------------- evaluation
@pytest.fixture(scope="module")
def expected(golden):
    return golden.npz("tiny_rcnn_eval")


@pytest.fixture(scope="module")
def stages(tiny_model, tiny_batch):
    """What every stage of the model gives for the two images, in evaluation."""
    batch, out = tiny_batch(), {}
    with torch.no_grad():
        images = out["images"] = tiny_model.preprocess_image(batch)
        out["bottom_up"] = tiny_model.backbone.bottom_up(images.tensor)
        features = out["features"] = tiny_model.backbone(images.tensor)
        rpn = tiny_model.proposal_generator
        out["rpn"] = rpn.rpn_head([features[name] for name in rpn.in_features])
        out["proposals"], out["rpn_losses"] = rpn(images, features, None)
        out["raw"] = tiny_model.inference(batch, do_postprocess=False)
        out["final"] = [x["instances"] for x in tiny_model(batch)]
    return out


def test_padded_images(stages, expected):
    close(stages["images"].tensor, expected["images_padded"], rtol=1e-4, atol=1e-4)
    assert stages["images"].image_sizes == [(120, 150), (96, 128)]


@pytest.mark.parametrize("name", ["res2", "res3", "res4", "res5"])
def test_bottom_up_features(stages, expected, name):
    close(stages["bottom_up"][name], expected[f"bottom_{name}"], rtol=1e-4, atol=1e-4)


def test_pyramid_features(stages, expected):
    assert list(stages["features"]) == ["p2", "p3", "p4", "p5", "p6"]
    for name, feature in stages["features"].items():
        close(feature, expected[f"feat_{name}"], rtol=1e-4, atol=1e-4)


def test_rpn_head(stages, expected):
    logits, deltas = stages["rpn"]
    for k in range(5):
        close(logits[k], expected[f"rpn_logits_{k}"], rtol=1e-4, atol=1e-4)
        close(deltas[k], expected[f"rpn_deltas_{k}"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("i", [0, 1])
def test_proposals(stages, expected, i):
    proposals = stages["proposals"][i]
    close(proposals.proposal_boxes.tensor, expected[f"prop{i}_boxes"], rtol=0, atol=0.02)
    close(proposals.objectness_logits, expected[f"prop{i}_logits"], rtol=1e-4, atol=1e-4)
    assert stages["rpn_losses"] == {}


@pytest.mark.parametrize("i", [0, 1])
def test_raw_detections(golden, stages, expected, i):
    raw = stages["raw"][i]
    assert len(raw) == golden.json("tiny_rcnn")["n_det"][i]
    close(raw.pred_boxes.tensor, expected[f"pre{i}_boxes"], rtol=0, atol=0.02)
    close(raw.scores, expected[f"pre{i}_scores"], rtol=0, atol=1e-4)
    close(raw.pred_classes, expected[f"pre{i}_classes"])
    close(raw.pred_masks, expected[f"pre{i}_masks"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("i", [0, 1])
def test_final_detections(stages, expected, i):
    final = stages["final"][i]
    close(final.pred_boxes.tensor, expected[f"det{i}_boxes"], rtol=0, atol=0.05)
    close(final.scores, expected[f"det{i}_scores"], rtol=0, atol=1e-4)
    close(final.pred_classes, expected[f"det{i}_classes"])
    shape = tuple(expected[f"det{i}_masks_shape"])
    assert tuple(final.pred_masks.shape) == shape
    assert final.pred_masks.dtype == torch.bool
    bits = np.unpackbits(expected[f"det{i}_masks"])[: np.prod(shape)].reshape(shape)
    assert (final.pred_masks.numpy() == bits.astype(bool)).mean() >= 0.998


# --------------------------------------------------------------------------------------- training
def test_the_figures_are_of_this_model(golden):
    """What `make_mask_rcnn` and `tiny_model` of conftest are written after."""
    facts = golden.json("tiny_rcnn")
    assert facts["widths"] == {
        "stem": 8,
        "outs": [16, 24, 32, 48],
        "necks": [4, 6, 8, 12],
        "fpn": 16,
        "fc": 24,
        "mask": 12,
        "classes": 4,
    }
    assert facts["train_kwargs"] == {
        "rpn_batch_size_per_image": 16384,
        "rpn_positive_fraction": 0.5,
        "roi_batch_size_per_image": 8192,
        "roi_positive_fraction": 0.5,
        "pre_nms_topk_train": 200,
        "post_nms_topk_train": 60,
    }
    assert facts["eval_kwargs"] == {
        "test_topk_per_image": 20,
        "pre_nms_topk_test": 200,
        "post_nms_topk_test": 60,
        "test_score_thresh": 0.05,
        "test_nms_thresh": 0.5,
        "rpn_nms_thresh": 0.7,
    }
    assert facts["variants"].keys() == VARIANTS.keys()


@pytest.mark.parametrize("name", list(VARIANTS))
def test_tolerances_exceed_the_noise(golden, name):
    """Other sampling orders and 2e-6 of weight noise move losses and gradients by less."""
    noise = golden.json("tiny_rcnn_noise")[name]
    assert max(run["loss_rel_max"] for run in noise) < LOSS_RTOL
    assert max(run["grad_norm_rel_max"] for run in noise) < GRADIENT_RTOL.get(name, 1e-2)


@pytest.mark.parametrize("name", list(VARIANTS))
def test_training(golden, build_mask_rcnn, tiny_batch, name):
    """Losses, statistics and the norm of every gradient; all anchors and proposals are sampled."""
    reference = golden.json("tiny_rcnn")["variants"][name]
    torch.manual_seed(0)
    model = build_mask_rcnn(**VARIANTS[name])
    model.load_state_dict(
        golden.pt(reference["state"].removesuffix(".pt")), strict=name[:2] != "bn"
    )
    model.train()
    masks = {"masks": BitMasks} if name == "bitmask_gt" else {}
    with EventStorage(0) as storage:
        losses = model(tiny_batch(empty=EMPTY.get(name, ()), **masks))
        scalars = {key: value for key, (value, _) in storage.latest().items()}
    sum(losses.values()).backward()

    assert list(losses) == list(reference["losses"])
    for key, value in reference["losses"].items():
        assert losses[key].item() == pytest.approx(value, rel=LOSS_RTOL), key
    assert scalars == pytest.approx(reference["storage"], rel=1e-6)
    loose = GRADIENT_RTOL.get(name, 1e-2)
    norms = {
        key: None if p.grad is None else p.grad.double().norm().item()
        for key, p in model.named_parameters()
        if p.requires_grad
    }
    # Where the reference is 0, sums may cancel to noise; the smallest other norm is 1.3e-4.
    assert norms == pytest.approx(reference["grad_norm"], rel=loose, abs=1e-6)
    frozen = [key for key, p in model.named_parameters() if not p.requires_grad]
    assert frozen == reference["frozen_parameters"]
    if name == "bn_train_3x3stride":
        for key, value in golden.npz("tiny_rcnn_bn_after").items():
            close(model.state_dict()[key.replace("|", ".")], value, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
def test_training_on_a_gpu(golden, build_mask_rcnn, tiny_batch):
    reference = golden.json("tiny_rcnn")["variants"]["default"]
    model = build_mask_rcnn()
    model.load_state_dict(golden.pt("tiny_rcnn_state"))
    model.cuda().train()
    with EventStorage(0) as storage:
        losses = model(tiny_batch())
        scalars = {key: value for key, (value, _) in storage.latest().items()}
    sum(losses.values()).backward()
    for key, value in reference["losses"].items():
        assert losses[key].item() == pytest.approx(value, rel=1e-3), key
    assert scalars["rpn/num_pos_anchors"] == reference["storage"]["rpn/num_pos_anchors"]
    assert scalars["fast_rcnn/fg_cls_accuracy"] == pytest.approx(0.375)


def sampled_losses(build_mask_rcnn, golden, batch, seed):
    model = build_mask_rcnn(rpn_batch=64, roi_batch=16)
    model.load_state_dict(golden.pt("tiny_rcnn_state"))
    torch.manual_seed(seed)
    with EventStorage(0) as storage:
        losses = model.train()(batch)
        return {k: v.item() for k, v in losses.items()}, dict(storage.latest())


def test_lists_of_configs_make_the_same_model(build_mask_rcnn, golden, tiny_batch):
    model = build_mask_rcnn(listed=lambda values: OmegaConf.create(list(values)))
    model.load_state_dict(golden.pt("tiny_rcnn_state"))
    with EventStorage(0):
        losses = model.train()(tiny_batch())
    expected = golden.json("tiny_rcnn")["variants"]["default"]["losses"]
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(expected, rel=1e-4)
    assert len(model.eval()(tiny_batch())) == 2


def test_one_seed_gives_one_loss(build_mask_rcnn, golden, tiny_batch):
    first, scalars = sampled_losses(build_mask_rcnn, golden, tiny_batch(), 1)
    assert sampled_losses(build_mask_rcnn, golden, tiny_batch(), 1)[0] == first
    assert sampled_losses(build_mask_rcnn, golden, tiny_batch(), 2)[0] != first
    anchors = scalars["rpn/num_pos_anchors"][0] + scalars["rpn/num_neg_anchors"][0]
    rois = scalars["roi_head/num_fg_samples"][0] + scalars["roi_head/num_bg_samples"][0]
    assert (anchors, rois) == (64, 16)


@pytest.mark.bundled
def test_training_works_without_event_storage(build_mask_rcnn, tiny_batch):
    model = build_mask_rcnn().train()
    assert all(loss.isfinite() for loss in model(tiny_batch()).values())


# Significant bits: 8 and 11. Losses are means over many values, so their errors are smaller still.
@pytest.mark.parametrize("dtype, rel", [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_autocast_trains_with_float32_losses(build_mask_rcnn, golden, tiny_batch, dtype, rel):
    model = build_mask_rcnn()
    model.load_state_dict(golden.pt("tiny_rcnn_state"))
    model.train()
    with EventStorage(0), torch.autocast("cpu", dtype=dtype):
        losses = model(tiny_batch())
    expected = golden.json("tiny_rcnn")["variants"]["default"]["losses"]
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(expected, rel=rel, abs=1e-4)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_detects_in_float32(tiny_model, tiny_batch, stages, dtype):
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        found = tiny_model.inference(tiny_batch(), do_postprocess=False)
    for result, raw in zip(found, stages["raw"], strict=True):
        assert {result.pred_boxes.tensor.dtype, result.scores.dtype} == {torch.float32}
        # Weak detections may change places; the best one stays where it is.
        close(result.scores[:1], raw.scores[:1], rtol=0, atol=0.02)
        close(result.pred_boxes.tensor[:1], raw.pred_boxes.tensor[:1], rtol=0, atol=3)


@pytest.mark.slow
def test_the_parts_on_the_way_of_every_step_compile_without_a_break(tiny_model):
    """`torch.compile` takes each whole, as one graph."""
    heads, rpn = tiny_model.roi_heads, tiny_model.proposal_generator
    with torch.no_grad():
        features = tiny_model.backbone(torch.rand(1, 3, 64, 96))
        maps = [features[name] for name in rpn.in_features]
        for part, *inputs in (
            (tiny_model.backbone, torch.rand(1, 3, 64, 96)),
            (rpn.rpn_head, maps),
            (rpn.box2box_transform.apply_deltas, torch.rand(5, 8), torch.rand(5, 4)),
            (heads.box_head, torch.rand(5, 16, 7, 7)),
            (heads.box_predictor, torch.rand(5, 24)),
            (heads.mask_head.layers, torch.rand(5, 16, 14, 14)),
        ):
            compiled = torch.compile(part, backend="eager", fullgraph=True)
            torch.testing.assert_close(compiled(*inputs), part(*inputs))


# -------------------------------------------------------------------------------------- relations
def test_batch_equals_singles(tiny_model, tiny_batch):
    batch = tiny_batch()
    # Equal padding: the network's zero border then lies at the same place.
    batch[1]["image"] = torch.nn.functional.pad(batch[1]["image"], (0, 22, 0, 24))
    with torch.no_grad():
        together = tiny_model(batch)
        singles = [tiny_model([x])[0] for x in batch]
    for both, alone in zip(together, singles, strict=True):
        both, alone = both["instances"], alone["instances"]
        assert len(both) == len(alone) > 3
        close(both.pred_boxes.tensor, alone.pred_boxes.tensor, rtol=0, atol=1e-2)
        close(both.pred_classes, alone.pred_classes)
        close(both.scores, alone.scores, rtol=0, atol=1e-4)


def test_given_boxes_get_the_same_masks(tiny_model, tiny_batch, stages):
    given = []
    for raw in stages["raw"]:
        kept = Instances(raw.image_size, pred_boxes=raw.pred_boxes, pred_classes=raw.pred_classes)
        given.append(kept)
    with torch.no_grad():
        again = tiny_model.inference(tiny_batch(), given, do_postprocess=False)
    for result, raw in zip(again, stages["raw"], strict=True):
        close(result.pred_masks, raw.pred_masks, rtol=0, atol=1e-5)


def test_output_size_defaults_to_the_image(tiny_model, tiny_batch):
    batch = [{"image": x["image"]} for x in tiny_batch()]
    with torch.no_grad():
        results = tiny_model(batch)
    assert [x["instances"].image_size for x in results] == [(120, 150), (96, 128)]


def test_no_detection_still_has_all_fields(tiny_model, tiny_batch):
    model = copy.deepcopy(tiny_model)
    model.roi_heads.box_predictor.test_score_thresh = 1.0
    with torch.no_grad():
        found = model(tiny_batch())[0]["instances"]
    assert len(found) == 0
    assert tuple(found.pred_masks.shape) == (0, 240, 300)
    assert found.has("scores")
    assert found.has("pred_classes")


def test_precomputed_proposals_replace_the_generator(tiny_model, tiny_batch, stages):
    model = copy.deepcopy(tiny_model)
    model.proposal_generator = None
    batch = tiny_batch()
    for x, proposals in zip(batch, stages["proposals"], strict=True):
        x["proposals"] = proposals
    with torch.no_grad():
        results = model.inference(batch, do_postprocess=False)
    for result, raw in zip(results, stages["raw"], strict=True):
        close(result.scores, raw.scores, rtol=0, atol=1e-6)


def test_padding_is_zero_after_normalisation(tiny_model, tiny_batch):
    images = tiny_model.preprocess_image(tiny_batch())
    assert images.tensor.dtype == torch.float32
    assert not images.tensor[1, :, 96:].any()
    assert not images.tensor[1, :, :, 128:].any()
    pixel = tiny_batch()[1]["image"][:, 0, 0] - torch.tensor([103.53, 116.28, 123.675])
    close(images.tensor[1, :, 0, 0], pixel, rtol=0, atol=1e-4)


def test_the_mean_is_subtracted_before_the_division(tiny_model, tiny_batch):
    model = copy.deepcopy(tiny_model)
    model.pixel_std *= 2
    once, half = (m.preprocess_image(tiny_batch()).tensor for m in (tiny_model, model))
    torch.testing.assert_close(half, once / 2)


# ----------------------------------------------------------------------------------------- misuse
def test_training_needs_ground_truth(build_mask_rcnn, tiny_batch):
    with EventStorage(0), pytest.raises(AssertionError):
        build_mask_rcnn().train()([{"image": x["image"]} for x in tiny_batch()])


def test_inference_needs_evaluation_mode(build_mask_rcnn, tiny_batch):
    with pytest.raises(AssertionError):
        build_mask_rcnn().train().inference(tiny_batch())


def test_given_boxes_need_classes(tiny_model, tiny_batch):
    given = [Instances((120, 150), pred_boxes=Boxes(torch.zeros(1, 4))) for _ in range(2)]
    with pytest.raises(AssertionError), torch.no_grad():
        tiny_model.inference(tiny_batch(), given)


def test_broken_weights_stop_training(build_mask_rcnn, tiny_batch):
    model = build_mask_rcnn().train()
    model.proposal_generator.rpn_head.anchor_deltas.bias.data.fill_(float("nan"))
    with EventStorage(0), pytest.raises(FloatingPointError):
        model(tiny_batch())


def test_pictures_need_an_input_format(build_mask_rcnn):
    model = build_mask_rcnn()
    parts = {name: getattr(model, name) for name in ("backbone", "proposal_generator", "roi_heads")}
    with pytest.raises(AssertionError):
        type(model)(**parts, pixel_mean=[0.0] * 3, pixel_std=[1.0] * 3, vis_period=5)


def test_pictures_come_every_vis_period(build_mask_rcnn, tiny_batch, monkeypatch):
    model = build_mask_rcnn().train()
    model.vis_period = 5
    model.roi_heads.mask_head.vis_period = 5
    seen = []
    monkeypatch.setattr(EventStorage, "put_image", lambda self, name, img: seen.append(img.shape))
    for iteration in (4, 5):
        with EventStorage(iteration):
            model(tiny_batch())
        if iteration == 4:
            assert seen == []
    # One picture of the image twice, and one for each mask: prediction and target.
    assert (3, 120, 300) in [tuple(shape) for shape in seen]
    assert (3, 28, 56) in [tuple(shape) for shape in seen]
