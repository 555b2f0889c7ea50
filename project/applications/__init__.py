"""What people do with a trained model."""

from project.applications.masks import SoftMasks
from project.applications.predictor import Predictor, UnreadableImage

__all__ = ["Predictor", "SoftMasks", "UnreadableImage"]
