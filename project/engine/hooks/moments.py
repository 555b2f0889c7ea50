"""When hooks act: the moments of an evaluation, and the end of a run."""

from __future__ import annotations

from detectron2.engine import TrainerBase


def is_due(trainer: TrainerBase, period: int) -> bool:
    """Whether a step that ends a ``period`` is over; false for the last step and for period 0.

    The moments of `detectron2.engine.hooks.EvalHook`, whose last evaluation comes in
    ``after_train``: see `has_finished`.
    """
    done = trainer.iter + 1
    return period > 0 and done % period == 0 and done != trainer.max_iter


def has_finished(trainer: TrainerBase) -> bool:
    """In ``after_train``: whether all iterations were done, rather than an exception met."""
    return trainer.iter >= trainer.max_iter


def needs_a_last_time(trainer: TrainerBase, period: int) -> bool:
    """In ``after_train``: whether a sound run ended, and what is due each ``period`` isn't done.

    Early stopping leaves the loop after a step that may have been due.
    """
    stopped = getattr(trainer, "stop_reason", "") != ""
    return has_finished(trainer) or (stopped and not is_due(trainer, period))
