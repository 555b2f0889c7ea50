"""Saving and loading of models and training state (API of ``detectron2.checkpoint``)."""

from fvcore.common.checkpoint import PeriodicCheckpointer

from . import catalog  # makes catalog:// paths known
from .checkpointer import Checkpointer
from .detection_checkpoint import DetectionCheckpointer

__all__ = ["Checkpointer", "DetectionCheckpointer", "PeriodicCheckpointer", "catalog"]
