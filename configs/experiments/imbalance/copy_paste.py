"""Target-balanced, and objects of rare classes are pasted into half of the pictures."""

from project.data.augmentation import CopyPaste

from detectron2.config import LazyCall as L

from .target_balanced import dataloader, dataset, lr_multiplier, model, optimizer, train

dataloader.train.mapper.copy_paste = L(CopyPaste)(class_weights="inverse_frequency")
