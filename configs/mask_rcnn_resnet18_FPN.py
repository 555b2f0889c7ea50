"""Mask R-CNN with timm's ResNet-18, from ImageNet weights: half of R50-FPN's backbone.

AdamW, cosine, batch 16, 24 epochs. ResNet-34: ``model.backbone.bottom_up.name=resnet34.a1_in1k
train.init_checkpoint=timm://resnet34.a1_in1k``.
"""

from .common.data.coco_subset import dataloader, dataset
from .common.models.mask_rcnn_timm import model
from .common.optim import AdamW as optimizer
from .common.schedule import cosine as lr_multiplier
from .common.train import train

dataloader.train.mapper.image_format = "${model.input_format}"
optimizer.lr = 1e-4
train.epochs = 24
train.init_checkpoint = "timm://resnet18.a1_in1k"
train.output_dir = "./output/mask_rcnn_resnet18_FPN"
