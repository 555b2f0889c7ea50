"""Recipe (a): everything at 256x256, flips and rotations, Adam 0.001, batch 16, 5 epochs."""

from detectron2.config import LazyCall as L
from detectron2.data import transforms as T

from ..common.optim import Adam as optimizer
from ..common.schedule import cosine as lr_multiplier
from ..mask_rcnn_R_50_FPN import dataloader, dataset, model, train

dataloader.train.mapper.augmentations = [
    L(T.RandomFlip)(horizontal=True),
    L(T.RandomRotation)(angle=[-15.0, 15.0], expand=False),
    L(T.Resize)(shape=[256, 256]),
]
dataloader.train.aspect_ratio_grouping = False  # all images have one size
dataloader.train.total_batch_size = 16
dataloader.test.mapper.augmentations = [L(T.Resize)(shape=[256, 256])]
optimizer.lr = 1e-3
train.epochs = 5
train.output_dir = "./output/resize256_adam"
