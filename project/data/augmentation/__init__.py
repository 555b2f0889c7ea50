"""Augmentations beyond Detectron2's, for configs; all randomness is numpy's global generator.

`project.data.mapper.InstanceMapper` applies them: ``augmentations`` to each picture,
``copy_paste`` between two, ``final_augmentations`` to the finished one.
"""

from project.data.augmentation.closing import UntilPosition
from project.data.augmentation.color import ColorJitter, adjust_color
from project.data.augmentation.copy_paste import CopyPaste
from project.data.augmentation.degradation import GaussianBlur, JpegCompression, MotionBlur
from project.data.augmentation.occluder import RandomOccluder
from project.data.augmentation.scale import LargeScaleJitter

__all__ = [
    "ColorJitter",
    "CopyPaste",
    "GaussianBlur",
    "JpegCompression",
    "LargeScaleJitter",
    "MotionBlur",
    "RandomOccluder",
    "UntilPosition",
    "adjust_color",
]
