"""What happens when a loss becomes infinite: back to the last good state, with smaller steps."""

from __future__ import annotations

import logging
from pathlib import Path

from project.engine.checks import check_whole
from project.engine.files import write_json
from project.engine.loop import Diverged
from project.errors import UserError, one_line

from detectron2.utils import comm

logger = logging.getLogger(__name__)


class Guard:
    """Counts the rollbacks of a run and says by how much they lower its learning rate.

    Args:
        output_dir: run folder, which gets ``divergence_<number>.json``.
        seed: of the run.
        max_rollbacks: bound on them; 0 ends the run at the first infinite loss.
        lr_factor: by which each rollback multiplies the learning rate, above 0 and at most 1.

    Attributes:
        rollbacks: so far, those before a resume included.
    """

    def __init__(
        self, output_dir: str | Path, seed: int, *, max_rollbacks: int = 3, lr_factor: float = 0.5
    ) -> None:
        check_whole("train.guard.max_rollbacks", max_rollbacks, 0)
        if not (isinstance(lr_factor, int | float) and 0 < lr_factor <= 1):
            raise UserError(
                f"train.guard.lr_factor={lr_factor}: expected a number above 0 and at most 1"
            )
        self.output_dir, self.seed = Path(output_dir), seed
        self.max_rollbacks, self.lr_factor = max_rollbacks, lr_factor
        self.rollbacks = 0

    def factor(self) -> float:
        """By what the learning rate is multiplied now."""
        return self.lr_factor**self.rollbacks

    def take(self, error: FloatingPointError) -> None:
        """Count a rollback and keep what led to it; on all ranks.

        Raises:
            UserError: if there were enough of them.
        """
        self.rollbacks += 1
        file = self._keep(error)
        if self.rollbacks > self.max_rollbacks:
            raise UserError(
                f"{one_line(error).rstrip('.')}, after {self.rollbacks - 1} rollbacks; the batches "
                f"are in {file}. Lower optimizer.lr, bound the gradients with "
                f"optimizer.max_norm=1.0, or lengthen lr_multiplier.warmup_iters"
            ) from error
        logger.error(
            "%s. Rollback %d of at most %d, learning rate times %g; the batches are in %s",
            one_line(error).rstrip("."),
            self.rollbacks,
            self.max_rollbacks,
            self.factor(),
            file,
        )

    def _keep(self, error: FloatingPointError) -> Path:
        """Write the batches since the losses were last finite, of all ranks.

        ``samples`` tell what was read; image and augmentation follow from the loader's seed and
        ``position``, and the step's own random numbers from `project.engine.loop.step_seed`.
        """
        steps = error.steps if isinstance(error, Diverged) else []
        ranks = comm.gather(steps)
        file = self.output_dir / f"divergence_{self.rollbacks}.json"
        if comm.is_main_process():
            record = {"error": one_line(error), "seed": self.seed, "steps_of_each_rank": ranks}
            write_json(file, record)
        return file

    def state_dict(self) -> dict:
        """The number of rollbacks."""
        return {"rollbacks": self.rollbacks}

    def load_state_dict(self, state: dict) -> None:
        """Restore `state_dict`."""
        self.rollbacks = state["rollbacks"]
