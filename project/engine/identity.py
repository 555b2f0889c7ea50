"""What must stay the same for a resumed run to be the same run."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

from project.data.loader import TrainLoader
from project.errors import UserError

logger = logging.getLogger(__name__)

# What a difference means in words, for what can't change and for what may.
FATAL = {
    "classes": "the classes",
    "images": "the number of training images",
    "objects": "the training objects of each class",
    "labels": "the training images' labels",
    "batch": "dataloader.train.total_batch_size",
}
TELLING = {"seed": "train.seed", "sampling": "dataloader.train.sampling or aspect_ratio_grouping"}


class RunIdentity:
    """A run's data and batch, kept in its checkpoints and compared when one is loaded.

    Args:
        loader: of the training split.
        batch: images a step, all ranks together.
        seed: of the run.
    """

    def __init__(self, loader: TrainLoader, batch: int, seed: int) -> None:
        statistics = loader.statistics
        self._state = {
            "classes": list(statistics.class_names),
            "images": len(statistics.counts),
            "objects": statistics.instances.tolist(),
            "labels": hashlib.sha256(statistics.counts.tobytes()).hexdigest()[:16],
            "batch": batch,
            "seed": seed,
            "sampling": loader.order_digest(),
        }

    def state_dict(self) -> dict[str, Any]:
        """What is compared."""
        return dict(self._state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Compare with the run that is resumed.

        Raises:
            UserError: naming the first difference that makes it another run.
        """
        for key, what in FATAL.items():
            if key in state and state[key] != self._state[key]:
                raise UserError(
                    f"this run can't be resumed: {what} changed from {_shown(state[key])} to "
                    f"{_shown(self._state[key])}; change it back, or begin a new run from its "
                    f"weights with train.init_checkpoint=FILE and another train.output_dir"
                )
        for key, what in TELLING.items():
            if key in state and state[key] != self._state[key]:
                logger.warning(
                    "Resuming with %s changed from %s to %s: the samples from here on are not "
                    "those of the run so far",
                    what,
                    state[key],
                    self._state[key],
                )


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
