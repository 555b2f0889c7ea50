"""Mask R-CNN R101-FPN on cake_car_dog_person: as R50-FPN, with 23 blocks in the fourth stage."""

from detectron2.model_zoo import get_checkpoint_url

from .mask_rcnn_R_50_FPN import dataloader, dataset, lr_multiplier, model, optimizer, train

model.backbone.bottom_up.stages.depth = 101
train.init_checkpoint = get_checkpoint_url("COCO-InstanceSegmentation/mask_rcnn_R_101_FPN_3x.yaml")
train.output_dir = "./output/mask_rcnn_R_101_FPN"
