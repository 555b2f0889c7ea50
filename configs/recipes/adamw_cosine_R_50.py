"""Recipe (c), R50: AdamW, cosine with warm-up, mixed precision, from ImageNet weights."""

from ..common.optim import AdamW as optimizer
from ..common.schedule import cosine as lr_multiplier
from ..mask_rcnn_R_50_FPN import dataloader, dataset, model, train

optimizer.lr = 1e-4
train.amp.enabled = True
train.init_checkpoint = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
train.output_dir = "./output/adamw_cosine_R_50"
