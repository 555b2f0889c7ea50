"""Mask R-CNN and its parts; API of ``detectron2.modeling``.

There is no registry of architectures: configs name classes. (`transformers` takes the presence of
one for an installed Detectron2.)
"""

from ..utils.aliases import names_of_submodules
from . import anchor_generator, box_regression, matcher, poolers, sampling
from .backbone import FPN, Backbone, ResNet, ResNetBlockBase, make_stage
from .meta_arch import GeneralizedRCNN
from .postprocessing import detector_postprocess
from .roi_heads import BaseMaskRCNNHead, FastRCNNOutputLayers, ROIHeads, StandardROIHeads

__all__ = [
    "FPN",
    "Backbone",
    "BaseMaskRCNNHead",
    "FastRCNNOutputLayers",
    "GeneralizedRCNN",
    "ROIHeads",
    "ResNet",
    "ResNetBlockBase",
    "StandardROIHeads",
    "anchor_generator",
    "box_regression",
    "detector_postprocess",
    "make_stage",
    "matcher",
    "poolers",
    "sampling",
]

__getattr__ = names_of_submodules(
    __name__,
    {
        "anchor_generator": ["DefaultAnchorGenerator"],
        "backbone": [
            "BasicBlock",
            "BasicStem",
            "BottleneckBlock",
            "LastLevelMaxPool",
            "LastLevelP6P7",
        ],
        "box_regression": ["Box2BoxTransform"],
        "matcher": ["Matcher"],
        "poolers": ["ROIPooler", "assign_boxes_to_levels", "convert_boxes_to_pooler_format"],
        "postprocessing": ["sem_seg_postprocess"],
        "proposal_generator": [
            "RPN",
            "StandardRPNHead",
            "add_ground_truth_to_proposals",
            "find_top_rpn_proposals",
        ],
        "roi_heads": [
            "FastRCNNConvFCHead",
            "MaskRCNNConvUpsampleHead",
            "fast_rcnn_inference",
            "mask_rcnn_inference",
            "mask_rcnn_loss",
            "select_foreground_proposals",
        ],
        "sampling": ["subsample_labels"],
    },
)
