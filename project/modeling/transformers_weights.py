"""Weights of `transformers` as checkpoints: ``train.init_checkpoint=transformers://NAME``.

NAME is a folder that ``save_pretrained`` wrote, or a model of the Hugging Face hub, for instance
``facebook/mask2former-swin-tiny-coco-instance``. They come by this address, never with the model
itself, so that a trained run is built again without them; and as they name their classes, the last
layer is taken over by the names of classes, as of every other checkpoint.

Only safetensors are read, and no code of a model's author is run.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import project  # noqa: F401 - makes `detectron2` importable
from project.errors import UserError, one_line
from project.modeling.hub import from_hub
from project.modeling.transformers_network import forget_unused, import_transformers, quiet

import torch
from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler, get_cache_dir

PREFIX = "transformers://"
_MODEL_TYPE = "mask2former"
_REMEDY = "start from random weights with train.init_checkpoint=''"


def register_weights() -> None:
    """Let checkpointers load ``transformers://NAME``; more than once is harmless."""
    PathManager.register_handler(_TransformersHandler(), allow_override=True)


class _TransformersHandler(PathHandler):
    """``transformers://NAME``: a checkpoint for a `TransformersSegmenter`, made once."""

    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs) -> str:
        name = path.removeprefix(PREFIX)
        file = Path(get_cache_dir(), "transformers", f"{_identity(name)}.pth")
        if force or not file.is_file():
            content = read_weights(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_name(f"{file.name}.{os.getpid()}")
            torch.save(content, unfinished)
            unfinished.replace(file)
        return str(file)

    def _isfile(self, path: str, **kwargs) -> bool:
        return True


def _identity(name: str) -> str:
    """A file name for the weights; another one when the files of a folder change."""
    told = [str(Path(name).absolute()) if Path(name).is_dir() else name]
    if Path(name).is_dir():
        stats = ((p.name, p.stat()) for p in sorted(Path(name).iterdir()))
        told += [f"{file} {stat.st_size} {stat.st_mtime_ns}" for file, stat in stats]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:32]


def read_weights(name: str) -> dict[str, Any]:
    """A Mask2Former's weights as ``{"model": state, "classes": names}``, as our checkpoints are.

    ``classes`` is left out where the weights' own configuration has no names for them.

    Args:
        name: a folder or a model of the hub.

    Raises:
        UserError: if they can't be had, or aren't a Mask2Former's.
    """
    transformers = import_transformers()
    if name and Path(name).is_dir():
        network = _read(transformers, name, local_files_only=True)
    elif not name or name.startswith((".", "/")) or name.count("/") > 1:
        raise UserError(f"there is no folder {name!r} ({PREFIX}{name}); {_REMEDY}")
    else:
        with from_hub(f"weights {name}", _hub_remedy(name)):
            network = _read(transformers, name)
    names = [str(label) for _, label in sorted(network.config.id2label.items())]
    content = {"model": {f"network.{key}": x for key, x in network.state_dict().items()}}
    if names != [f"LABEL_{number}" for number in range(len(names))]:  # what stands for no names
        content["classes"] = names
    return content


def _hub_remedy(name: str) -> str:
    return (
        f"copy a folder that save_pretrained wrote, or ~/.cache/huggingface, from a machine where "
        f"transformers has loaded {name} (train.init_checkpoint={PREFIX}FOLDER takes a folder), or "
        f"{_REMEDY}"
    )


def _read(transformers, name: str, **options) -> torch.nn.Module:
    """The network that the files describe, complete, without what isn't learnt.

    Raises:
        UserError: if they are another model's, damaged or incomplete. For a model of the hub also
            what its client raises.
    """
    try:
        config, _ = transformers.PreTrainedConfig.get_config_dict(name, **options)
        if config.get("model_type") != _MODEL_TYPE:
            raise UserError(
                f"{name} holds a model of type {config.get('model_type')!r}, and the weights of a "
                f"{_MODEL_TYPE} are needed; {_REMEDY}"
            )
        kind = transformers.Mask2FormerForUniversalSegmentation
        with quiet(transformers):  # what is missing is told below
            network, info = kind.from_pretrained(
                name, use_safetensors=True, output_loading_info=True, **options
            )
    except UserError:
        raise
    except Exception as error:  # no common base: of files, of safetensors, of settings
        if not Path(name).is_dir():
            raise
        raise UserError(
            f"weights in {name} can't be loaded: {one_line(error)[:300]}; a folder that "
            f"save_pretrained wrote is needed (config.json, model.safetensors), or {_REMEDY}"
        ) from error
    forget_unused(network)
    if missing := sorted(network.state_dict().keys() & info["missing_keys"]):
        raise UserError(
            f"{name} lacks {len(missing)} of the weights that its config.json promises, among them "
            f"{missing[0]}; {_REMEDY}"
        )
    return network
