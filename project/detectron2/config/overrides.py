"""Config changes from the command line (API of ``LazyConfig.apply_overrides``).

Values follow hydra's grammar (https://hydra.cc/docs/advanced/override_grammar/basic). Better than
upstream: without hydra, values may contain ``=`` and bare words, and sweeps are refused instead of
being stored as objects.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf

__all__ = ["apply_overrides"]

_WORDS = {"null": None, "true": True, "false": False}


def apply_overrides(cfg: DictConfig, overrides: Iterable[str]) -> DictConfig:
    """``cfg`` itself, after setting each ``key.path=value`` of `overrides` in it.

    Missing nodes on the way are created; a mapping is merged into an existing mapping, all else
    replaces what was there. ``+key`` and ``++key`` mean ``key``.

    Raises:
        NotImplementedError: for ``~key`` (deletion).
        KeyError: if the way leads through a value that isn't a config node.
        hydra.errors.OverrideParseException: for malformed text (ValueError without hydra).
        ValueError: for a sweep such as ``a=1,2``.
    """
    for key, value in _parse(list(overrides)):
        _check_way(cfg, key)
        OmegaConf.update(cfg, key, value, merge=True)
    return cfg


def _check_way(cfg: DictConfig, key: str) -> None:
    parts = key.split(".")
    for length in range(1, len(parts)):
        prefix = ".".join(parts[:length])
        node = OmegaConf.select(cfg, prefix, default=None)
        if node is None:
            return
        if not OmegaConf.is_config(node):
            raise KeyError(f"can't set {key!r}: {prefix!r} is {node!r}, no config node")


def _parse(overrides: list[str]) -> list[tuple[str, Any]]:
    try:
        from hydra.core.override_parser.overrides_parser import OverridesParser
    except ImportError:
        return [_parse_plain(text) for text in overrides]
    parsed = OverridesParser.create().parse_overrides(overrides)
    for override in parsed:
        if override.is_delete():
            raise NotImplementedError(f"{override.input_line!r}: deleting a key isn't supported")
        if override.is_sweep_override():
            raise ValueError(
                f"{override.input_line!r} asks for a sweep of several values; "
                f"write a list as [1,2], and text with a comma in quotes"
            )
    return [(override.key_or_group, override.value()) for override in parsed]


def _parse_plain(text: str) -> tuple[str, Any]:
    """Key and value of ``key=value`` where hydra isn't installed: a Python literal, or text."""
    key, separator, value = text.partition("=")
    if key.startswith("~"):
        raise NotImplementedError(f"{text!r}: deleting a key isn't supported")
    key = key.lstrip("+")
    if not separator or not key:
        raise ValueError(f"expected key=value, got {text!r}")
    if value in _WORDS:
        return key, _WORDS[value]
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value
