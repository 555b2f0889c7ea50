"""Which classes the model was really trained on."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from project.engine.checks import check_whole
from project.engine.hooks.moments import is_due, needs_a_last_time
from project.errors import UserError

import torch
import torch.distributed as dist
from detectron2.engine import HookBase
from detectron2.utils import comm

logger = logging.getLogger(__name__)


class ClassesSeen(HookBase):
    """Counts the labelled objects per class in the batches of all ranks since the run began.

    That is what was left after sampling, cropping and pasting, unlike the sampling report, which
    counts objects of whole images. A semantic model's batches hold no objects: leave it out there.
    Stored as ``seen/<class>`` and ``seen/images`` and logged as a
    table. The counts are in the checkpoints; a resumed run goes on counting.

    Args:
        classes: names in the order of the contiguous class ids.
        period: iterations from one table to the next; the last one comes at the end.
    """

    stage = "step"

    def __init__(self, classes: Sequence[str], *, period: int) -> None:
        check_whole("classes seen's period", period, 0)
        self._classes = list(classes)
        self._period = period
        # Objects of each class, then images; on the model's device once training goes on.
        self._counts = torch.zeros(len(self._classes) + 1, dtype=torch.int64)

    def before_train(self) -> None:
        self._counts = self._counts.to(next(self.trainer.model.parameters()).device)

    def after_step(self) -> None:
        # The ranks add up in every step, since any may be the last one before a checkpoint. On a
        # GPU that is queued there; the host doesn't wait.
        step = self._count(self.trainer.last_batch).to(self._counts.device, non_blocking=True)
        if comm.get_world_size() > 1:
            dist.all_reduce(step)
        self._counts += step
        if is_due(self.trainer, self._period):
            self._report()

    def after_train(self) -> None:
        if needs_a_last_time(self.trainer, self._period):
            self._report()

    def _count(self, batch: Sequence[dict]) -> torch.Tensor:
        """Objects per class and images of one batch, int64 [K + 1]."""
        if any("instances" not in sample for sample in batch):
            raise UserError(
                "classes_seen counts objects, and the training mapper gives none; leave it out "
                "with train.hooks.classes_seen=null"
            )
        classes = [sample["instances"].gt_classes.cpu() for sample in batch]
        counts = torch.zeros(len(self._counts), dtype=torch.int64)
        counts[:-1] = torch.cat(classes).bincount(minlength=len(self._classes))
        counts[-1] = len(batch)
        return counts

    def _report(self) -> None:
        *counts, images = self._counts.tolist()
        names = [*self._classes, "images"]
        for name, count in zip(names, [*counts, images], strict=True):
            self.trainer.storage.put_scalar(f"seen/{name}", count, smoothing_hint=False)
        if comm.is_main_process():
            logger.info("%s", format_seen(self._classes, counts, images))

    def state_dict(self) -> dict:
        return {"classes": self._classes, "counts": self._counts.tolist()}

    def load_state_dict(self, state_dict: dict) -> None:
        if state_dict["classes"] != self._classes:
            raise UserError(
                f"the checkpoint counts objects of {', '.join(state_dict['classes'])}, and this "
                f"run has {', '.join(self._classes)}; start a run of its own for other classes"
            )
        counts = torch.tensor(state_dict["counts"], dtype=torch.int64)
        self._counts = counts.to(self._counts.device)


def format_seen(classes: Sequence[str], counts: Sequence[int], images: int) -> str:
    """The counts as lines of text, each with its share of all objects."""
    total = sum(counts)
    width = max(map(len, classes), default=0)
    lines = [f"Objects seen in {images} images: {total}"]
    for name, count in zip(classes, counts, strict=True):
        share = 100 * count / total if total else 0.0
        lines.append(f"  {name:<{width}} {count:>10}  {share:5.1f} %")
    return "\n".join(lines)
