"""Finds the parameter that a checkpoint's key means (``detectron2.checkpoint.c2_model_loading``).

Better than upstream: suffixes are looked up instead of compared with every key. Of old Detectron,
the names of its backbones are translated, those of its detectors aren't.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["match_by_suffix", "model_name_of_caffe2"]

logger = logging.getLogger(__name__)

_LAYER = re.compile(
    r"(?P<module>.+?)(?:_(?P<norm>bn|gn))?_(?P<value>w|b|s|gamma|beta|bias|rm|riv"
    r"|running_mean|running_var)"
)
_BRANCHES = {"branch1": "shortcut", "branch2a": "conv1", "branch2b": "conv2", "branch2c": "conv3"}
_STEMS = {"conv1": "stem.conv1", "res_conv1": "stem.conv1", "pred": "linear"}
_LAYER_VALUES = {"w": "weight", "b": "bias"}
_NORM_VALUES = {
    "s": "weight",
    "gamma": "weight",
    "b": "bias",
    "beta": "bias",
    "bias": "bias",
    "rm": "running_mean",
    "running_mean": "running_mean",
    "riv": "running_var",
    "running_var": "running_var",
}


def model_name_of_caffe2(name: str) -> str:
    """Our name of a Caffe2 blob: ``res2_0_branch2a_bn_gamma`` → ``res2.0.conv1.norm.weight``.

    Blobs of other layers get dots for their underscores (``fc1000_w`` → ``fc1000.weight``).
    """
    layer = _LAYER.fullmatch(name)
    values = _NORM_VALUES if layer and layer["norm"] else _LAYER_VALUES
    if layer is None or layer["value"] not in values:
        return name.replace("_", ".")
    module = _STEMS.get(layer["module"])
    if module is None:
        module = ".".join(_BRANCHES.get(part, part) for part in layer["module"].split("_"))
    return f"{module}{'.norm' if layer['norm'] else ''}.{values[layer['value']]}"


def match_by_suffix(
    state: Mapping[str, Any], model_state: Mapping[str, Any], *, caffe2: bool = False
) -> dict[str, Any]:
    """``state`` under the model's keys; what the model has no place for keeps its name.

    A key of the model takes the key of the checkpoint that equals it or is what follows one of its
    dots, the longest if there are several. Pairs of different shapes are skipped with a warning.

    Args:
        state: values with a ``shape`` by the checkpoint's keys.
        model_state: the same by the model's keys.
        caffe2: translate the checkpoint's keys by `model_name_of_caffe2` first.

    Raises:
        ValueError: if two keys of the model would take one key of the checkpoint, or two blobs
            translate to one name.
    """
    originals = {model_name_of_caffe2(key) if caffe2 else key: key for key in state}
    if len(originals) != len(state):
        raise ValueError("two Caffe2 blobs of the checkpoint mean the same parameter")
    taken: dict[str, str] = {}  # checkpoint key → model key
    for model_key in model_state:
        key = originals.get(_longest_suffix(model_key, originals))
        if key is None or not _same_shape(key, state[key], model_key, model_state[model_key]):
            continue
        if key in taken:
            raise ValueError(
                f"{key!r} of the checkpoint fits both {taken[key]!r} and {model_key!r} of the model"
            )
        taken[key] = model_key
    _log_matches(taken, state)
    return {taken.get(key, key): value for key, value in state.items()}


def _longest_suffix(model_key: str, names: Mapping[str, str]) -> str | None:
    parts = model_key.split(".")
    suffixes = (".".join(parts[start:]) for start in range(len(parts)))
    return next((suffix for suffix in suffixes if suffix in names), None)


def _same_shape(key: str, value: Any, model_key: str, model_value: Any) -> bool:
    theirs, ours = tuple(value.shape), tuple(model_value.shape)
    if theirs != ours:
        logger.warning(
            "%s of the checkpoint has shape %s, %s of the model %s: skipped. "
            "This is expected for layers that depend on the classes.",
            key,
            theirs,
            model_key,
            ours,
        )
    return theirs == ours


def _log_matches(taken: Mapping[str, str], state: Mapping[str, Any]) -> None:
    if not taken:
        logger.warning("No key of the checkpoint fits any key of the model")
        return
    logger.info("%d of %d checkpoint keys fit the model", len(taken), len(state))
