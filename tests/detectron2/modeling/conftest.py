"""The Mask R-CNNs of the golden figures, and their two images."""

from __future__ import annotations

import copy

import project  # noqa: F401  makes `detectron2` importable

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import FPN, GeneralizedRCNN
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.backbone import BasicStem, BottleneckBlock, ResNet
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN, StandardRPNHead
from detectron2.modeling.roi_heads import (
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    MaskRCNNConvUpsampleHead,
    StandardROIHeads,
)
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks

RES = ["res2", "res3", "res4", "res5"]
SCALES = (1 / 4, 1 / 8, 1 / 16, 1 / 32)


def _tiny_bottom_up(norm, freeze_at: int, stride_in_1x1: bool, listed) -> ResNet:
    stages, channels = [], 8
    layout = zip([3, 4, 6, 3], [1, 2, 2, 2], [16, 24, 32, 48], [4, 6, 8, 12], strict=True)
    for count, stride, out_channels, neck in layout:
        stages.append(
            ResNet.make_stage(
                BottleneckBlock,
                count,
                in_channels=channels,
                out_channels=out_channels,
                bottleneck_channels=neck,
                stride_per_block=listed([stride] + [1] * (count - 1)),
                stride_in_1x1=stride_in_1x1,
                norm=norm,
            )
        )
        channels = out_channels
    stem = BasicStem(3, 8, norm=norm)
    return ResNet(stem, stages, out_features=listed(RES), freeze_at=freeze_at)


def _full_bottom_up(depth: int) -> ResNet:
    stages = ResNet.make_default_stages(depth=depth, stride_in_1x1=True, norm="FrozenBN")
    return ResNet(BasicStem(3, 64, norm="FrozenBN"), stages, out_features=RES, freeze_at=2)


def make_mask_rcnn(
    depth: int | None = None,
    num_classes: int = 4,
    *,
    norm: str = "FrozenBN",
    freeze_at: int = 2,
    stride_in_1x1: bool = True,
    head_norm="",
    rpn_convs=(-1,),
    box_convs=(),
    agnostic: bool = False,
    pred_boxes: bool = False,
    loss: dict | None = None,
    predictor: dict | None = None,
    rpn_batch: int = 16384,
    roi_batch: int = 8192,
    pre_nms: tuple[int, int] = (200, 200),
    post_nms: tuple[int, int] = (60, 60),
    listed=list,
) -> GeneralizedRCNN:
    """The narrow Mask R-CNN of the figures, or with a ``depth`` the standard one.

    ``listed`` makes the lists that are its arguments.
    """
    if depth is None:
        channels, fc, mask = 16, 24, 12
        bottom_up = _tiny_bottom_up(norm, freeze_at, stride_in_1x1, listed)
    else:
        channels, fc, mask = 256, 1024, 256
        bottom_up = _full_bottom_up(depth)
    loss = loss or {}
    rpn = RPN(
        in_features=listed(["p2", "p3", "p4", "p5", "p6"]),
        head=StandardRPNHead(in_channels=channels, num_anchors=3, conv_dims=listed(rpn_convs)),
        anchor_generator=DefaultAnchorGenerator(
            sizes=listed([[32], [64], [128], [256], [512]]),
            aspect_ratios=listed([0.5, 1.0, 2.0]),
            strides=listed([4, 8, 16, 32, 64]),
            offset=0.0,
        ),
        anchor_matcher=Matcher(
            listed([0.3, 0.7]), listed([0, -1, 1]), allow_low_quality_matches=True
        ),
        box2box_transform=Box2BoxTransform(weights=listed([1.0, 1.0, 1.0, 1.0])),
        batch_size_per_image=rpn_batch,
        positive_fraction=0.5,
        pre_nms_topk=listed(pre_nms),
        post_nms_topk=listed(post_nms),
        **loss,
    )
    heads = StandardROIHeads(
        num_classes=num_classes,
        batch_size_per_image=roi_batch,
        positive_fraction=0.5,
        proposal_matcher=Matcher(listed([0.5]), listed([0, 1])),
        box_in_features=listed(["p2", "p3", "p4", "p5"]),
        box_pooler=ROIPooler(7, listed(SCALES), 0, "ROIAlignV2"),
        box_head=FastRCNNConvFCHead(
            ShapeSpec(channels=channels, height=7, width=7),
            conv_dims=listed(box_convs),
            fc_dims=listed([fc] if box_convs else [fc, fc]),
            conv_norm=head_norm,
        ),
        box_predictor=FastRCNNOutputLayers(
            ShapeSpec(channels=fc),
            box2box_transform=Box2BoxTransform(weights=listed([10.0, 10.0, 5.0, 5.0])),
            num_classes=num_classes,
            test_score_thresh=0.05,
            test_topk_per_image=20,
            cls_agnostic_bbox_reg=agnostic,
            **loss,
            **(predictor or {}),
        ),
        mask_in_features=listed(["p2", "p3", "p4", "p5"]),
        mask_pooler=ROIPooler(14, listed(SCALES), 0, "ROIAlignV2"),
        mask_head=MaskRCNNConvUpsampleHead(
            ShapeSpec(channels=channels, height=14, width=14),
            num_classes=1 if agnostic else num_classes,
            conv_dims=listed([mask] * 5),
            conv_norm=head_norm,
        ),
        train_on_pred_boxes=pred_boxes,
    )
    return GeneralizedRCNN(
        backbone=FPN(
            bottom_up, listed(RES), channels, norm=head_norm, top_block=LastLevelMaxPool()
        ),
        proposal_generator=rpn,
        roi_heads=heads,
        pixel_mean=listed([103.53, 116.28, 123.675]),
        pixel_std=listed([1.0, 1.0, 1.0]),
        input_format="BGR",
    )


def make_batch(images, info: dict, masks: type = PolygonMasks, empty=()) -> list[dict]:
    """Inputs with ground truth; images whose number is in ``empty`` have no instances."""
    batch = []
    for k, (height, width) in enumerate(info["image_sizes"]):
        instances = Instances((height, width))
        polygons = PolygonMasks([] if k in empty else info["polygons"][k])
        classes = [] if k in empty else info["gt_classes"][k]
        instances.gt_boxes = polygons.get_bounding_boxes() if classes else Boxes(torch.zeros(0, 4))
        instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
        if masks is BitMasks:
            polygons = BitMasks.from_polygon_masks(polygons, height, width)
        instances.gt_masks = polygons
        out_height, out_width = info["out_sizes"][k]
        batch.append(
            {
                "image": torch.from_numpy(images[f"image{k}"]),
                "instances": instances,
                "height": out_height,
                "width": out_width,
            }
        )
    return batch


@pytest.fixture(scope="session")
def build_mask_rcnn():
    """`make_mask_rcnn`."""
    return make_mask_rcnn


@pytest.fixture(scope="session")
def tiny_batch(golden):
    """``tiny_batch(masks=PolygonMasks, empty=())``: the two golden images with ground truth."""
    images, info = golden.npz("tiny_rcnn_inputs"), golden.json("tiny_rcnn_inputs")

    def make(masks: type = PolygonMasks, empty=()) -> list[dict]:
        return make_batch(images, copy.deepcopy(info), masks, empty)

    return make


@pytest.fixture(scope="session")
def tiny_model(golden):
    """The narrow model with its golden weights, in evaluation mode; don't change it."""
    model = make_mask_rcnn(pre_nms=(2000, 200), post_nms=(1000, 60))
    model.load_state_dict(golden.pt("tiny_rcnn_state"))
    return model.eval()
