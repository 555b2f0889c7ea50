"""Charts of masks and of what hides objects, and what each says in words."""

from __future__ import annotations

from project.data.exploration.explore import HIDDEN, Exploration
from project.data.exploration.numbers import coarseness, percent_of_pixels
from project.data.exploration.summary import percent
from project.visualization.charts import MAIN, MUTED, Chart, Words, css_color
from project.visualization.exploration.shown import (
    TABLE_CLASSES,
    class_labels,
    shown_classes,
    which_classes,
)
from project.visualization.palette import class_color
from project.visualization.plots import bars, histogram, picture_grid

import numpy as np


def mean_masks(found: Exploration) -> list[Chart]:
    totals = found.measures.mask_totals
    shown = [k for k in shown_classes(totals, TABLE_CLASSES) if totals[k]]
    if not shown:
        return []
    centre = slice(12, 16)
    middles = [found.measures.mean_masks[k][centre, centre].mean() for k in shown]
    hollow = found.table.class_names[shown[int(np.argmin(middles))]]
    words = Words(
        "mean-masks",
        "The mean mask of each class",
        f"Mean masks stretched to their boxes; {hollow} fills the middle of its box least.",
        f"All masks of a class, each stretched to its box: bright is always covered. "
        f"{which_classes(found, shown)}".strip(),
    )
    return [picture_grid(words, class_labels(found, shown), found.measures.mean_masks[shown])]


def pixels_by_class(found: Exploration) -> Chart:
    classes, rest = percent_of_pixels(found)
    shown = shown_classes(np.round(classes, 9), TABLE_CLASSES)
    labels = ["background", *class_labels(found, shown), "crowd regions"]
    values = [rest["background"], *classes[shown], rest["crowd"]]
    colors = [MUTED, *(css_color(class_color(k)) for k in shown), MUTED]
    words = Words(
        "pixels-by-class",
        "Whose the pixels are",
        f"Percent of all pixels: background {percent(rest['background'])}, then "
        + ", ".join(f"{n} {percent(v)}" for n, v in zip(labels[1:4], values[1:4], strict=False))
        + ".",
        f"Two objects or more claim {percent(rest['shared'])} of the pixels; these count for each "
        f"class. {which_classes(found, shown)}".strip(),
    )
    return bars(words, labels, {"pixels": values}, [colors], unit="% of the pixels", form="{:.2g}")


def outline_coarseness(found: Exploration) -> list[Chart]:
    values = coarseness(found)
    values = values[np.isfinite(values)]
    if not len(values):
        return []
    edges = 2.0 ** np.arange(0, 7.01, 0.5)
    low, median, high = np.percentile(values, [5, 50, 95])
    words = Words(
        "coarseness",
        "How coarse the outlines are",
        f"Pixels of boundary for each vertex: median {median:.1f}, most from {low:.1f} to "
        f"{high:.1f}.",
        f"Boundary length over number of vertices: median {median:.1f} pixels, nine in ten from "
        f"{low:.1f} to {high:.1f}. Higher is coarser.",
    )
    counts = np.histogram(np.clip(values, edges[0], edges[-1] * 0.999), edges)[0]
    return [
        histogram(
            words, edges, {"masks": counts}, [MAIN], xlabel="pixels of boundary for each vertex",
            ylabel="masks", xlog=True, ticks={f"{t}": t for t in (1, 2, 4, 8, 16, 32, 64, 128)},
        )
    ]  # fmt: skip


def covered(found: Exploration) -> list[Chart]:
    cover = found.measures.column("cover")[found.objects.rows]
    cover = cover[np.isfinite(cover)]
    if not len(cover):
        return []
    edges = np.arange(0, 101, 5)
    occluded = percent(100 * float((cover >= HIDDEN).mean()))
    words = Words(
        "cover",
        "How much others cover",
        f"Share of each object's box that other objects cover; {occluded} of the objects reach "
        f"{HIDDEN:.0f} %.",
        "Percent of an object's box that lies under other objects' masks and not under its own: "
        "as much as labels of visible parts can tell.",
    )
    return [
        histogram(
            words, edges, {"objects": np.histogram(cover, edges)[0]}, [MAIN],
            xlabel="% of the box under other objects", ylabel="objects (logarithmic)", ylog=True,
            marks={f"{occluded} beyond": HIDDEN}, ticks={str(t): t for t in (0, 25, 50, 75, 100)},
        )
    ]  # fmt: skip
