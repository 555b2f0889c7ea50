"""U²-Net small on the scenes' persons; as ``unet_R34``, with fewer epochs."""

from ...common.models.semantic import u2net_small as model
from .unet_R34 import dataloader, dataset, lr_multiplier, optimizer, train

model.smallest_part = 0.002
train.epochs = 9  # a step costs twice as much: its maps are large
