"""From descriptions to objects (API of ``detectron2.config.instantiate``)."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from ..utils.registry import locate
from .naming import dotted_name

__all__ = ["instantiate"]

logger = logging.getLogger(__name__)


def instantiate(cfg: Any) -> Any:
    """What ``cfg`` describes: every mapping with a ``_target_`` becomes the result of its call.

    Lists are built element by element (an omegaconf list gives an omegaconf list). Everything else
    comes back as it is; a mapping without ``_target_`` isn't even looked into, so lazy calls in a
    plain dict stay lazy.

    Raises:
        ImportError: if a ``_target_`` names nothing that can be imported.
        AssertionError: if a ``_target_`` can't be called.
        TypeError: from the call; the log tells which target it was.
    """
    if isinstance(cfg, ListConfig):
        return ListConfig([instantiate(item) for item in cfg], flags={"allow_objects": True})
    if isinstance(cfg, list):
        return [instantiate(item) for item in cfg]
    if isinstance(cfg, DictConfig) and dataclasses.is_dataclass(OmegaConf.get_type(cfg)):
        return OmegaConf.to_object(cfg)
    if isinstance(cfg, Mapping) and "_target_" in cfg:
        # items() resolves interpolations while the values still hang in their config.
        arguments = {key: instantiate(value) for key, value in cfg.items()}
        return _call(arguments.pop("_target_"), arguments)
    return cfg


def _call(target: Any, arguments: dict[str, Any]) -> Any:
    if isinstance(target, str):
        target = locate(target)
    if not callable(target):
        raise AssertionError(f"_target_ must be callable or the name of a callable, got {target!r}")
    try:
        return target(**arguments)
    except TypeError:
        logger.error("The call of %s failed", dotted_name(target) or repr(target))
        raise
