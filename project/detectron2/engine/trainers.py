"""Trainers: what one step of a training is; part of ``detectron2.engine.train_loop``.

Better: ranks exchange their metrics as one tensor (not as pickles over gloo) and all of them stop
at a non-finite loss; `AMPTrainer` runs bfloat16 on CPUs too and honours ``async_write_metrics``,
which keeps the host from waiting for the device.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from ..utils import comm
from ..utils.events import get_event_storage
from .train_loop import TrainerBase

__all__ = ["AMPTrainer", "SimpleTrainer"]


class SimpleTrainer(TrainerBase):
    """Forward, backward, optimizer step; one model, one loader, one optimizer.

    Args:
        model: gives a dict of losses (scalar tensors), or one loss, for a batch in train mode.
        data_loader: an iterable of batches, endless or long enough.
        optimizer: steps after each backward pass.
        gather_metric_period: write the losses each so many iterations. Ranks exchange them then,
            and the host waits for the device.
        zero_grad_before_forward: clear the gradients before the forward pass instead of after it.
        async_write_metrics: don't wait for the device: losses stay there until a writer reads them,
            and a non-finite loss is noticed at the next period.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable,
        optimizer: torch.optim.Optimizer,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
        async_write_metrics: bool = False,
    ) -> None:
        super().__init__()
        model.train()
        self.model = model
        self.data_loader = data_loader
        self.optimizer = optimizer
        self.gather_metric_period = gather_metric_period
        self.zero_grad_before_forward = zero_grad_before_forward
        self.async_write_metrics = async_write_metrics
        self._batches: Iterator | None = None
        self._unchecked: _HostCopy | None = None

    def run_step(self) -> None:
        """One iteration.

        Raises:
            AssertionError: if the model is in eval mode.
            StopIteration: if the loader has no batch left.
            FloatingPointError: if the sum of losses is NaN or infinite (on every rank).
        """
        name = type(self).__name__
        assert self.model.training, f"{name}: the model is in eval mode; something forgot train()"
        batch, data_time = self._next_batch()
        if self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        losses = self._forward(batch)
        if not self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        self._backward(sum(losses.values()))
        self.after_backward()
        if (self.iter + 1) % self.gather_metric_period == 0:
            self._write_metrics(losses, data_time)
        self._update()

    def _next_batch(self) -> tuple[Any, float]:
        started = time.perf_counter()
        if self._batches is None:
            self._batches = iter(self.data_loader)
        batch = next(self._batches)
        return batch, time.perf_counter() - started

    def _forward(self, batch) -> dict[str, torch.Tensor]:
        losses = self.model(batch)
        return {"total_loss": losses} if isinstance(losses, torch.Tensor) else losses

    def _backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def _update(self) -> None:
        self.optimizer.step()

    def _write_metrics(self, losses: dict[str, torch.Tensor], data_time: float) -> None:
        storage = get_event_storage()
        storage.put_scalar("rank_data_time", data_time)
        values = torch.stack([loss.detach().float().reshape(()) for loss in losses.values()])
        values, data_time = _over_ranks(values, data_time)
        if self.async_write_metrics and values.is_cuda:
            previous, self._unchecked = self._unchecked, _HostCopy(values, self.iter)
            if previous is not None:
                _require_finite(sum(previous.read()), previous.iteration)
            total = values.sum()
        else:
            values = values.tolist()
            total = sum(values)
            _require_finite(total, self.iter, dict(zip(losses, values, strict=True)))
        if not comm.is_main_process():
            return
        storage.put_scalar("data_time", data_time)
        storage.put_scalar("total_loss", total)
        if len(losses) > 1:
            for name, value in zip(losses, values, strict=True):
                storage.put_scalar(name, value)

    def after_train(self) -> None:
        """Call the hooks' ``after_train``, then check the last losses still on the device."""
        super().after_train()
        last, self._unchecked = self._unchecked, None
        if last is not None and self.iter >= self.max_iter:
            _require_finite(sum(last.read()), last.iteration)

    def reset_data_loader(self, data_loader_builder: Callable[[], Iterable]) -> None:
        """Drop the loader, with its workers, then go on with the one that the builder makes."""
        self.data_loader = self._batches = None
        self.data_loader = data_loader_builder()

    def state_dict(self) -> dict[str, Any]:
        """The base's state, and the optimizer's."""
        return {**super().state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore iteration, hooks and optimizer."""
        super().load_state_dict(state_dict)
        self.optimizer.load_state_dict(state_dict["optimizer"])


class AMPTrainer(SimpleTrainer):
    """`SimpleTrainer` under autocast, with scaled gradients where the precision needs them.

    Args:
        model, data_loader, optimizer, gather_metric_period, zero_grad_before_forward,
            async_write_metrics: as in `SimpleTrainer`.
        grad_scaler: default ``torch.amp.GradScaler``, which does nothing unless the precision is
            float16: bfloat16 has float32's range.
        precision: of the autocast regions; float16 needs CUDA, bfloat16 doesn't.
        log_grad_scaler: write the scale as ``[metric]grad_scaler``.

    Raises:
        AssertionError: for float16 on a CPU, and for models split over several devices.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable,
        optimizer: torch.optim.Optimizer,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
        grad_scaler: torch.amp.GradScaler | None = None,
        precision: torch.dtype = torch.float16,
        log_grad_scaler: bool = False,
        async_write_metrics: bool = False,
    ) -> None:
        several = (
            isinstance(model, nn.DataParallel) or len(getattr(model, "device_ids", None) or ()) > 1
        )
        assert not several, "AMPTrainer takes a model on one device per process"
        self._device_type = next((p.device.type for p in model.parameters()), "cpu")
        scaled = precision == torch.float16
        possible = self._device_type == "cuda" or not scaled
        assert possible, "float16 training needs CUDA: use precision=torch.bfloat16 on a CPU"
        super().__init__(
            model,
            data_loader,
            optimizer,
            gather_metric_period,
            zero_grad_before_forward,
            async_write_metrics,
        )
        self.precision = precision
        self.log_grad_scaler = log_grad_scaler
        if grad_scaler is None:
            grad_scaler = torch.amp.GradScaler(self._device_type, enabled=scaled)
        self.grad_scaler = grad_scaler

    def _forward(self, batch) -> dict[str, torch.Tensor]:
        with torch.autocast(self._device_type, dtype=self.precision):
            return super()._forward(batch)

    def _backward(self, loss: torch.Tensor) -> None:
        self.grad_scaler.scale(loss).backward()

    def _write_metrics(self, losses: dict[str, torch.Tensor], data_time: float) -> None:
        super()._write_metrics(losses, data_time)
        if self.log_grad_scaler:
            scale = self.grad_scaler.get_scale()
            get_event_storage().put_scalar("[metric]grad_scaler", scale)

    def _update(self) -> None:
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """`SimpleTrainer`'s state, and the scaler's (empty if it does nothing)."""
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore all; a state without a scale (of a run in bfloat16) keeps this one's."""
        super().load_state_dict(state_dict)
        if state_dict.get("grad_scaler"):
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])


class _HostCopy:
    """A CUDA tensor on its way to the host; nobody waits before `read`."""

    def __init__(self, values: torch.Tensor, iteration: int) -> None:
        self.iteration = iteration
        self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        self._values.copy_(values, non_blocking=True)
        self._arrived = torch.cuda.Event()
        self._arrived.record()

    def read(self) -> list[float]:
        self._arrived.synchronize()
        return self._values.tolist()


def _over_ranks(
    values: torch.Tensor, data_time: float
) -> tuple[torch.Tensor, float | torch.Tensor]:
    """Losses averaged over ranks and the longest data time, in one exchange."""
    world = comm.get_world_size()
    if world == 1:
        return values, data_time
    mine = torch.cat([values, values.new_tensor([data_time])])
    everyone = [torch.empty_like(mine) for _ in range(world)]
    dist.all_gather(everyone, mine)
    table = torch.stack(everyone)
    return table[:, :-1].mean(0), table[:, -1].max()


def _require_finite(total: float, iteration: int, losses: dict[str, float] | None = None) -> None:
    if not math.isfinite(total):
        detail = f": {losses}" if losses else ""
        raise FloatingPointError(f"Loss became {total} at iteration {iteration}{detail}")
