"""Classes in less than half of the images are drawn more often (LVIS's rule)."""

from project.data.sampler import RepeatFactors

from detectron2.config import LazyCall as L

from .plain import dataloader, dataset, lr_multiplier, model, optimizer, train

dataloader.train.sampling = L(RepeatFactors)(threshold=0.5)
