"""A small Mask R-CNN on the built-in scenes: six to ten minutes on two CPU cores, from scratch.

Model: 1.2 million parameters; one basic block a stage, batch norm. Data: 400 training scenes of
about 144x176 pixels. Schedule: 20 epochs of batch 4, AdamW, cosine.
"""

from project.data.augmentation import ColorJitter
from project.modeling.backbones import build_small_resnet

from detectron2.config import LazyCall as L
from detectron2.data import transforms as T

from .common.data.coco_subset import dataloader, dataset
from .common.models.mask_rcnn_fpn import model
from .common.optim import AdamW as optimizer
from .common.schedule import cosine as lr_multiplier
from .common.train import train

dataset.name = "scenes"
dataloader.train.total_batch_size = 4
dataloader.train.num_workers = 0  # two cores: the model needs both
dataloader.train.mapper.augmentations = [
    L(T.RandomFlip)(horizontal=True),
    L(ColorJitter)(
        brightness=0.2, contrast=0.2, saturation=0.2, image_format="${model.input_format}"
    ),
]
dataloader.train.mapper.mask_format = "bitmask"  # every fifth object of the scenes is RLE
dataloader.test.mapper.augmentations = []
dataloader.test.num_workers = 0

model.pixel_std = [58.0, 57.0, 57.0]
model.backbone.bottom_up = L(build_small_resnet)(
    widths=[24, 48, 96, 192], norm="BN", out_features="${..in_features}"
)
model.backbone.out_channels = 48
model.backbone.top_block = None
model.proposal_generator.in_features = ["p2", "p3", "p4", "p5"]
model.proposal_generator.anchor_generator.sizes = [[16], [32], [64], [112]]
model.proposal_generator.anchor_generator.strides = [4, 8, 16, 32]
model.proposal_generator.batch_size_per_image = 64
model.proposal_generator.pre_nms_topk = [400, 200]
model.proposal_generator.post_nms_topk = [200, 100]
model.roi_heads.batch_size_per_image = 64
model.roi_heads.box_pooler.sampling_ratio = 2
model.roi_heads.mask_pooler.sampling_ratio = 2
model.roi_heads.box_head.fc_dims = [128, 128]
model.roi_heads.box_predictor.input_shape.channels = 128
model.roi_heads.mask_head.conv_dims = [48] * 4  # three convolutions and the deconvolution

optimizer.lr = 2e-3
train.epochs = 20
train.output_dir = "./output/quickstart"
