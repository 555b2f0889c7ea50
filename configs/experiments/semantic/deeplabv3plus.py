"""DeepLabv3+ with ResNet-50 from random weights; else as ``unet_R34``, in about the same time."""

from ...common.models.semantic import deeplabv3plus_R50 as model
from .unet_R34 import dataloader, dataset, lr_multiplier, optimizer, train

model.network.encoder_weights = None
train.epochs = 15
