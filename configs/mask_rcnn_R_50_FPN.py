"""Mask R-CNN R50-FPN on cake_car_dog_person, fine-tuned from the published COCO weights.

Box and mask predictors keep COCO's rows of classes of the same names; others start fresh. SGD,
batch 16, 24 epochs. The learning rate is a quarter of COCO's 0.02 for 16 images: scale it with the
batch.
"""

from detectron2.model_zoo import get_checkpoint_url

from .common.data.coco_subset import dataloader, dataset
from .common.models.mask_rcnn_fpn import model
from .common.optim import SGD as optimizer
from .common.schedule import multistep as lr_multiplier
from .common.train import train

optimizer.lr = 0.005
train.epochs = 24
train.init_checkpoint = get_checkpoint_url("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml")
train.output_dir = "./output/mask_rcnn_R_50_FPN"
