"""The losses of the model on images that it isn't trained on."""

from __future__ import annotations

import contextlib
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from project.engine.checks import check_whole
from project.engine.hooks.moments import is_due, needs_a_last_time
from project.engine.loop import bare, share_buffers
from project.errors import UserError, from_worker

import numpy as np
import torch
from detectron2.data import build_detection_test_loader
from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import nn

logger = logging.getLogger(__name__)


class ValidationLoss(HookBase):
    """Stores ``validation/total_loss`` and its components, ``validation/loss_mask``, ....

    Each is a mean over single images, so batch size and number of ranks don't matter, while a
    training loss is a mean over a batch's objects. Where weights are averaged (EMA), it is the
    averaged model that is judged, as in the evaluation. The model computes losses in train mode,
    but norms and dropout act as in evaluation; proposals are drawn with one seed for every image.
    Neither the model nor any random generator is changed.

    Args:
        dataset: dataset dicts with labels; without any, nothing is measured.
        mapper: dataset dict → model input with ``instances`` or ``sem_seg``; without random
            augmentation.
        period: iterations: ``train.eval_period``. It is measured after the last iteration too; with
            0, only there.
        max_images: at most so many, evenly spaced in the dataset.
        num_workers: loader processes of each rank.
        seed: of the model's own draws.
    """

    stage = "evaluation"

    def __init__(
        self,
        dataset: Sequence[dict],
        mapper: Callable[[dict], dict],
        *,
        period: int,
        max_images: int = 500,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        check_whole("validation loss's period", period, 0)
        check_whole("validation loss's max_images", max_images, 1)
        if not len(dataset) or "annotations" not in dataset[0]:
            logger.warning("The evaluated split has no labels: no validation loss is measured")
            dataset = ()
        self._records = evenly_spaced(dataset, max_images)
        self._mapper, self._num_workers = mapper, num_workers
        self._period, self._seed = period, seed

    def after_step(self) -> None:
        if is_due(self.trainer, self._period):
            self._measure()

    def after_train(self) -> None:
        if needs_a_last_time(self.trainer, self._period):
            self._measure()

    def _measure(self) -> None:
        if not self._records:
            return
        # Ranks have shares of different length: nothing may be exchanged batch by batch.
        model = bare(self.trainer.run.evaluated_model)
        share_buffers(model)
        with _generators_kept(model):
            loader = build_detection_test_loader(
                self._records, mapper=self._mapper, num_workers=self._num_workers
            )
            try:
                losses = mean_losses(model, loader, self._seed)
            except UserError as error:
                raise from_worker(error) from None
        for name, value in losses.items():
            self.trainer.storage.put_scalar(f"validation/{name}", value, smoothing_hint=False)


def evenly_spaced(dataset: Sequence[dict], number: int) -> list[dict]:
    """At most ``number`` records of ``dataset``, from its first on at equal distances."""
    size = len(dataset)
    number = min(number, size)
    return [dataset[k * size // number] for k in range(number)]


def mean_losses(model: nn.Module, batches: Iterable[list[dict]], seed: int) -> dict[str, float]:
    """Each loss and ``total_loss``, averaged over the images of all ranks.

    Args:
        batches: this rank's share, as lists of one image; it may be empty.
        seed: of torch's generators, set before each image.
    """
    sums: dict[str, torch.Tensor] = defaultdict(float)
    num_images = 0
    # What the model tells the storage about its training doesn't belong to this batch.
    with torch.no_grad(), losses_of(model), EventStorage():
        for batch in batches:
            torch.manual_seed(seed)
            losses = model(batch)
            if isinstance(losses, torch.Tensor):
                losses = {"total_loss": losses}
            for name, loss in losses.items():
                sums[name] = sums[name] + loss.double()
            num_images += 1
    mine = {name: float(loss) for name, loss in sums.items()}
    return _mean_over_ranks(comm.all_gather((mine, num_images)))


def _mean_over_ranks(shares: list[tuple[dict[str, float], int]]) -> dict[str, float]:
    images = sum(number for _, number in shares)
    names = dict.fromkeys(name for losses, _ in shares for name in losses)
    means = {name: sum(losses.get(name, 0.0) for losses, _ in shares) / images for name in names}
    return {"total_loss": sum(means.values()), **means}


# Modules that do something else in training than in evaluation, and whose doing isn't the loss:
# timm's, torchvision's and transformers'; none of them is imported here.
_STOCHASTIC = ("DropPath", "StochasticDepth", "SwinDropPath", "ConvNextDropPath")


def _acts_as_in_evaluation(module: nn.Module) -> bool:
    kinds = nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd
    return isinstance(module, kinds) or type(module).__name__ in _STOCHASTIC


@contextlib.contextmanager
def losses_of(model: nn.Module) -> Iterator[None]:
    """Train mode without its noise: norms use their running figures, dropout lets all through."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = not _acts_as_in_evaluation(module)
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def _generators_kept(model: nn.Module) -> Iterator[None]:
    """Python's, numpy's and torch's generators go on afterwards as if nothing had been drawn."""
    device = next(model.parameters()).device
    devices = [device] if device.type == "cuda" else []
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
