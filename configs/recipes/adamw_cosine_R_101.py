"""Recipe (c), R101: AdamW, cosine with warm-up, mixed precision, from ImageNet weights."""

from .adamw_cosine_R_50 import dataloader, dataset, lr_multiplier, model, optimizer, train

model.backbone.bottom_up.stages.depth = 101
train.init_checkpoint = "detectron2://ImageNetPretrained/MSRA/R-101.pkl"
train.output_dir = "./output/adamw_cosine_R_101"
