"""Person against background: U-Net with a ResNet-34 encoder, trained on ImageNet before.

Images and masks at 320x320, flips and colour jitter; binary cross entropy and Dice; AdamW, cosine,
mixed precision, 30 epochs; ``model_best.pth`` has the smallest validation loss. The data, in shares
of 75, 12.5 and 12.5 percent:

    python datasets/prepare_coco_subset.py --coco instances_train2017.json --images train2017 \\
        --person --ratio 75 12.5 12.5

Or ``dataset.name=scenes_person``: the built-in scenes. Without the hub's weights:
``model.network.encoder_weights=null``.
"""

from .common.data.semantic_subset import dataloader, dataset
from .common.models.semantic import unet_R34 as model
from .common.optim import AdamW as optimizer
from .common.schedule import cosine as lr_multiplier
from .common.semantic_train import train

dataset.name = "person"
optimizer.lr = 5e-4
train.amp.enabled = True
train.amp.precision = "bfloat16"  # needs no scaled loss, and works on the CPU too
train.epochs = 30
train.output_dir = "./output/person_unet_R34"
