"""Checkpoints that load safely and are never half written (``detectron2.checkpoint``)."""

from __future__ import annotations

import os
from typing import Any

import torch
from fvcore.common import checkpoint as fvcore_checkpoint

from .files import check_model_state, plain_data, read_data, to_tensor, write_atomically

__all__ = ["Checkpointer"]


class Checkpointer(fvcore_checkpoint.Checkpointer):
    """Saves and loads a model with other objects that have a ``state_dict``.

    fvcore's class, and better: files are read as data (see `unpickle`), only plain data is saved,
    and files appear whole or not at all.
    """

    def save(self, name: str, **kwargs: Any) -> None:
        """Write ``name.pth`` to the save folder and note it in ``last_checkpoint``.

        The file holds ``model``, the states of the checkpointables and ``kwargs``.

        Raises:
            AssertionError: if ``name`` has a folder in it.
            TypeError: if something to save is no number, text, tensor or container of them.
        """
        if not (self.save_dir and self.save_to_disk):
            return
        file = f"{name}.pth"
        if os.path.basename(file) != file:
            raise AssertionError(f"a checkpoint's name has no folder in it, got {name!r}")
        states = {"model": self.model, **self.checkpointables}
        content = {key: holder.state_dict() for key, holder in states.items()} | kwargs
        content = {key: plain_data(value, key) for key, value in content.items()}
        self.logger.info("Saving %s", os.path.join(self.save_dir, file))
        write_atomically(self._in_save_dir(file), lambda opened: torch.save(content, opened))
        self.tag_last_checkpoint(file)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Note the file from which a resumed run goes on."""
        text = last_filename_basename.encode()
        write_atomically(self._in_save_dir("last_checkpoint"), lambda opened: opened.write(text))

    def _in_save_dir(self, file: str) -> str:
        return os.path.join(self.path_manager.get_local_path(self.save_dir), file)

    def _load_file(self, f: str) -> dict[str, Any]:
        content = self._understand(read_data(f), f)
        check_model_state(content.get("model"), f)
        return content

    def _understand(self, content: Any, file: str) -> dict[str, Any]:
        """What a file held, as ``{"model": state, ...}``."""
        if not isinstance(content, dict):
            raise ValueError(f"{file} holds a {type(content).__name__}, a checkpoint holds a dict")
        return content

    def _convert_ndarray_to_tensor(self, state_dict: dict[str, Any]) -> None:
        for key, value in state_dict.items():
            if not isinstance(value, torch.Tensor):
                state_dict[key] = to_tensor(value)
