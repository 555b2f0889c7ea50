"""Mask R-CNN with timm's EfficientNet-B0 and light heads."""

from .mask_rcnn_mobilenetv3_FPN import dataloader, dataset, lr_multiplier, model, optimizer, train

model.backbone.bottom_up.name = "efficientnet_b0.ra_in1k"
train.init_checkpoint = "timm://efficientnet_b0.ra_in1k"
train.output_dir = "./output/mask_rcnn_efficientnet_b0_FPN"
