"""Whole models; API of ``detectron2.modeling.meta_arch``."""

from .rcnn import GeneralizedRCNN

__all__ = ["GeneralizedRCNN"]
