"""Loads checkpoints of every kind that detectors are published in.

API of ``detectron2.checkpoint.DetectionCheckpointer``. Better than upstream: a failed load leaves
nothing behind, and ranks without the file get all of the checkpoint from rank 0, not only weights.
"""

from __future__ import annotations

import fnmatch
import os
from typing import Any
from urllib.parse import parse_qs, urlsplit

import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from ..utils import comm
from ..utils.file_io import PathManager
from .checkpointer import Checkpointer
from .matching import match_by_suffix

__all__ = ["DetectionCheckpointer"]

_NEVER_MISSING = ("pixel_mean", "pixel_std")
_NEVER_UNEXPECTED = "*anchor_generator.cell_anchors*"


class DetectionCheckpointer(Checkpointer):
    """A `Checkpointer` that also reads model-zoo files, Caffe2 backbones and pycls models.

    Args:
        model: ``DistributedDataParallel`` is taken off.
        save_dir: folder for checkpoints.
        save_to_disk: whether `save` does anything; by default on the main process only.
        **checkpointables: objects with ``state_dict`` and ``load_state_dict``.
    """

    def __init__(self, model, save_dir: str = "", *, save_to_disk=None, **checkpointables):
        if save_to_disk is None:
            save_to_disk = comm.is_main_process()
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.path_manager = PathManager
        self._on_all_ranks = isinstance(model, DistributedDataParallel)

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load the model, and what else of ours is in the file.

        Keys with other shapes are skipped, missing and unexpected ones are logged: a checkpoint for
        COCO loads into a model of other classes but for its last layers. Under
        ``DistributedDataParallel`` all ranks call this together, and rank 0 must have the file.

        Args:
            path: file or URL. ``""`` loads nothing. With ``?matching_heuristics=True`` at its end
                keys are matched by suffix (see `matching`).
            checkpointables: names of those to load; all by default.

        Returns:
            What was left in the checkpoint, such as ``iteration``.

        Raises:
            AssertionError: if there is no such file.
            OSError: if rank 0 has no such file under ``DistributedDataParallel``.
            ValueError: for another query, a file that is no checkpoint or asks for more than data,
                or an ambiguous match.
        """
        if not path:
            return super().load(path, checkpointables)
        address, heuristics = _split_query(str(path))
        self.logger.info("Loading %s", address)
        checkpoint = self._read_everywhere(address) if self._on_all_ranks else self._read(address)
        if heuristics:
            checkpoint["matching_heuristics"] = True
        self._log_incompatible_keys(self._load_model(checkpoint))
        for name in self.checkpointables if checkpointables is None else checkpointables:
            if name in checkpoint:
                self.checkpointables[name].load_state_dict(checkpoint.pop(name))
        return checkpoint

    def _read(self, address: str) -> dict[str, Any]:
        path = self.path_manager.get_local_path(address)
        if not os.path.isfile(path):
            raise AssertionError(f"there is no checkpoint {address}")
        return self._load_file(path)

    def _read_everywhere(self, address: str) -> dict[str, Any]:
        """`_read` on all ranks together; those without the file get rank 0's content."""
        try:
            path, problem = self.path_manager.get_local_path(address), None
        except Exception as error:  # a rank that stops here would leave the others waiting
            path, problem = "", error
        has_file = comm.all_gather(os.path.isfile(path))
        if not has_file[0]:
            raise OSError(f"rank 0 has no checkpoint {address}") from problem
        if all(has_file):
            return self._load_file(path)
        without = [rank for rank, has in enumerate(has_file) if not has]
        self.logger.warning("Ranks %s have no %s and get it from rank 0", without, address)
        content = [self._try_load(path) if comm.is_main_process() else None]
        dist.broadcast_object_list(content, src=0)
        if isinstance(content[0], Exception):
            raise content[0]
        return content[0]

    def _try_load(self, path: str) -> dict[str, Any] | Exception:
        try:
            return self._load_file(path)
        except Exception as error:
            return error

    def _understand(self, content: Any, file: str) -> dict[str, Any]:
        """Sets ``matching_heuristics`` where the kind of file has its own names for layers."""
        content = super()._understand(content, file)
        if file.endswith(".pkl"):
            is_ours = "model" in content and "__author__" in content
            return content if is_ours else _caffe2(content, file)
        if file.endswith(".pyth"):
            return _pycls(content, file)
        return content if "model" in content else {"model": content}

    def _load_model(self, checkpoint: dict[str, Any]):
        if checkpoint.get("matching_heuristics", False):
            state = _without_module_prefix(checkpoint["model"])
            caffe2 = checkpoint.get("__author__") == "Caffe2"
            checkpoint["model"] = match_by_suffix(state, self.model.state_dict(), caffe2=caffe2)
        found = super()._load_model(checkpoint)
        anchors = fnmatch.filter(found.unexpected_keys, _NEVER_UNEXPECTED)
        return found._replace(
            missing_keys=[key for key in found.missing_keys if key not in _NEVER_MISSING],
            unexpected_keys=[key for key in found.unexpected_keys if key not in anchors],
        )


def _split_query(path: str) -> tuple[str, bool]:
    """Address without its query, and whether the query asks for matching heuristics."""
    query = urlsplit(path).query
    if not query:
        return path, False
    if parse_qs(query) != {"matching_heuristics": ["True"]}:
        raise ValueError(
            f"the only query known is ?matching_heuristics=True, got ?{query} ({path})"
        )
    return path.removesuffix(f"?{query}"), True


def _caffe2(content: dict[str, Any], file: str) -> dict[str, Any]:
    blobs = content.get("blobs", content)
    if not isinstance(blobs, dict):
        raise ValueError(f"{file} is no Caffe2 checkpoint: its 'blobs' are no dict")
    weights = {name: blob for name, blob in blobs.items() if not str(name).endswith("_momentum")}
    return {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}


def _pycls(content: dict[str, Any], file: str) -> dict[str, Any]:
    state = content.get("model_state")
    if not isinstance(state, dict):
        raise ValueError(f"{file} is no pycls checkpoint: it has no dict 'model_state'")
    weights = {key: v for key, v in state.items() if "num_batches_tracked" not in str(key)}
    return {"model": weights, "__author__": "pycls", "matching_heuristics": True}


def _without_module_prefix(state: dict[str, Any]) -> dict[str, Any]:
    """State of a model that was saved inside ``DataParallel``, as its own."""
    if not all(key.startswith("module.") for key in state):
        return state
    return {key.removeprefix("module."): value for key, value in state.items()}
