"""U-Net with ResNet-34 from random weights on the scenes' persons: minutes on two cores.

Four fifths of the run show scenes at 80x96, which costs a fifth of whole ones; the rest shows them
as they are, and so does the test. The last model is judged once: nothing is chosen by the test
split. Parts below 0.2 % of an image, which are hardly ever persons, become background.
"""

from project.data.augmentation import ColorJitter, UntilPosition

from detectron2.config import LazyCall as L
from detectron2.data import transforms as T

from ...person_unet_R34 import dataloader, dataset, lr_multiplier, model, optimizer, train

dataset.name = "scenes_person"
dataset.test = "test"
model.network.encoder_weights = None

dataloader.train.total_batch_size = 4
dataloader.train.num_workers = 0
dataloader.train.mapper.cache_mb = 64  # all scenes
dataloader.train.mapper.augmentations = [
    L(UntilPosition)(
        until="${part:${part:${train.max_iter},${dataloader.train.total_batch_size}},0.8}",
        augmentations=[L(T.Resize)(shape=[80, 96])],
    ),
    L(T.RandomFlip)(horizontal=True),
    L(ColorJitter)(brightness=0.2, contrast=0.2, saturation=0.2),
]
dataloader.test.mapper.augmentations = []
dataloader.test.num_workers = 0
dataloader.evaluator.min_part = 0.002

optimizer.lr = 1e-3
train.epochs = 22
train.ema.decay = 0.99
train.eval_period = 0  # once, at the end
train.num_pictures = 0
train.hooks.validation_loss = train.hooks.best_checkpoint = train.hooks.prediction_preview = None
