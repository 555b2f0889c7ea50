"""The trainer of LazyConfig runs: builds what the config describes, trains, evaluates, keeps files.

Follows the set-up of Detectron2's lazyconfig training script, so that the same config trains there.
It adds what keeps a run from being lost: exact resuming, checkpoints that are checked, a way back
when the loss becomes infinite, a clean end when it is asked for.
"""

from __future__ import annotations

import copy
import logging
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from project.data.sampler import format_sampling_report
from project.engine.checkpoints import CheckpointHook, RunCheckpointer, choose_checkpoint, is_full
from project.engine.config import build, select
from project.engine.evaluate import (
    build_model,
    evaluate,
    load_weights,
    resume_weights,
    unfrozen,
)
from project.engine.guard import Guard
from project.engine.identity import RunIdentity
from project.engine.interrupt import Interrupted, ends_at_once, signal_name
from project.engine.loop import Loop, Stopped, averaged, bare, share_buffers
from project.engine.meeting import meet
from project.engine.pretrained import Transfer
from project.engine.watchdog import Watchdog
from project.engine.writers import build_writers
from project.errors import UserError, one_line, unknown_name
from project.modeling.backbones import compile_backbone
from project.modeling.checkpointing import checkpoint_activations

import torch
from detectron2.engine import HookBase, create_ddp_model, hooks
from detectron2.utils import comm
from fvcore.common.param_scheduler import ParamScheduler
from omegaconf import DictConfig
from torch import nn
from torch.optim import Optimizer

logger = logging.getLogger(__name__)

PRECISIONS = {"float16": torch.float16, "bfloat16": torch.bfloat16}


class Trainer:
    """One run, from a config to weights and numbers in ``cfg.train.output_dir``.

    Reads the keys ``model``, ``optimizer``, ``lr_multiplier``, ``dataloader.train|test|evaluator``
    and those of ``train`` that ``configs/common/train.py`` lists. The watchdog is told each phase.

    Attributes:
        model: in training; wrapped by DistributedDataParallel where there are several processes.
        ema_model: the averaged copy that is evaluated and kept instead, or None.
        loop: `Loop`, with the iteration in ``loop.iter``.
        checkpointer: of this run's folder.
        transfer: what became of the classes of ``train.init_checkpoint``; None where none was read.
        start_iter: 0, or the first iteration that a resumed run still has to do.
    """

    def __init__(
        self, cfg: DictConfig, *, resume: bool = False, watchdog: Watchdog | None = None
    ) -> None:
        self.cfg = cfg
        self._watchdog = watchdog or Watchdog(cfg.train.output_dir, timeout=0)
        self.max_iter: int = select(cfg, "train.max_iter")
        resumes = resume and Path(cfg.train.output_dir, "last_checkpoint").is_file()
        model = build_model(cfg, weights_follow=resumes)
        if cfg.train.checkpoint_activations:
            checkpoint_activations(model.backbone)
        if cfg.train.compile:
            compile_backbone(model)
        self.model = create_ddp_model(model, **cfg.train.ddp)
        decay = cfg.train.ema.decay
        # After DistributedDataParallel gave all processes the main one's random weights.
        self._averages = averaged(bare(self.model), decay) if decay else None
        self._guard = Guard(cfg.train.output_dir, cfg.train.seed, **cfg.train.guard)
        self._first_weights: dict[str, torch.Tensor] = {}
        self.transfer: Transfer | None = None
        self._results: dict = {}
        self._assemble(resume=resume)

    @property
    def ema_model(self) -> nn.Module | None:
        """The averaged copy of the model, if ``train.ema.decay`` asks for one."""
        return self._averages.module if self._averages is not None else None

    @property
    def evaluated_model(self) -> nn.Module:
        """The model that is judged and kept: the averaged one where there is one."""
        return self.model if self.ema_model is None else self.ema_model

    def _assemble(self, *, resume: bool) -> None:
        """All that has state beside the model, then the state of the checkpoint to go on from."""
        cfg = self.cfg
        optimizer = build_optimizer(cfg, bare(self.model))
        settings = [{**group, "params": None} for group in optimizer.param_groups]
        self._build_loader(start_iter=0)
        self.loop = self._build_loop(optimizer)
        self.checkpointer = RunCheckpointer(
            self.evaluated_model,
            cfg.train.output_dir,
            classes=list(self.loader.statistics.class_names),
            identity=RunIdentity(self.loader, self._batch_size(), cfg.train.seed),
            trainer=self.loop,
            guard=self._guard,
        )
        self._register_hooks()
        self.start_iter = 0
        self._evaluated_at = -1
        if resume and choose_checkpoint(self.checkpointer) is not None:
            self._go_on(optimizer, settings)
        else:
            self._begin(warn=resume)
        self.loop.register_hooks(self._build_writers())

    def _begin(self, *, warn: bool) -> None:
        """Start from the config's weights, or again from the run's first ones."""
        cfg = self.cfg
        if warn:
            logger.warning("No checkpoint in %s: starting anew", cfg.train.output_dir)
        if self._first_weights:
            bare(self.model).load_state_dict(self._first_weights)
            if self._averages is not None:
                self._averages.n_averaged.zero_()  # the next step copies, whatever stands there
        else:
            self.transfer = load_weights(
                self.checkpointer,
                cfg.train.init_checkpoint,
                self.checkpointer.classes,
                cfg.train.init_classes,
                thaw=unfrozen(cfg),
            )
            if not cfg.train.init_checkpoint:
                warn_of_frozen_noise(bare(self.model), unfrozen(cfg))
            elif self.ema_model is not None:
                bare(self.model).load_state_dict(self.ema_model.state_dict())
            if cfg.train.guard.max_rollbacks:
                state = bare(self.model).state_dict()
                self._first_weights = {k: v.detach().cpu().clone() for k, v in state.items()}

    def _go_on(self, optimizer: Optimizer, settings: list[dict]) -> None:
        """Continue where the checkpoint in ``last_checkpoint`` stopped, with the config's rates."""
        before = self._guard.rollbacks
        resume_weights(self.checkpointer)
        self._guard.rollbacks = max(before, self._guard.rollbacks)
        for group, wanted in zip(optimizer.param_groups, settings, strict=True):
            group.update({key: value for key, value in wanted.items() if key != "params"})
            group["initial_lr"] = wanted["lr"]
        self._checkpoints.saved = self.loop.iter
        self.start_iter = self.loop.iter + 1
        if self.start_iter > self.max_iter:
            raise UserError(
                f"the run in {self.cfg.train.output_dir} has done {self.start_iter} iterations, "
                f"and train.max_iter={self.max_iter}; raise train.max_iter (or train.epochs), or "
                f"use --eval-only"
            )
        logger.info("Resuming at iteration %d of %d", self.start_iter, self.max_iter)
        self.loop.data_loader = self._build_loader(self.start_iter)

    def train(self) -> dict:
        """Train to ``max_iter``; the last evaluation's results on the main process, else ``{}``.

        Raises:
            UserError: if training diverges too often, memory or disk is short, or an image can't be
                used.
            Interrupted: if the run was asked to stop; it is saved.
        """
        self._log_sampling("Sampling plan", self.loader.sampling_report())
        try:
            self._train()
            if self.loop.stop_reason:
                logger.info("Stopped early: %s", self.loop.stop_reason)
                if self._evaluated_at != self.loop.iter:
                    self._evaluate()
        except Interrupted:
            self._checkpoints.save()
            raise Interrupted(
                f"stopped by {signal_name() or 'a signal to another process'} after iteration "
                f"{min(self.loop.iter + 1, self.max_iter)} of {self.max_iter}; the run is saved in "
                f"{self.cfg.train.output_dir}: the same command with --resume continues it"
            ) from None
        self._log_sampling("Samples drawn", self.sampling_report())
        return self._results

    def _train(self) -> None:
        """The steps, again from the last good state where a loss becomes infinite."""
        while not self.loop.stop_reason:
            try:
                with _memory_in_words(self.cfg):
                    self.loop.train(self.start_iter, self.max_iter)
                break
            except FloatingPointError as error:
                self._guard.take(error)
                self._assemble(resume=True)
            except Stopped:
                self._checkpoints.save("model_final", again=True)

    @property
    def iterations(self) -> int:
        """Iterations done: ``max_iter``, or fewer where the run stopped early."""
        return self.loop.iter + 1 if self.loop.stop_reason else self.max_iter

    def sampling_report(self) -> dict:
        """What each class was to get and what it got in the whole run (`project.data.sampler`)."""
        return self.loader.sampling_report(self.iterations * self._batch_size())

    @staticmethod
    def _log_sampling(title: str, report: dict) -> None:
        logger.info("%s:\n%s", title, format_sampling_report(report))

    def _batch_size(self) -> int:
        return select(self.cfg, "dataloader.train.total_batch_size")

    def _build_loader(self, start_iter: int):
        """The training loader from ``start_iter`` on: a resumed run goes on where it stopped."""
        node = copy.deepcopy(self.cfg.dataloader.train)
        node.start = start_iter * node.total_batch_size
        self.loader = build(node, "dataloader.train")
        return self.loader

    def _build_loop(self, optimizer: Optimizer) -> Loop:
        cfg = self.cfg.train
        return Loop(
            self.model,
            self.loader,
            optimizer,
            run=weakref.proxy(self),
            seed=cfg.seed,
            accumulate=cfg.accumulate,
            precision=choose_precision(self.cfg),
            read_period=cfg.log_period,
            ema=self._averages,
            watchdog=self._watchdog,
        )

    def _evaluate(self) -> dict:
        self.loop.read_losses()
        self._watchdog.beat("evaluation", self.loop.iter)
        share_buffers(self.evaluated_model)
        with ends_at_once():
            try:
                self._results = evaluate(self.cfg, self.evaluated_model)
            except OSError as error:
                self._results = self._do_without(error)
            meet("evaluation")
        self._evaluated_at = self.loop.iter
        return self._results

    def _do_without(self, error: OSError) -> dict:
        """The results of an evaluation for which a full disk has no room: none."""
        if not is_full(error):
            raise error
        problem = f"no room for the predictions in {self.cfg.train.output_dir}"
        if comm.get_world_size() > 1:  # the others wait for this process's share of them
            raise UserError(f"{problem}; make room, then go on with --resume") from error
        logger.error("%s: this evaluation is left out", problem)
        return {}

    def _register_hooks(self) -> None:
        """The run's hooks in their order.

        The checkpoint comes before the evaluation: a run that dies in there has lost nothing, and a
        resumed one makes up for the evaluation (`PendingEvaluation`).
        """
        cfg = self.cfg.train
        rates = build(self.cfg.lr_multiplier, "lr_multiplier")
        self._checkpoints = CheckpointHook(
            self.checkpointer,
            retry_period=cfg.log_period,
            disk_wait=cfg.disk_wait,
            **cfg.checkpointer,
        )
        own = [build(n, f"train.hooks.{key}") for key, n in cfg.hooks.items() if n is not None]
        in_steps = [hook for hook in own if hook.stage == "step"]
        evaluation = [hooks.EvalHook(cfg.eval_period, self._evaluate)]
        evaluation += [hook for hook in own if hook.stage == "evaluation"]
        self.loop.register_hooks(
            [
                hooks.IterationTimer(),
                hooks.LRScheduler(scheduler=Scaled(rates, self._guard)),
                *in_steps,
                self._checkpoints,
                *evaluation,
                PendingEvaluation(evaluation),
            ]
        )

    def _build_writers(self) -> list[HookBase]:
        """Writers come last, so that they write what the others put; on the main process only."""
        if not comm.is_main_process():
            return []
        cfg = self.cfg.train
        extra = [build(node, "train.writers") for node in cfg.writers or ()]
        writers = build_writers(cfg.output_dir, self.max_iter, self.start_iter, extra)
        return [hooks.PeriodicWriter(writers, period=cfg.log_period)]


class Scaled(ParamScheduler):
    """The schedule ``inner`` times the guard's factor, which falls with each rollback."""

    def __init__(self, inner: ParamScheduler, guard: Guard) -> None:
        self._inner, self._guard = inner, guard

    def __call__(self, where: float) -> float:
        return self._inner(where) * self._guard.factor()


class PendingEvaluation(HookBase):
    """Makes up for the evaluation of the iteration after which a resumed run's file was saved.

    A file is saved before the evaluation of the same iteration, so the state of what follows from
    the evaluation (early stopping, the best value) isn't in it. Done again, it gives the same.

    Args:
        hooks: those that act on evaluations, in their order; registered before this one.
    """

    def __init__(self, hooks: list[HookBase]) -> None:
        self._hooks = hooks

    def before_train(self) -> None:
        start = self.trainer.start_iter
        if not 0 < start < self.trainer.max_iter:
            return
        self.trainer.iter = self.trainer.storage.iter = start - 1
        for hook in self._hooks:
            hook.after_step()
        if self.trainer.stop_reason:
            raise Stopped
        self.trainer.iter = self.trainer.storage.iter = start


@contextmanager
def _memory_in_words(cfg: DictConfig) -> Iterator[None]:
    """Turn an exhausted memory into words about what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        key = "model.roi_heads.batch_size_per_image"
        regions = f"fewer regions in {key}, " if "roi_heads" in cfg.model else ""
        raise UserError(
            f"out of memory ({one_line(error)[:200]}); lower what a step holds: a smaller "
            f"dataloader.train.total_batch_size (now {cfg.dataloader.train.total_batch_size}), "
            f"more train.accumulate (now {cfg.train.accumulate}), smaller images in "
            f"dataloader.train.mapper.augmentations, {regions}or train.amp.enabled=True; then "
            f"--resume"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the host had no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def warn_of_frozen_noise(model: nn.Module, thaw: str) -> None:
    """Tell of a model without a checkpoint to start from that keeps some of its weights.

    Args:
        thaw: what `unfrozen` says of its config.
    """
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    if frozen:
        logger.warning(
            "train.init_checkpoint is empty, and %d frozen parameters keep their first values%s",
            frozen,
            f"; from scratch, set{thaw}" if thaw else "",
        )


def build_optimizer(cfg: DictConfig, model: nn.Module) -> Optimizer:
    """The config's optimizer over the model's trainable parameters; the config stays as it is."""
    node = copy.deepcopy(cfg.optimizer)
    node.params.model = model
    return build(node, "optimizer")


def choose_precision(cfg: DictConfig) -> torch.dtype | None:
    """The precision that ``train.amp`` asks for; None is float32 throughout."""
    if not cfg.train.amp.enabled:
        return None
    name = cfg.train.amp.precision
    if name not in PRECISIONS:
        raise UserError(f"train.amp.precision: {unknown_name('precision', name, PRECISIONS)}")
    if cfg.train.device == "cpu" and name == "float16":
        raise UserError("train.amp.precision=float16 needs a GPU; on the CPU take bfloat16")
    return PRECISIONS[name]


class _MistakesInOneLine(logging.Filter):
    """Detectron2's loop logs what ends it; what a person did or asked needs no traceback there."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, UserError | FloatingPointError | Interrupted):
            record.msg, record.args = f"{record.getMessage()}: {one_line(error)}", None
            record.exc_info = record.exc_text = None
        return True


logging.getLogger("detectron2.engine.train_loop").addFilter(_MistakesInOneLine())
