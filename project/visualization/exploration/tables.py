"""The tables of an exploration's page."""

from __future__ import annotations

from collections.abc import Sequence

from project.data.exploration.explore import Exploration
from project.data.exploration.numbers import class_rows
from project.visualization.charts import css_color
from project.visualization.page import Column, Table
from project.visualization.palette import class_color

import numpy as np


def _colors(rows: Sequence[int]) -> list[str]:
    return [css_color(class_color(k)) for k in rows]


def _order(found: Exploration) -> list[int]:
    """Class indices, commonest first."""
    return np.argsort(-found.counts.instances, kind="stable").tolist()


def class_table(found: Exploration) -> Table:
    columns = [
        Column("class"),
        Column("objects"),
        Column("%", "percent of all objects"),
        Column("images", "with at least one object"),
        Column("crowds", "crowd regions"),
    ]
    if found.other is not None:
        other = found.other.name
        columns += [Column(f"{other}: objects"), Column("%"), Column("images")]
    rows = []
    for k in _order(found):
        counts = found.counts
        row = [found.table.class_names[k], f"{counts.instances[k]:,}", f"{counts.share[k]:.1f}"]
        row += [f"{counts.images[k]:,}", f"{counts.crowds[k]:,}"]
        if (theirs := found.other_counts) is not None:
            row += [f"{theirs.instances[k]:,}", f"{theirs.share[k]:.1f}", f"{theirs.images[k]:,}"]
        rows.append(row)
    return Table("Every class in numbers", columns, rows, _colors(_order(found)))


def mask_table(found: Exploration) -> Table:
    columns = {
        "median_area": (Column("area", "median, square pixels"), "{:,.0f}"),
        "pixels": (Column("% of pixels", "of all pixels of the images"), "{:.2g}"),
        "several_parts": (Column("% in parts", "masks of two pieces or more"), "{:.0f}"),
        "holes": (Column("% with holes"), "{:.0f}"),
        "median_vertices": (Column("vertices", "median"), "{:.0f}"),
        "pixels_per_vertex": (
            Column("pixels/vertex", "boundary for each vertex, median"),
            "{:.1f}",
        ),
        "median_complexity": (
            Column("raggedness", "boundary² / (4π area): a disc has 1"),
            "{:.2f}",
        ),
        "median_fill": (Column("% of box", "median share of the box that is mask"), "{:.0f}"),
        "overlapping": (Column("% shared", "masks that share pixels with others"), "{:.0f}"),
        "occluded": (Column("% hidden", "others cover a quarter of the box or more"), "{:.0f}"),
        "at_the_frame": (Column("% at frame", "boxes that touch the frame"), "{:.0f}"),
        "anchor_recall": (Column("% anchored", "an anchor reaches IoU 0.5"), "{:.0f}"),
    }
    numbers = class_rows(found)
    rows = [
        [found.table.class_names[k]]
        + [_cell(numbers[k][name], form) for name, (_, form) in columns.items()]
        for k in _order(found)
        if found.counts.instances[k]
    ]
    heads = [Column("class"), *(column for column, _ in columns.values())]
    shown = [k for k in _order(found) if found.counts.instances[k]]
    return Table("Masks, occlusion and fit by class", heads, rows, _colors(shown))


def _cell(value: float, form: str) -> str:
    return form.format(value) if np.isfinite(value) else "–"


def plan_table(found: Exploration) -> Table:
    plan = found.plan
    columns = [Column("class"), *(Column(scheme) for scheme in plan.schemes)]
    rows = [
        [found.table.class_names[k], *(f"{v:.1f}" for v in plan.images[:, k])]
        for k in _order(found)
    ]
    rows.append(["most repeated image", *(f"{v:.1f} ×" for v in plan.most_repeated)])
    return Table(
        "Percent of the drawn images that show each class; last, how often a pass shows the image "
        "that comes most",
        columns,
        rows,
        [*_colors(_order(found)), "transparent"],
    )
