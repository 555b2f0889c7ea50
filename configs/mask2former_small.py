"""A small Mask2Former on the built-in scenes, from random weights on a CPU, beside the quickstart.

Data, augmentation, batch and length are the quickstart's. Its numbers on so few images say little
about the method, which is trained on 100,000 and more.
"""

from .common.models.mask2former import small as model
from .quickstart import dataloader, dataset, lr_multiplier, optimizer, train

dataloader.train.mapper.image_format = "${model.input_format}"
optimizer.lr = 1e-3
optimizer.max_norm = 0.1
train.output_dir = "./output/mask2former_small"
