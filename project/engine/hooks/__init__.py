"""Hooks that a config adds to a run under ``train.hooks``; one idea a file.

The attribute ``stage`` of each says where it stands among the trainer's own: "step" hooks come
before the checkpoint of an iteration, so that their state is in it; "evaluation" hooks come after
the evaluation, in the order of the config, and read what it put into the storage.
"""

from project.engine.hooks.best_checkpoint import BestCheckpoint
from project.engine.hooks.classes_seen import ClassesSeen
from project.engine.hooks.early_stopping import EarlyStopping
from project.engine.hooks.gradient_norms import GradientNorms
from project.engine.hooks.memory import Memory
from project.engine.hooks.prediction_preview import PredictionPreview
from project.engine.hooks.throughput import Throughput
from project.engine.hooks.validation_loss import ValidationLoss

__all__ = [
    "BestCheckpoint",
    "ClassesSeen",
    "EarlyStopping",
    "GradientNorms",
    "Memory",
    "PredictionPreview",
    "Throughput",
    "ValidationLoss",
]
