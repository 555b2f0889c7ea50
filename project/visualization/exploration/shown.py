"""Which classes a chart shows, and what is said where it shows only some."""

from __future__ import annotations

from collections.abc import Sequence

from project.data.exploration.explore import Exploration
from project.visualization.charts import MAIN, MUTED, SECOND

import numpy as np

MANY_CLASSES = 16  # charts of more classes show the commonest and the rarest
TABLE_CLASSES = 12
SIZE_COLORS = (SECOND, MAIN, MUTED)  # small, medium, large


def shown_classes(counts: np.ndarray, most: int) -> list[int]:
    """Class indices, commonest first: all, or of more than ``most`` that occur both ends."""
    order = np.argsort(-counts, kind="stable")
    if len(order) <= most:
        return order.tolist()
    order = order[counts[order] > 0]
    if len(order) <= most:
        return order.tolist()
    return [*order[: most // 2].tolist(), *order[-(most - most // 2) :].tolist()]


def class_labels(found: Exploration, classes: Sequence[int]) -> list[str]:
    return [found.table.class_names[k] for k in classes]


def counted_labels(found: Exploration, classes: Sequence[int]) -> list[str]:
    """Names with the objects of each: percentages of one object say little."""
    return [f"{found.table.class_names[k]} ({found.counts.instances[k]:,})" for k in classes]


def which_classes(found: Exploration, shown: Sequence[int]) -> str:
    """What to say where not all classes are shown."""
    total = int((found.counts.images > 0).sum())
    if len(shown) >= total:
        return ""
    return (
        f"The {len(shown) // 2} commonest and the {len(shown) - len(shown) // 2} rarest of {total}."
    )
