"""Recipe (b): SGD 0.001, batch 2, 10 epochs, flips and crops."""

from detectron2.config import LazyCall as L
from detectron2.data import transforms as T

from ..mask_rcnn_R_50_FPN import dataloader, dataset, lr_multiplier, model, optimizer, train

dataloader.train.mapper.augmentations = [
    L(T.RandomCrop)(crop_type="relative_range", crop_size=[0.6, 0.6]),
    L(T.ResizeShortestEdge)(
        short_edge_length=[640, 672, 704, 736, 768, 800], sample_style="choice", max_size=1333
    ),
    L(T.RandomFlip)(horizontal=True),
]
dataloader.train.total_batch_size = 2
optimizer.lr = 1e-3
train.epochs = 10
train.output_dir = "./output/sgd_crops"
