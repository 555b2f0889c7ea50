"""DeepLabv3+ with a ResNet-50 on cake_car_dog_person: the class of each pixel, 512x512, 40 epochs.

The encoder was trained on ImageNet and learns at a tenth of the rate; without the hub's weights:
``model.network.encoder_weights=null optimizer.params.lr_factor_func.backbone=1.0``.
"""

from detectron2.config import LazyCall as L
from detectron2.data import transforms as T

from .common.data.semantic_subset import dataloader, dataset
from .common.models.semantic import deeplabv3plus_R50 as model
from .common.optim import AdamW as optimizer
from .common.schedule import polynomial as lr_multiplier
from .common.semantic_train import train

dataloader.train.mapper.augmentations[0] = L(T.Resize)(shape=[512, 512])
dataloader.test.mapper.augmentations = [L(T.Resize)(shape=[512, 512])]
optimizer.lr = 5e-4
optimizer.params.lr_factor_func.backbone = 0.1
train.amp.enabled = True
train.amp.precision = "bfloat16"
train.epochs = 40
train.output_dir = "./output/semantic_deeplabv3plus_R50"
