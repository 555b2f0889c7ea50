"""The steps of a run: micro-batches, precision, averaged weights, and losses that stay finite.

Losses wait on the device and are read every so many steps at once, so that the host doesn't wait
for it in every step. A step's random numbers follow from (seed, iteration, rank) alone: a resumed
run needs no state of a generator, and nothing else that draws can disturb it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from project.engine import interrupt
from project.engine.meeting import COLLECTIVE, meet
from project.engine.watchdog import Watchdog
from project.errors import UserError

import numpy as np
import torch
import torch.distributed as dist
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

if TYPE_CHECKING:
    from project.engine.trainer import Trainer

COMPANY = 60.0  # seconds that a rank whose model complains waits for the others to do so as well


class Diverged(FloatingPointError):
    """A loss became NaN or infinite.

    Attributes:
        steps: since the losses were last seen finite, oldest first: ``{"iteration", "losses",
            "samples"}`` of this rank, from which the batches can be made again.
    """

    def __init__(self, message: str, steps: list[dict]) -> None:
        super().__init__(message)
        self.steps = steps


class Stopped(BaseException):
    """The way out of the loop after `Loop.stop`; no error, hence not an `Exception`."""


class _Step(NamedTuple):
    """What the host knows of a step whose losses are still on the device."""

    iteration: int
    names: list[str]
    data_time: float
    samples: list[dict]


class Loop(SimpleTrainer):
    """Detectron2's loop with another step.

    Args:
        model: in train mode; maybe wrapped by DistributedDataParallel.
        loader: of batches, lists of dicts.
        optimizer: steps once for each batch.
        run: the `Trainer` that this loop belongs to; hooks find the config there.
        seed: of all steps.
        accumulate: micro-batches into which each rank's batch is split; gradients are their mean.
        precision: of autocast; None trains in float32.
        read_period: losses are read from the device after so many steps.
        ema: averaged weights to be moved after each step.
        watchdog: hears how far a step is.

    Attributes:
        last_batch: this rank's newest batch.
        stop_reason: why the run ended early, else "".
    """

    def __init__(
        self,
        model: nn.Module,
        loader: Iterable[list[dict]],
        optimizer: Optimizer,
        *,
        run: Trainer | None = None,
        seed: int = 0,
        accumulate: int = 1,
        precision: torch.dtype | None = None,
        read_period: int = 20,
        ema: AveragedModel | None = None,
        watchdog: Watchdog | None = None,
    ) -> None:
        super().__init__(model, loader, optimizer)
        self.run, self.seed, self.accumulate, self.precision = run, seed, accumulate, precision
        self.read_period, self.ema = read_period, ema
        self._watchdog = watchdog
        self.device = next(model.parameters()).device
        self.grad_scaler = torch.amp.GradScaler(
            self.device.type, enabled=precision == torch.float16
        )
        self.last_batch: list[dict] = []
        self.stop_reason = ""
        self._unread: list[tuple[_Step, torch.Tensor]] = []
        self._finished = False
        self._stream: Iterator[list[dict]] | None = None
        self._group = _host_group()

    # One step.

    def run_step(self) -> None:
        """Read a batch, add up its micro-batches' gradients, step, average.

        Raises:
            Diverged: on every rank, when the model finds numbers that aren't finite on all of them.
            UserError: if it finds them on some ranks only, or the batch doesn't split into
                micro-batches.
        """
        assert self.model.training, "the model is in eval mode; something forgot train()"
        data_time = self._next_batch()
        self.beat("forward and backward")
        torch.manual_seed(step_seed(self.seed, self.iter, comm.get_rank()))
        self.optimizer.zero_grad()
        try:
            losses = self._gradients(self.last_batch)
        except FloatingPointError as error:  # the model's own look at its numbers
            raise self._gave_up(error) from error
        self.after_backward()
        self._remember(losses, data_time)
        self.beat("optimizer")
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        if self.ema is not None:
            self.ema.update_parameters(bare(self.model))

    def _next_batch(self) -> float:
        """Read `last_batch`; the seconds that it took."""
        self.beat("data")
        started = time.perf_counter()
        try:
            self._stream = self._stream or iter(self.data_loader)
            self.last_batch = next(self._stream)
        except RuntimeError:  # the signal that asks us to stop ends loader processes as well
            if interrupt.requested():
                self.iter -= 1  # this step isn't done: a resumed run does it
                raise interrupt.Interrupted from None
            raise
        return time.perf_counter() - started

    def beat(self, phase: str) -> None:
        """Tell the watchdog what begins now."""
        if self._watchdog is not None:
            self._watchdog.beat(phase, self.iter)

    def _gradients(self, batch: list[dict]) -> dict[str, torch.Tensor]:
        """Mean losses over the micro-batches, whose gradients are added to the parameters'."""
        size, rest = divmod(len(batch), self.accumulate)
        if rest or not size:
            raise UserError(
                f"train.accumulate={self.accumulate}: a batch of {len(batch)} images a process "
                f"doesn't split into {self.accumulate} equal parts"
            )
        means: dict[str, torch.Tensor] = {}
        for part in range(self.accumulate):
            with ExitStack() as stack:
                if part + 1 < self.accumulate and isinstance(self.model, DistributedDataParallel):
                    stack.enter_context(self.model.no_sync())  # ranks exchange the sum, once
                losses = self._losses(batch[part * size : (part + 1) * size])
                share = {name: loss / self.accumulate for name, loss in losses.items()}
                self.grad_scaler.scale(sum(share.values())).backward()
            for name, loss in share.items():
                means[name] = means.get(name, 0) + loss.detach()
        return means

    def _losses(self, batch: list[dict]) -> dict[str, torch.Tensor]:
        mixed = self.precision is not None
        with torch.autocast(self.device.type, dtype=self.precision) if mixed else nullcontext():
            losses = self.model(batch)
        return {"total_loss": losses} if isinstance(losses, torch.Tensor) else losses

    # Losses on their way to the host.

    def _remember(self, losses: dict[str, torch.Tensor], data_time: float) -> None:
        step = _Step(self.iter, list(losses), data_time, _identities(self.last_batch))
        values = torch.stack([loss.float().reshape(()) for loss in losses.values()])
        self._unread.append((step, values))

    def read_losses(self) -> None:
        """Put the losses of the last steps, as means over ranks, into the storage.

        All ranks call it together. A checkpoint that is saved afterwards holds a sound model.

        Raises:
            Diverged: if one isn't finite.
        """
        if not self._unread:
            return
        unread, self._unread = self._unread, []
        steps = [step for step, _ in unread]
        mine = torch.stack([values for _, values in unread]).double().cpu()
        waits = torch.tensor([step.data_time for step in steps], dtype=torch.float64)
        means, waits = self._over_ranks(mine, waits)
        bad = (~means.isfinite().all(1)).nonzero()
        if len(bad):
            first = int(bad[0])
            shown = dict(zip(steps[first].names, means[first].tolist(), strict=True))
            raise Diverged(
                f"the loss is not finite at iteration {steps[first].iteration}: {shown}",
                _report(steps[: first + 1], mine.tolist()),
            )
        if comm.is_main_process():
            for step, values, wait in zip(steps, means.tolist(), waits.tolist(), strict=True):
                self._put(step, values, wait)

    def _put(self, step: _Step, values: list[float], data_time: float) -> None:
        self.storage.iter = step.iteration
        self.storage.put_scalar("data_time", data_time)
        self.storage.put_scalar("total_loss", sum(values))
        if len(values) > 1:
            for name, value in zip(step.names, values, strict=True):
                self.storage.put_scalar(name, value)
        self.storage.iter = self.iter

    def _over_ranks(
        self, losses: torch.Tensor, waits: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Means of the losses and longest waits for data, in one exchange."""
        world = comm.get_world_size()
        if world == 1:
            return losses, waits
        mine = torch.cat([losses, waits[:, None]], dim=1)
        everyone = [torch.empty_like(mine) for _ in range(world)]
        dist.all_gather(everyone, mine, group=self._group)
        table = torch.stack(everyone)
        return table[:, :, :-1].mean(0), table[:, :, -1].amax(0)

    def _gave_up(self, error: FloatingPointError) -> Diverged:
        """The model's own complaint, with the batches since the losses were last seen finite.

        Raises:
            UserError: if other ranks don't come with theirs: they wait in the exchange of gradients
                for this one, so that all of them can't go back together.
        """
        if not meet("complaint", COMPANY):
            raise UserError(
                f"{str(error).rstrip('.')} (iteration {self.iter}), on process {comm.get_rank()} "
                f"and not on all {comm.get_world_size()}; lower optimizer.lr or bound the "
                f"gradients with optimizer.max_norm=1.0, then go on with --resume"
            ) from error
        unread, self._unread = self._unread, []
        steps = [step for step, _ in unread]
        steps.append(_Step(self.iter, [], 0.0, _identities(self.last_batch)))
        losses = [values.tolist() for _, values in unread]
        return Diverged(f"{error} (iteration {self.iter})", _report(steps, [*losses, []]))

    # The end of a step, and of the run.

    def before_train(self) -> None:
        """Call the hooks."""
        self._finished = self.start_iter >= self.max_iter
        super().before_train()

    def after_step(self) -> None:
        """Read losses where due, call the hooks, and leave if someone asked for it."""
        done = self.iter + 1
        if done % self.read_period == 0 or done == self.max_iter:
            self.read_losses()
        super().after_step()
        if self.stop_reason:
            raise Stopped
        self._finished = done == self.max_iter
        if not self._finished and self._agree(interrupt.requested()):
            self.read_losses()
            raise interrupt.Interrupted

    def after_train(self) -> None:
        """Call the hooks; after a failed last step none of them takes the run for finished."""
        if not (self._finished or self.stop_reason):
            self.iter = min(self.iter, self.max_iter - 2)
        super().after_train()

    def stop(self, reason: str) -> None:
        """End the run after this step; to be called on all ranks in the same iteration."""
        self.stop_reason = reason

    def _agree(self, mine: bool) -> bool:
        """Whether any rank says so."""
        if comm.get_world_size() == 1:
            return mine
        flag = torch.tensor([mine], dtype=torch.int32)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self._group)
        return bool(flag)

    # State.

    def state_dict(self) -> dict[str, Any]:
        """Iteration, hooks, optimizer, scaler; with averaging also the weights that are trained.

        The checkpoint's ``model`` holds the averaged weights then, which are those to be used.
        """
        state = super().state_dict() | {
            "grad_scaler": self.grad_scaler.state_dict(),
            "stop_reason": self.stop_reason,
        }
        if self.ema is not None:
            state["trained_weights"] = bare(self.model).state_dict()
            state["num_averaged"] = int(self.ema.n_averaged)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore all of `state_dict`; hooks must be registered, and the model loaded, before."""
        super().load_state_dict(state_dict)
        self.stop_reason = state_dict.get("stop_reason", "")
        if state_dict.get("grad_scaler"):
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
        if "trained_weights" in state_dict:
            bare(self.model).load_state_dict(state_dict["trained_weights"])
            if self.ema is not None:
                self.ema.n_averaged.fill_(state_dict["num_averaged"])
        elif self.ema is not None:  # averaging begins with the resume
            bare(self.model).load_state_dict(self.ema.module.state_dict())


def _identities(batch: list[dict]) -> list[dict]:
    keys = ("position", "image_id", "file_name")
    return [{key: sample[key] for key in keys if key in sample} for sample in batch]


def _report(steps: list[_Step], losses: list[list[float]]) -> list[dict]:
    """`Diverged.steps`; ``losses`` may be of more steps."""
    return [
        {
            "iteration": step.iteration,
            "losses": dict(zip(step.names, values, strict=True)),
            "samples": step.samples,
        }
        for step, values in zip(steps, losses, strict=False)
    ]


def step_seed(seed: int, iteration: int, rank: int) -> int:
    """63 bits from which the random numbers of one step on one rank come."""
    words = np.random.SeedSequence([seed, iteration, rank]).generate_state(1, np.uint64)
    return int(words[0] >> 1)


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of ``model`` whose weights follow it: w ← d w + (1 - d) v with d up to ``decay``.

    d = min(decay, (1 + n) / (10 + n)) after n steps, as in TensorFlow, so that a short run isn't
    judged by its random start. Buffers are copied.
    """
    if not (isinstance(decay, float) and 0 < decay < 1):
        raise UserError(f"train.ema.decay={decay}: expected a number from 0 (off) to below 1")

    def follow(averages: list[torch.Tensor], current: list[torch.Tensor], _: torch.Tensor) -> None:
        number = int(result.n_averaged)
        torch._foreach_lerp_(averages, current, 1 - min(decay, (1 + number) / (10 + number)))

    result = AveragedModel(model, multi_avg_fn=follow)
    result.n_averaged = result.n_averaged.cpu()  # read in every step: no waiting for a device
    return result


def bare(model: nn.Module) -> nn.Module:
    """The model without the wrapper for several processes."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def share_buffers(model: nn.Module) -> None:
    """Give all processes the main one's buffers, which are those in its checkpoints.

    Batch norm's running statistics follow each process's own images otherwise, and an evaluation on
    several processes would judge several models.
    """
    if comm.get_world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def _host_group():
    """The processes' group over which numbers on the host travel."""
    if comm.get_world_size() == 1 or dist.get_backend() == "gloo":
        return None
    return dist.new_group(backend="gloo", timeout=COLLECTIVE)
