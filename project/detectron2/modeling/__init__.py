"""Mask R-CNN and its parts; API of ``detectron2.modeling``.

There is no registry of architectures: configs name classes. (`transformers` takes the presence of
one for an installed Detectron2.)
"""

from .anchor_generator import DefaultAnchorGenerator
from .backbone import (
    FPN,
    Backbone,
    BasicBlock,
    BasicStem,
    BottleneckBlock,
    LastLevelMaxPool,
    LastLevelP6P7,
    ResNet,
    ResNetBlockBase,
    make_stage,
)
from .box_regression import Box2BoxTransform
from .matcher import Matcher
from .meta_arch import GeneralizedRCNN
from .poolers import ROIPooler, assign_boxes_to_levels, convert_boxes_to_pooler_format
from .postprocessing import detector_postprocess, sem_seg_postprocess
from .proposal_generator import (
    RPN,
    StandardRPNHead,
    add_ground_truth_to_proposals,
    find_top_rpn_proposals,
)
from .roi_heads import (
    BaseMaskRCNNHead,
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    MaskRCNNConvUpsampleHead,
    ROIHeads,
    StandardROIHeads,
    fast_rcnn_inference,
    mask_rcnn_inference,
    mask_rcnn_loss,
    select_foreground_proposals,
)
from .sampling import subsample_labels

__all__ = [
    "FPN",
    "RPN",
    "Backbone",
    "BaseMaskRCNNHead",
    "BasicBlock",
    "BasicStem",
    "BottleneckBlock",
    "Box2BoxTransform",
    "DefaultAnchorGenerator",
    "FastRCNNConvFCHead",
    "FastRCNNOutputLayers",
    "GeneralizedRCNN",
    "LastLevelMaxPool",
    "LastLevelP6P7",
    "MaskRCNNConvUpsampleHead",
    "Matcher",
    "ROIHeads",
    "ROIPooler",
    "ResNet",
    "ResNetBlockBase",
    "StandardROIHeads",
    "StandardRPNHead",
    "add_ground_truth_to_proposals",
    "assign_boxes_to_levels",
    "convert_boxes_to_pooler_format",
    "detector_postprocess",
    "fast_rcnn_inference",
    "find_top_rpn_proposals",
    "make_stage",
    "mask_rcnn_inference",
    "mask_rcnn_loss",
    "select_foreground_proposals",
    "sem_seg_postprocess",
    "subsample_labels",
]
