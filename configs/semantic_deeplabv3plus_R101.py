"""DeepLabv3+ with a ResNet-101 on cake_car_dog_person; else as ``semantic_deeplabv3plus_R50``."""

from .common.models.semantic import deeplabv3plus_R101 as model
from .semantic_deeplabv3plus_R50 import dataloader, dataset, lr_multiplier, optimizer, train

train.output_dir = "./output/semantic_deeplabv3plus_R101"
