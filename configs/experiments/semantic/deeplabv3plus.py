"""DeepLabv3+ with ResNet-50 from random weights on the scenes' persons; as ``unet_R34``."""

from ...common.models.semantic import deeplabv3plus_R50 as model
from .unet_R34 import dataloader, dataset, lr_multiplier, optimizer, train

model.network.encoder_weights = None
model.smallest_part = 0.002
train.epochs = 12
