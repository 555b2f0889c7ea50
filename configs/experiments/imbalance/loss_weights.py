"""Target-balanced, and rare classes weigh more in the box head's loss."""

from project.data.loss_weights import class_loss_weights
from project.data.sampler import InverseFrequency
from project.modeling.heads import BalancedOutputLayers

from detectron2.config import LazyCall as L

from .target_balanced import dataloader, dataset, lr_multiplier, model, optimizer, train

model.roi_heads.box_predictor._target_ = BalancedOutputLayers
model.roi_heads.box_predictor.class_weights = L(class_loss_weights)(
    subset="${dataset.name}",
    split="${dataset.train}",
    root="${dataset.root}",
    num_images="${dataset.num_images}",
    seed="${train.seed}",
    scheme=L(InverseFrequency)(power=0.5),
)
