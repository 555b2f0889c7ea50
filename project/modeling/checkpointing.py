"""Less memory for longer steps: a backbone's activations computed again in the backward pass.

Chen et al. 2016, "Training deep nets with sublinear memory cost", over `torch.utils.checkpoint`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import project  # noqa: F401 - makes `detectron2` importable
from project.errors import UserError

import torch
from detectron2.layers import CNNBlockBase
from torch import nn
from torch.utils.checkpoint import checkpoint

# Sub-classes: SyncBatchNorm, Detectron2's NaiveSyncBatchNorm.
_BATCH_NORM = nn.modules.batchnorm._BatchNorm


class BlockStage(nn.Sequential):
    """A stage of blocks that aren't Detectron2's, e.g. timm's; its children are the blocks."""


class CheckpointedStage(nn.Sequential):
    """A stage of which only the blocks' inputs are kept for the backward pass.

    Same results, gradients, running statistics and state keys as the stage it was.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return super().forward(x)
        # A compiled graph repeats the arithmetic only, never the update of a buffer.
        eager = not torch.compiler.is_compiling()
        for block in self:
            guard = {"context_fn": partial(_contexts, block)} if eager and _updates(block) else {}
            x = checkpoint(block, x, use_reentrant=False, **guard)
        return x


def checkpoint_activations(model: nn.Module) -> int:
    """Make every stage of blocks in ``model`` a `CheckpointedStage`, in place; how many blocks.

    Parameters, state keys and what holds references to the stages stay as they are.

    Raises:
        UserError: if there is no such stage in it.
    """
    stages = [m for m in model.modules() if _is_stage(m)]
    if not stages:
        raise UserError(
            "train.checkpoint_activations=True needs a ResNet or a network of timm, and the model "
            "has no stage of residual blocks; set it to False"
        )
    for stage in stages:
        # The object stays the same: Detectron2's ResNet has it in a list of its own as well.
        stage.__class__ = CheckpointedStage
    return sum(map(len, stages))


def _is_stage(module: nn.Module) -> bool:
    if isinstance(module, BlockStage):
        return True
    blocks = list(module) if isinstance(module, nn.Sequential) else []
    return bool(blocks) and all(isinstance(block, CNNBlockBase) for block in blocks)


def _updates(block: nn.Module) -> bool:
    """Whether a forward pass of ``block`` changes running statistics."""
    return any(True for _ in _updated_norms(block))


def _updated_norms(block: nn.Module) -> Iterator[nn.Module]:
    for module in block.modules():
        if isinstance(module, _BATCH_NORM) and module.training and module.track_running_stats:
            yield module


def _contexts(block: nn.Module) -> tuple:
    """Contexts of the forward pass and of its repetition."""
    return contextlib.nullcontext(), _KeptStatistics(block)


class _KeptStatistics(contextlib.AbstractContextManager):
    """Within it batch norms normalise by the batch as ever, and their running statistics stay.

    The repetition sees the same batch: counting it twice would double its weight.
    """

    def __init__(self, block: nn.Module) -> None:
        self._block = block

    def __enter__(self) -> None:
        norms = list(_updated_norms(self._block))
        self._kept = [(m, m.momentum, m.num_batches_tracked.clone()) for m in norms]
        for norm in norms:
            norm.momentum = 0.0

    def __exit__(self, *error) -> None:
        for norm, momentum, count in self._kept:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
        self._kept = []
