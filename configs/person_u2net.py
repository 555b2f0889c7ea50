"""Person against background: U²-Net from random weights; as ``person_unet_R34``, at twice its rate.

``model.network.size=small`` has 1.13 instead of 44.0 million parameters.
"""

from .common.models.semantic import u2net as model
from .person_unet_R34 import dataloader, dataset, lr_multiplier, optimizer, train

optimizer.lr = 1e-3
train.output_dir = "./output/person_u2net"
