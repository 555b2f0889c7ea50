"""Image weights that bring the classes' shares of all objects as near to equal as they come."""

from project.data.balance import TargetBalanced

from detectron2.config import LazyCall as L

from .plain import dataloader, dataset, lr_multiplier, model, optimizer, train

dataloader.train.sampling = L(TargetBalanced)()
