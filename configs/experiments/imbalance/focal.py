"""Target-balanced, and the focal loss in the box head, which starts at the background's share."""

from project.modeling.heads import BalancedOutputLayers

from .target_balanced import dataloader, dataset, lr_multiplier, model, optimizer, train

model.roi_heads.box_predictor._target_ = BalancedOutputLayers
model.roi_heads.box_predictor.focal_gamma = 2.0
model.roi_heads.box_predictor.background_prior = 0.75
