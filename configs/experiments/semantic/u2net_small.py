"""U²-Net small on the scenes' persons; else as ``unet_R34``, with as many steps as take as long."""

from ...common.models.semantic import u2net_small as model
from .unet_R34 import dataloader, dataset, lr_multiplier, optimizer, train

train.epochs = 12
