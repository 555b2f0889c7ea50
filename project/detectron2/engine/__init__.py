"""Running a training; follows the API of ``detectron2.engine``."""

from . import hooks
from .defaults import (
    create_ddp_model,
    default_argument_parser,
    default_setup,
    default_writers,
)
from .hooks import (
    BestCheckpointer,
    EvalHook,
    IterationTimer,
    LRScheduler,
    PeriodicCheckpointer,
    PeriodicWriter,
    TorchProfiler,
)
from .launch import launch  # the attribute is the function, not the module
from .train_loop import HookBase, TrainerBase
from .trainers import AMPTrainer, SimpleTrainer

__all__ = [
    "AMPTrainer",
    "BestCheckpointer",
    "EvalHook",
    "HookBase",
    "IterationTimer",
    "LRScheduler",
    "PeriodicCheckpointer",
    "PeriodicWriter",
    "SimpleTrainer",
    "TorchProfiler",
    "TrainerBase",
    "create_ddp_model",
    "default_argument_parser",
    "default_setup",
    "default_writers",
    "hooks",
    "launch",
]
