"""Mask R-CNN with a ResNet-50 FPN (He et al. 2017; Lin et al. 2017), COCO's usual settings.

Weights of the MSRA kind: BGR input, standard deviation 1, stride in the 1x1 convolutions. Norms and
the first two stages are frozen, which suits published weights only: from scratch, set
``model.backbone.bottom_up.stem.norm=BN`` and ``model.backbone.bottom_up.freeze_at=0``.
"""

from project.data.catalog import num_classes

from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling import FPN, GeneralizedRCNN, ResNet, StandardROIHeads
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.backbone import BasicStem
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN, StandardRPNHead
from detectron2.modeling.roi_heads import (
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    MaskRCNNConvUpsampleHead,
)

backbone = L(FPN)(
    in_features=["res2", "res3", "res4", "res5"],
    out_channels=256,
    top_block=L(LastLevelMaxPool)(),
    bottom_up=L(ResNet)(
        stages=L(ResNet.make_default_stages)(depth=50, norm="${..stem.norm}", stride_in_1x1=True),
        stem=L(BasicStem)(in_channels=3, out_channels=64, norm="FrozenBN"),
        out_features="${..in_features}",
        freeze_at=2,
    ),
)

proposal_generator = L(RPN)(
    head=L(StandardRPNHead)(in_channels="${model.backbone.out_channels}", num_anchors=3),
    in_features=["p2", "p3", "p4", "p5", "p6"],
    anchor_generator=L(DefaultAnchorGenerator)(
        strides=[4, 8, 16, 32, 64],
        sizes=[[32], [64], [128], [256], [512]],
        aspect_ratios=[0.5, 1.0, 2.0],
        offset=0.0,
    ),
    anchor_matcher=L(Matcher)(
        labels=[0, -1, 1], thresholds=[0.3, 0.7], allow_low_quality_matches=True
    ),
    box2box_transform=L(Box2BoxTransform)(weights=[1.0, 1.0, 1.0, 1.0]),
    positive_fraction=0.5,
    batch_size_per_image=256,
    pre_nms_topk=[2000, 1000],
    post_nms_topk=[1000, 1000],
    nms_thresh=0.7,
)

# Regions are pooled from the levels p2..p5, whose strides are 4..32.
scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]


def pooler(size: int):
    return L(ROIPooler)(scales=scales, output_size=size, sampling_ratio=0, pooler_type="ROIAlignV2")


roi_heads = L(StandardROIHeads)(
    num_classes=L(num_classes)(subset="${dataset.name}", root="${dataset.root}"),
    proposal_matcher=L(Matcher)(labels=[0, 1], thresholds=[0.5], allow_low_quality_matches=False),
    positive_fraction=0.25,
    batch_size_per_image=512,
    box_in_features=["p2", "p3", "p4", "p5"],
    box_pooler=pooler(7),
    box_head=L(FastRCNNConvFCHead)(
        conv_dims=[],
        fc_dims=[1024, 1024],
        input_shape=L(ShapeSpec)(width=7, height=7, channels="${model.backbone.out_channels}"),
    ),
    box_predictor=L(FastRCNNOutputLayers)(
        num_classes="${..num_classes}",
        box2box_transform=L(Box2BoxTransform)(weights=[10.0, 10.0, 5.0, 5.0]),
        test_score_thresh=0.05,
        input_shape=L(ShapeSpec)(channels=1024),
    ),
    mask_in_features="${.box_in_features}",
    mask_pooler=pooler(14),
    mask_head=L(MaskRCNNConvUpsampleHead)(
        num_classes="${..num_classes}",
        conv_dims=[256] * 5,
        input_shape=L(ShapeSpec)(width=14, height=14, channels="${model.backbone.out_channels}"),
    ),
)

model = L(GeneralizedRCNN)(
    backbone=backbone,
    proposal_generator=proposal_generator,
    roi_heads=roi_heads,
    input_format="BGR",
    pixel_mean=[103.53, 116.28, 123.675],
    pixel_std=[1.0, 1.0, 1.0],
)
