"""U-Net with ResNet-34 from random weights on the scenes' persons: minutes on two cores.

Most steps see the scenes at 96x128, which is cheap; the last three tenths see them at 128x160,
where outlines are learnt, and so does the test. The last model is judged once, so nothing is chosen
by the test split; sizes and ``smallest_part`` were chosen on the validation split.
"""

from project.data.augmentation import ColorJitter, UntilPosition

from detectron2.config import LazyCall as L
from detectron2.data import transforms as T

from ...person_unet_R34 import dataloader, dataset, lr_multiplier, model, optimizer, train

dataset.name = "scenes_person"
dataset.test = "test"
model.network.encoder_weights = None
model.smallest_part = 0.002

dataloader.train.total_batch_size = 4
dataloader.train.num_workers = 0
dataloader.train.mapper.cache_mb = 64  # all scenes
dataloader.train.mapper.augmentations = [
    L(UntilPosition)(
        until="${part:${part:${train.max_iter},${dataloader.train.total_batch_size}},0.7}",
        augmentations=[L(T.Resize)(shape=[96, 128])],
        otherwise=[L(T.Resize)(shape=[128, 160])],
    ),
    L(T.RandomFlip)(horizontal=True),
    L(ColorJitter)(
        brightness=0.2, contrast=0.2, saturation=0.2, image_format="${model.input_format}"
    ),
]
dataloader.test.mapper.augmentations = [L(T.Resize)(shape=[128, 160])]
dataloader.test.num_workers = 0

optimizer.lr = 1e-3
train.epochs = 19
train.eval_period = 0  # once, at the end
train.num_pictures = 0
train.hooks.validation_loss = train.hooks.best_checkpoint = train.hooks.prediction_preview = None
