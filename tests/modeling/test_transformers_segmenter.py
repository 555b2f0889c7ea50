"""Mask2Former as a Detectron2 model: losses, instances, padding, precision, settings."""

import sys

from project.engine.optimizer import lr_factors
from project.errors import UserError
from project.evaluation.unpasted import UnpastedDetector
from project.modeling.transformers_network import build_mask2former
from project.modeling.transformers_segmenter import TransformersSegmenter

import pytest
import torch
from detectron2.solver import get_default_optimizer_params
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks

RESNET = dict(
    model_type="resnet", layer_type="basic", embedding_size=8, hidden_sizes=[8, 16, 24, 32],
    depths=[1, 1, 1, 1],
)  # fmt: skip
SWIN = dict(
    model_type="swin", embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4
)
CONVNEXT = dict(model_type="convnext", hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1])
TINY = dict(
    feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=32,
    dim_feedforward=32, num_attention_heads=2, encoder_layers=1, decoder_layers=3, num_queries=6,
    train_num_points=64,
)  # fmt: skip
LOSSES = {f"loss_{kind}{end}" for kind in ("class", "mask", "dice") for end in ("", "_aux")}


def make(num_classes=2, backbone=RESNET, **options):
    torch.manual_seed(0)
    network = build_mask2former(num_classes, backbone, **TINY)
    mean_and_std = [120.0, 115.0, 100.0], [58.0, 57.0, 57.0]
    return TransformersSegmenter(network, num_classes, *mean_and_std, **options)


@pytest.fixture
def model():
    return make()


def image(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def labelled(height, width, boxes, classes, polygons=False):
    """An image whose objects are rectangles with whole coordinates."""
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    outlines = [[[x0, y0, x1, y0, x1, y1, x0, y1]] for x0, y0, x1, y1 in boxes]
    instances.gt_masks = PolygonMasks(outlines) if polygons else BitMasks(masks)
    return {"image": image(height, width), "instances": instances}


BOXES, CLASSES = [[4, 4, 30, 20], [20, 10, 60, 40]], [0, 1]


def losses_of(model, batch, seed=1):
    torch.manual_seed(seed)
    return model.train()(batch)


def test_losses_are_the_networks(model):
    batch = [labelled(40, 64, BOXES, CLASSES), labelled(64, 50, BOXES[:1], [1])]
    losses = losses_of(model, batch)
    assert set(losses) == LOSSES
    # By the network alone: the batch is padded to 64x64, the masks with zeros.
    pixels = torch.zeros(2, 3, 64, 64)
    masks = [torch.zeros(2, 64, 64), torch.zeros(1, 64, 64)]
    for k, given in enumerate(batch):
        height, width = given["image"].shape[-2:]
        pixels[k, :, :height, :width] = (given["image"] - model.pixel_mean) / model.pixel_std
        masks[k][:, :height, :width] = given["instances"].gt_masks.tensor
    torch.manual_seed(1)
    labels = [given["instances"].gt_classes for given in batch]
    expected = model.network(pixels, mask_labels=masks, class_labels=labels).loss
    torch.testing.assert_close(sum(losses.values()), expected)


def test_polygons_train_as_their_bitmaps(model):
    losses = losses_of(model, [labelled(40, 64, BOXES, CLASSES)])
    drawn = losses_of(model, [labelled(40, 64, BOXES, CLASSES, polygons=True)])
    assert losses == drawn


@pytest.mark.parametrize("backbone", [RESNET, SWIN, CONVNEXT], ids=lambda b: b["model_type"])
def test_every_parameter_learns_with_and_without_objects(backbone):
    model = make(backbone=backbone)
    # DistributedDataParallel waits for a gradient of each of them.
    for batch in ([labelled(40, 64, BOXES, CLASSES), labelled(33, 64, [], [])],
                  [labelled(64, 64, [], [], polygons=True)]):  # fmt: skip
        model.zero_grad(set_to_none=True)
        total = sum(losses_of(model, batch).values())
        total.backward()
        assert torch.isfinite(total)
        gradients = {name: p.grad for name, p in model.named_parameters()}
        assert all(g is not None and g.isfinite().all() for g in gradients.values())


def test_without_objects_every_query_is_to_find_none(model):
    batch = [labelled(64, 64, [], [])]
    losses = losses_of(model, batch)
    assert losses["loss_mask"] == losses["loss_dice"] == 0
    pixels = ((batch[0]["image"] - model.pixel_mean) / model.pixel_std)[None]
    none = model.network(pixels).class_queries_logits.log_softmax(-1)[..., -1]
    torch.testing.assert_close(losses["loss_class"], 2.0 * -none.mean())  # class_weight


def test_right_answers_cost_nothing_and_wrong_ones_much(model, monkeypatch):
    batch = [labelled(64, 64, BOXES, CLASSES)]
    masks = batch[0]["instances"].gt_masks.tensor.float()
    answers = torch.full((1, 6, 64, 64), -20.0)
    answers[0, 3], answers[0, 1] = 40 * masks[0] - 20, 40 * masks[1] - 20
    names = torch.zeros(1, 6, 3)
    names[0, :, 2] = 20.0
    names[0, 3] = torch.tensor([20.0, 0, 0])
    names[0, 1] = torch.tensor([0, 20.0, 0])
    layer = {"masks_queries_logits": answers, "class_queries_logits": names}

    class Answers:
        masks_queries_logits, class_queries_logits, auxiliary_logits = answers, names, [layer]

    monkeypatch.setattr(model.network, "forward", lambda *args, **kwargs: Answers)
    right = losses_of(model, batch)
    assert right["loss_class"] < 1e-6
    # 5 times 1 - Dice; points are drawn at the edges too, between pixels of both kinds.
    assert right["loss_dice"] < 0.5
    assert right["loss_class_aux"] < 1e-6
    names[0, [1, 3]] = names[0, [3, 1]]
    wrong = losses_of(model, batch)
    # The masks decide who answers for whom; two of six queries (weights 1, 1 and 4 times 0.1) are
    # 20 nats off: 2 * 40 / 2.4.
    assert wrong["loss_class"].item() == pytest.approx(2 * 40 / 2.4, rel=1e-4)


def test_instances_have_the_size_that_is_asked_for(model):
    model.eval()
    inputs = [{"image": image(40, 64), "height": 80, "width": 100}, {"image": image(33, 50)}]
    with torch.no_grad():
        first, second = (output["instances"] for output in model(inputs))
    assert first.image_size == (80, 100)
    assert second.image_size == (33, 50)
    for found in (first, second):
        assert found.pred_masks.shape == (len(found), *found.image_size)
        assert found.pred_masks.dtype == torch.bool
        assert 0 < len(found) <= 12  # 6 queries, 2 classes
        assert ((found.scores > 0) & (found.scores <= 1)).all()
        assert (found.scores.diff() <= 0).all()
        assert set(found.pred_classes.tolist()) <= {0, 1}


def fields(instances):
    return {k: getattr(v, "tensor", v) for k, v in instances.get_fields().items()}


def assert_alike(one, other):
    assert one.image_size == other.image_size
    for name, values in fields(one).items():
        torch.testing.assert_close(fields(other)[name], values, msg=name)


def test_a_batch_is_its_images(model):
    model.eval()
    sizes = [(40, 64), (64, 64), (33, 90), (50, 40)]
    inputs = [{"image": image(*size, seed)} for seed, size in enumerate(sizes)]
    with torch.no_grad():
        together = model(inputs)
        alone = [model([one])[0] for one in inputs]
    for one, other in zip(together, alone, strict=True):
        assert_alike(one["instances"], other["instances"])


def test_evaluation_takes_instances_as_they_are(model):
    model.eval()
    inputs = [{"image": image(40, 64), "height": 80, "width": 100}]
    with torch.no_grad():
        plain, unpasted = model(inputs), UnpastedDetector(model)(inputs)
        bare = model.inference(inputs, do_postprocess=False)
    assert_alike(plain[0]["instances"], unpasted[0]["instances"])
    assert_alike(plain[0]["instances"], bare[0])


def test_the_order_of_the_networks_queries_means_nothing(model):
    model.eval()
    inputs = [{"image": image(64, 64)}]
    with torch.no_grad():
        before = model(inputs)[0]["instances"]
        module = model.network.model.transformer_module
        for table in (module.queries_embedder, module.queries_features):
            table.weight.copy_(table.weight[[3, 5, 0, 1, 4, 2]])
        after = model(inputs)[0]["instances"]
    torch.testing.assert_close(after.scores, before.scores)
    assert torch.equal(after.pred_masks, before.pred_masks)


def test_half_precision(model):
    batch = [labelled(40, 64, BOXES, CLASSES), labelled(64, 64, [], [])]
    full = losses_of(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        half = losses_of(model, batch)
        sum(half.values()).backward()
        with torch.no_grad():
            found = model.eval()(batch)[0]["instances"]
    for name in LOSSES:  # 8 bits of mantissa, through three layers
        assert half[name].dtype == torch.float32
        assert half[name].item() == pytest.approx(full[name].item(), rel=0.1), name
    assert found.scores.dtype == torch.float32


def test_options_of_the_detections():
    model = make(max_detections=3, test_score_thresh=0.0).eval()
    inputs = [{"image": image(64, 64)}]
    with torch.no_grad():
        scores = model(inputs)[0]["instances"].scores
        assert len(scores) <= 3
        model.test_score_thresh = scores[0].item()
        assert len(model(inputs)[0]["instances"]) == 0


def test_what_the_house_asks_a_model(model):
    assert model.num_classes == 2
    assert model.device == torch.device("cpu")
    assert model.input_format == "RGB"
    assert all(name.startswith("network.") for name in model.state_dict())
    assert not any("empty_weight" in name for name in model.state_dict())
    names = {name for name, _ in model.backbone.named_parameters()}
    prefix = "network.model.pixel_level_module.encoder."
    assert {prefix + name for name in names} < {name for name, _ in model.named_parameters()}


def test_the_backbone_learns_at_a_tenth(model):
    groups = get_default_optimizer_params(model, 1e-3, lr_factor_func=lr_factors(backbone=0.1))
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    backbone = {id(p) for p in model.backbone.parameters()}
    assert {rates[p] for p in backbone} == {1e-3 * 0.1}
    assert {rates[p] for p in rates.keys() - backbone} == {1e-3}


@pytest.mark.parametrize(
    "backbone, settings, match",
    [
        (dict(model_type="swim"), {}, "did you mean 'swin'"),
        (RESNET, dict(num_query=3), "unknown setting of Mask2Former 'num_query'; did you mean"),
        (RESNET, dict(use_auxiliary_loss=False), "unknown setting of Mask2Former"),
        (dict(SWIN, depth=3), {}, "backbone swin 'depth'; did you mean 'depths'"),
        (RESNET, dict(num_queries="many"), "settings of Mask2FormerConfig: .*num_queries"),
        (RESNET, dict(feature_size=48), "feature_size=48 must be a multiple of 32"),
        (RESNET, dict(num_attention_heads=3), "feature_size=32 must be a multiple of .*heads=3"),
    ],
)
def test_mistakes_in_the_settings(backbone, settings, match):
    with pytest.raises(UserError, match=match):
        build_mask2former(2, backbone, **{**TINY, **settings})


def test_mistakes_in_the_model(model):
    with pytest.raises(UserError, match="network has 2 classes and the model 3"):
        TransformersSegmenter(model.network, 3, [0.0] * 3, [1.0] * 3)
    with pytest.raises(UserError, match="num_classes=0 must be at least 1"):
        build_mask2former(0, RESNET)
    with pytest.raises(UserError, match="come without instances; take .*InstanceMapper"):
        model.train()([{"image": image(40, 40)}])


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[detr\]'"):
        build_mask2former(2, RESNET)
