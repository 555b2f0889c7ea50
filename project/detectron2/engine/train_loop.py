"""The loop with hooks around a step; follows ``detectron2.engine.train_loop``.

What a step is, the trainers in `trainers` say.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence
from typing import Any

from ..utils.events import EventStorage

__all__ = ["HookBase", "TrainerBase"]

logger = logging.getLogger(__name__)


class HookBase:
    """Something that a trainer calls at fixed points of its loop.

    ``self.trainer`` is a weak proxy of the trainer. In before_step and after_step,
    ``trainer.iter`` is the iteration of that step; in after_train of a finished training it is
    ``trainer.max_iter``.
    """

    trainer: TrainerBase

    def before_train(self) -> None:
        """Called before the first iteration."""

    def after_train(self) -> None:
        """Called after the last iteration, or after the exception that ended the loop."""

    def before_step(self) -> None:
        """Called before each iteration."""

    def after_backward(self) -> None:
        """Called when the gradients are there, before the optimizer's step."""

    def after_step(self) -> None:
        """Called after each iteration."""

    def state_dict(self) -> dict:
        """What a checkpoint should hold of this hook; a hook with state has load_state_dict too."""
        return {}


class TrainerBase:
    """A loop over iterations that calls hooks; subclasses say what a step is (`run_step`)."""

    def __init__(self) -> None:
        self.iter = self.start_iter = self.max_iter = 0
        self.storage: EventStorage | None = None
        self._hooks: list[HookBase] = []

    def register_hooks(self, hooks: Sequence[HookBase | None]) -> None:
        """Add hooks after the present ones; this is the order of calls. None entries are skipped.

        Raises:
            AssertionError: if an entry is no `HookBase`.
        """
        for hook in filter(lambda hook: hook is not None, hooks):
            assert isinstance(hook, HookBase), f"expected a HookBase, got {hook!r}"
            # A strong reference would make a cycle, which keeps the model alive until a collection.
            hook.trainer = weakref.proxy(self)
            self._hooks.append(hook)

    def train(self, start_iter: int, max_iter: int) -> None:
        """Run the iterations ``start_iter .. max_iter - 1``.

        ``after_train`` is called in any case; an exception of the loop is logged and raised on.
        """
        logger.info("Training from iteration %d to %d", start_iter, max_iter)
        self.start_iter, self.max_iter = start_iter, max_iter
        self.iter = start_iter
        with EventStorage(start_iter) as self.storage:
            try:
                self.before_train()
                while self.iter < max_iter:
                    self.before_step()
                    self.run_step()
                    self.after_step()
                    self.iter += 1
            except Exception:
                logger.exception("Training stopped at iteration %d", self.iter)
                raise
            finally:
                self.after_train()

    def run_step(self) -> None:
        """One iteration of training."""
        raise NotImplementedError

    def _call_hooks(self, phase: str) -> None:
        for hook in self._hooks:
            getattr(hook, phase)()

    def before_train(self) -> None:
        """Call the hooks' ``before_train``."""
        self._call_hooks("before_train")

    def after_train(self) -> None:
        """Call the hooks' ``after_train``."""
        self.storage.iter = self.iter
        self._call_hooks("after_train")

    def before_step(self) -> None:
        """Call the hooks' ``before_step``."""
        self.storage.iter = self.iter
        self._call_hooks("before_step")

    def after_backward(self) -> None:
        """Call the hooks' ``after_backward``."""
        self._call_hooks("after_backward")

    def after_step(self) -> None:
        """Call the hooks' ``after_step``."""
        self._call_hooks("after_step")

    def _hook_by_class(self) -> dict[str, HookBase]:
        """The first hook of each class, by the class's qualified name."""
        found: dict[str, HookBase] = {}
        for hook in self._hooks:
            found.setdefault(type(hook).__qualname__, hook)
        return found

    def state_dict(self) -> dict[str, Any]:
        """``{"iteration": int, "hooks": {class name: state}}``; only hooks that have state."""
        states = {name: hook.state_dict() for name, hook in self._hook_by_class().items()}
        return {
            "iteration": self.iter,
            "hooks": {name: state for name, state in states.items() if state},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the iteration and those hooks that are registered here."""
        self.iter = state_dict["iteration"]
        registered = self._hook_by_class()
        for name, state in state_dict.get("hooks", {}).items():
            if name in registered:
                registered[name].load_state_dict(state)
            else:
                logger.warning("No hook %s here: its state in the checkpoint is unused", name)
