"""Mask R-CNN with timm's ConvNeXt-T, of which all is trained: it has layer norms, not batch norms.

Layers near the image can learn slower: ``optimizer.params.lr_factor_func.layer_decay=0.8``.
"""

from .mask_rcnn_resnet18_FPN import dataloader, dataset, lr_multiplier, model, optimizer, train

model.backbone.bottom_up.name = "convnext_tiny.in12k_ft_in1k"
model.backbone.bottom_up.norm = ""
model.backbone.bottom_up.freeze_at = 0
train.init_checkpoint = "timm://convnext_tiny.in12k_ft_in1k"
train.output_dir = "./output/mask_rcnn_convnext_tiny_FPN"
