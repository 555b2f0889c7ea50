"""Running a training; follows the API of ``detectron2.engine``."""

from . import hooks
from .defaults import (
    create_ddp_model,
    default_argument_parser,
    default_setup,
    default_writers,
)
from .launch import launch  # the attribute is the function, not the module
from .train_loop import AMPTrainer, HookBase, SimpleTrainer, TrainerBase

__all__ = [
    "AMPTrainer",
    "HookBase",
    "SimpleTrainer",
    "TrainerBase",
    "create_ddp_model",
    "default_argument_parser",
    "default_setup",
    "default_writers",
    "hooks",
    "launch",
]
