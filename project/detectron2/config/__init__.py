"""Configs that are Python files (API of ``detectron2.config``, its lazy half)."""

from .construct import instantiate
from .lazy import LazyCall, LazyConfig

__all__ = ["LazyCall", "LazyConfig", "instantiate"]
