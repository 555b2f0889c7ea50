"""Orders in which images are visited.

Follows the API of ``detectron2.data.samplers``.
"""

from .inference import InferenceSampler
from .training import RepeatFactorTrainingSampler, TrainingSampler

__all__ = ["InferenceSampler", "RepeatFactorTrainingSampler", "TrainingSampler"]
