"""Mask R-CNN with timm's MobileNetV3 and light heads: for devices without much of anything."""

from .common.models.mask_rcnn_timm import lighten
from .mask_rcnn_resnet18_FPN import dataloader, dataset, lr_multiplier, model, optimizer, train

model.backbone.bottom_up.name = "mobilenetv3_large_100.ra_in1k"
lighten(model)
train.init_checkpoint = "timm://mobilenetv3_large_100.ra_in1k"
train.output_dir = "./output/mask_rcnn_mobilenetv3_FPN"
