"""Results as text and as flat names; follows ``detectron2.evaluation.testing``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

__all__ = ["flatten_results_dict", "print_csv_format"]

logger = logging.getLogger(__name__)


def print_csv_format(results: Mapping[str, Any]) -> None:
    """Log results so that they can be pasted into a spreadsheet.

    Args:
        results: task to metrics (or to one number). Metrics with "-" in their names (those of
            single classes) are left out.
    """
    assert isinstance(results, Mapping), f"expected a mapping of results, got {results!r}"
    for task, metrics in results.items():
        if not isinstance(metrics, Mapping):
            logger.info("copypaste: %s=%s", task, metrics)
            continue
        shown = {name: value for name, value in metrics.items() if "-" not in name}
        logger.info("copypaste: Task: %s", task)
        logger.info("copypaste: %s", ",".join(shown))
        logger.info("copypaste: %s", ",".join(f"{value:.4f}" for value in shown.values()))


def flatten_results_dict(results: Mapping[str, Any]) -> dict[str, Any]:
    """``{"a": {"b": 1}, "c": 2}`` → ``{"a/b": 1, "c": 2}``, at any depth."""
    flat = {}
    for name, value in results.items():
        if isinstance(value, Mapping):
            inner = flatten_results_dict(value)
            flat.update({f"{name}/{rest}": leaf for rest, leaf in inner.items()})
        else:
            flat[name] = value
    return flat
