"""Heads that work on each proposal; API of ``detectron2.modeling.roi_heads``."""

from ...utils.aliases import names_of_submodules
from .box_head import FastRCNNConvFCHead
from .fast_rcnn import FastRCNNOutputLayers
from .mask_head import BaseMaskRCNNHead, MaskRCNNConvUpsampleHead
from .roi_heads import ROIHeads, StandardROIHeads, select_foreground_proposals

__all__ = [
    "BaseMaskRCNNHead",
    "FastRCNNConvFCHead",
    "FastRCNNOutputLayers",
    "MaskRCNNConvUpsampleHead",
    "ROIHeads",
    "StandardROIHeads",
    "select_foreground_proposals",
]

__getattr__ = names_of_submodules(
    __name__,
    {"fast_rcnn": ["fast_rcnn_inference"], "mask_head": ["mask_rcnn_inference", "mask_rcnn_loss"]},
)
