"""An image weighs as much as its rarest class: one over the square root of its objects."""

from project.data.sampler import InverseFrequency

from detectron2.config import LazyCall as L

from .plain import dataloader, dataset, lr_multiplier, model, optimizer, train

dataloader.train.sampling = L(InverseFrequency)(power=0.5)
