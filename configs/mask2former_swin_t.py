"""Mask2Former Swin-T on cake_car_dog_person, fine-tuned from the published COCO weights.

As in the paper: large-scale jitter to 1024x1024, AdamW 1e-4 with a tenth of it for the backbone,
weight decay 0.05, gradients clipped to 0.01, batch 16, steps at 8/9 and 26/27. From random weights
(``train.init_checkpoint=''``) it needs COCO's 50 epochs.
"""

from project.data.augmentation import LargeScaleJitter

from detectron2.config import LazyCall as L
from detectron2.data import transforms as T

from .common.data.coco_subset import dataloader, dataset
from .common.models.mask2former import model
from .common.optim import AdamW as optimizer
from .common.schedule import multistep as lr_multiplier
from .common.train import train

dataloader.train.mapper.image_format = "${model.input_format}"
dataloader.train.mapper.mask_format = "bitmask"
dataloader.train.mapper.augmentations = [
    L(T.RandomFlip)(horizontal=True),
    L(LargeScaleJitter)(size=[1024, 1024], scale=[0.1, 2.0]),
]
dataloader.train.aspect_ratio_grouping = False

optimizer.lr = 1e-4
optimizer.max_norm = 0.01
optimizer.params.lr_factor_func.backbone = 0.1
optimizer.params.overrides = dict(
    relative_position_bias_table=dict(weight_decay=0.0), level_embed=dict(weight_decay=0.0)
)
lr_multiplier.milestones = [8 / 9, 26 / 27]
train.epochs = 12
train.amp.enabled = True
train.init_checkpoint = "transformers://facebook/mask2former-swin-tiny-coco-instance"
train.output_dir = "./output/mask2former_swin_t"
