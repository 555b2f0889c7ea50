"""What people do with a trained model."""

from project.applications.choice import Choice, NobodyFound, soft_mask
from project.applications.masks import SoftMasks
from project.applications.predictor import Predictor, UnreadableImage
from project.applications.regions import RegionMasks

__all__ = [
    "Choice",
    "NobodyFound",
    "Predictor",
    "RegionMasks",
    "SoftMasks",
    "UnreadableImage",
    "soft_mask",
]
