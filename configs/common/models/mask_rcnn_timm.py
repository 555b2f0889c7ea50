"""Mask R-CNN with a network of timm under the FPN; its name is ``model.backbone.bottom_up.name``.

timm's networks take RGB with ImageNet's mean and deviation, in grey levels here (those called
``tf_...`` mostly 127.5 for both). As with Detectron2's ResNets, batch norms and the first two
stages are frozen, which suits published weights only (``train.init_checkpoint=timm://NAME``): from
scratch, set ``train.init_checkpoint=''``, ``model.backbone.bottom_up.norm=''`` and
``model.backbone.bottom_up.freeze_at=0``. The data must follow: its mapper's ``image_format`` is
``${model.input_format}``.
"""

from project.modeling.timm_backbone import TimmBackbone

from detectron2.config import LazyCall as L

from .mask_rcnn_fpn import model

model.backbone.bottom_up = L(TimmBackbone)(
    name="resnet18.a1_in1k", norm="FrozenBN", freeze_at=2, out_features="${..in_features}"
)
model.input_format = "RGB"
model.pixel_mean = [123.675, 116.28, 103.53]
model.pixel_std = [58.395, 57.12, 57.375]


def lighten(model):
    """Half the FPN's channels and smaller heads, for a backbone of a few million parameters."""
    model.backbone.out_channels = 128
    model.roi_heads.box_head.fc_dims = [512, 512]
    model.roi_heads.box_predictor.input_shape.channels = 512
    model.roi_heads.mask_head.conv_dims = [128] * 5
