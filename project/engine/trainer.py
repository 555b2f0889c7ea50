"""The trainer of LazyConfig runs: builds what the config describes, trains, evaluates, keeps files.

Follows the set-up of Detectron2's lazyconfig training script, so that the same config trains there.
It adds resuming at the right sample, the best checkpoint, the sampling report and pictures.
"""

from __future__ import annotations

import copy
import logging
from functools import partial

from project.data.sampler import format_sampling_report
from project.engine.config import build, select
from project.engine.evaluate import build_model, evaluate, load_weights
from project.errors import UserError, one_line, unknown_name

import torch
import torch.distributed as dist
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import (
    AMPTrainer,
    HookBase,
    SimpleTrainer,
    create_ddp_model,
    default_writers,
    hooks,
)
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import nn
from torch.optim import Optimizer

logger = logging.getLogger(__name__)

PRECISIONS = {"float16": torch.float16, "bfloat16": torch.bfloat16}


class Trainer:
    """One run, from a config to weights, numbers and pictures in ``cfg.train.output_dir``.

    Reads the keys ``model``, ``optimizer``, ``lr_multiplier``, ``dataloader.train|test|evaluator``
    and ``train.{output_dir, init_checkpoint, max_iter, device, amp.enabled, amp.precision, ddp,
    checkpointer, eval_period, best_metric, log_period}``.

    Attributes:
        loop: the detectron2 trainer (`SimpleTrainer`, or `AMPTrainer` with ``amp.enabled``).
        start_iter: 0, or the first iteration that a resumed run still has to do.
    """

    def __init__(self, cfg: DictConfig, *, resume: bool = False) -> None:
        self.cfg = cfg
        self.max_iter: int = select(cfg, "train.max_iter")
        model = build_model(cfg)
        optimizer = build_optimizer(cfg, model)
        self.model = create_ddp_model(model, **cfg.train.ddp)
        self._build_loader(start_iter=0)
        self.loop = build_loop(cfg, self.model, self.loader, optimizer)
        self.checkpointer = DetectionCheckpointer(
            self.model, cfg.train.output_dir, trainer=self.loop
        )
        load_weights(self.checkpointer, cfg.train.init_checkpoint, resume=resume)
        self.start_iter = 0
        if resume:
            self._go_on()
        if not self.start_iter and not cfg.train.init_checkpoint:
            warn_of_frozen_noise(model)
        self.loop.register_hooks(self._build_hooks())

    def _go_on(self) -> None:
        """Set the first iteration and its samples from the checkpoint that was loaded, if any."""
        if not self.checkpointer.has_checkpoint():
            logger.warning("No checkpoint in %s: starting anew", self.cfg.train.output_dir)
            return
        self.start_iter = self.loop.iter + 1
        if self.start_iter > self.max_iter:
            raise UserError(
                f"the run in {self.cfg.train.output_dir} has done {self.start_iter} iterations, "
                f"and train.max_iter={self.max_iter}; raise train.max_iter (or train.epochs), or "
                f"use --eval-only"
            )
        logger.info("Resuming at iteration %d of %d", self.start_iter, self.max_iter)
        self.loop.reset_data_loader(partial(self._build_loader, self.start_iter))

    def train(self) -> dict:
        """Train to ``max_iter``; the last evaluation's results on the main process, else ``{}``.

        Raises:
            UserError: if training diverges, or an image can't be used.
        """
        self._log_sampling("Sampling plan", self.loader.sampling_report())
        try:
            self.loop.train(self.start_iter, self.max_iter)
        except FloatingPointError as error:
            raise UserError(
                f"{one_line(error).rstrip('.')}; lower optimizer.lr, bound the gradients with "
                f"optimizer.max_norm=1.0, or lengthen lr_multiplier.warmup_iters"
            ) from error
        self._log_sampling("Samples drawn", self.sampling_report())
        return self._results

    def sampling_report(self) -> dict:
        """What each class was to get and what it got in the whole run (`project.data.sampler`)."""
        batch = select(self.cfg, "dataloader.train.total_batch_size")
        return self.loader.sampling_report(self.max_iter * batch)

    @staticmethod
    def _log_sampling(title: str, report: dict) -> None:
        logger.info("%s:\n%s", title, format_sampling_report(report))

    def _build_loader(self, start_iter: int):
        """The training loader from ``start_iter`` on: a resumed run goes on where it stopped."""
        node = copy.deepcopy(self.cfg.dataloader.train)
        node.start = start_iter * node.total_batch_size
        self.loader = build(node, "dataloader.train")
        return self.loader

    def _evaluate(self) -> dict:
        share_buffers(self.model)
        self._results = evaluate(self.cfg, self.model)
        return self._results

    def _build_hooks(self) -> list[HookBase]:
        """The run's hooks in their order; those that write are on the main process only.

        The checkpoint comes before the evaluation: a run that dies in there has lost nothing. The
        writers come last, so that they write what the others put.
        """
        cfg = self.cfg.train
        timer = hooks.IterationTimer()
        schedule = hooks.LRScheduler(scheduler=build(self.cfg.lr_multiplier, "lr_multiplier"))
        evaluation = hooks.EvalHook(cfg.eval_period, self._evaluate)
        if not comm.is_main_process():
            return [timer, schedule, evaluation]
        writers = default_writers(cfg.output_dir, self.max_iter)
        return [
            timer,
            schedule,
            hooks.PeriodicCheckpointer(self.checkpointer, **cfg.checkpointer),
            evaluation,
            hooks.BestCheckpointer(cfg.eval_period, self.checkpointer, cfg.best_metric),
            hooks.PeriodicWriter(writers, period=cfg.log_period),
        ]


def share_buffers(model: nn.Module) -> None:
    """Give all processes the main one's buffers, which are those in its checkpoints.

    Batch norm's running statistics follow each process's own images otherwise, and an evaluation on
    several processes would judge several models.
    """
    if comm.get_world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def warn_of_frozen_noise(model: nn.Module) -> None:
    """Tell of a model that starts from random weights and keeps some of them."""
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    if frozen:
        logger.warning(
            "train.init_checkpoint is empty, and %d frozen parameters keep their random values; "
            "from scratch, set model.backbone.bottom_up.stem.norm=BN and "
            "model.backbone.bottom_up.freeze_at=0",
            frozen,
        )


def build_optimizer(cfg: DictConfig, model: nn.Module) -> Optimizer:
    """The config's optimizer over the model's trainable parameters; the config stays as it is."""
    node = copy.deepcopy(cfg.optimizer)
    node.params.model = model
    return build(node, "optimizer")


def build_loop(cfg: DictConfig, model: nn.Module, loader, optimizer: Optimizer) -> SimpleTrainer:
    """Detectron2's training loop in the precision that ``train.amp`` asks for."""
    if not cfg.train.amp.enabled:
        return SimpleTrainer(model, loader, optimizer)
    name = cfg.train.amp.precision
    if name not in PRECISIONS:
        raise UserError(f"train.amp.precision: {unknown_name('precision', name, PRECISIONS)}")
    if cfg.train.device == "cpu" and name == "float16":
        raise UserError("train.amp.precision=float16 needs a GPU; on the CPU take bfloat16")
    return AMPTrainer(model, loader, optimizer, precision=PRECISIONS[name])


class _MistakesInOneLine(logging.Filter):
    """Detectron2's loop logs what ends it; the user's own mistakes need no traceback there."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, UserError | FloatingPointError):
            record.msg, record.args = f"{record.getMessage()}: {one_line(error)}", None
            record.exc_info = record.exc_text = None
        return True


logging.getLogger("detectron2.engine.train_loop").addFilter(_MistakesInOneLine())
