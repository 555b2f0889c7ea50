"""Charts of anchors, pyramid levels and sampling, and what each says in words."""

from __future__ import annotations

from project.data.exploration.explore import Exploration
from project.data.exploration.fit import recall
from project.data.exploration.objects import SIZE_NAMES
from project.data.exploration.summary import percent
from project.visualization.charts import MAIN, Chart, Words
from project.visualization.exploration.shown import (
    SIZE_COLORS,
    TABLE_CLASSES,
    class_labels,
    counted_labels,
    shown_classes,
    which_classes,
)
from project.visualization.plots import bars, heat_table, histogram

import numpy as np


def anchor_iou(found: Exploration) -> Chart:
    fit, sizes = found.fit, found.objects.size
    edges = np.arange(0, 1.001, 0.05)
    series = {
        name: np.histogram(fit.iou[sizes == s], edges)[0] for s, name in enumerate(SIZE_NAMES)
    }
    parts = [
        f"{percent(recall(fit.iou[sizes == s]))} of the {name}"
        for s, name in enumerate(SIZE_NAMES)
        if (sizes == s).any()
    ]
    text = (
        f"IoU of 0.5 or more: {percent(recall(fit.iou))} of all objects; {', '.join(parts)} ones."
    )
    words = Words("anchor-iou", "The best anchor of each object", text, text)
    return histogram(
        words, edges, series, SIZE_COLORS, xlabel="IoU of the best anchor", ylabel="objects",
        marks={"0.5": 0.5}, ticks={f"{t:g}": t for t in (0, 0.25, 0.5, 0.75, 1)},
    )  # fmt: skip


def recall_by_class(found: Exploration) -> Chart:
    shown = shown_classes(found.counts.instances, TABLE_CLASSES)
    values = [recall(found.fit.iou[found.objects.of_class(k)]) for k in shown]
    names = counted_labels(found, shown)
    worst = int(np.nanargmin(values))
    words = Words(
        "recall-by-class",
        "Objects that an anchor fits",
        f"Percent of each class's objects with an anchor of IoU 0.5 or more; least for "
        f"{found.table.class_names[shown[worst]]}, {percent(values[worst])}.",
        f"Percent of each class's objects (their number) for which an anchor reaches an IoU of "
        f"0.5. "
        f"{which_classes(found, shown)}".strip(),
    )
    return bars(words, names, {"recall": values}, [MAIN], unit="% of the objects")


def levels(found: Exploration) -> Chart:
    levels = found.detector.roi_levels
    counts = [int((found.fit.roi_level == level).sum()) for level in levels]
    total = max(sum(counts), 1)
    shares = [
        f"{percent(100 * c / total)} on p{level}" for level, c in zip(levels, counts, strict=True)
    ]
    words = Words(
        "levels",
        "Objects on each pyramid level",
        f"Objects by the feature level that describes them: {', '.join(shares)}.",
        f"By the rule of Lin et al. 2017 at the model's input size: {', '.join(shares)}.",
    )
    labels = [f"p{level} (stride {2**level})" for level in levels]
    return bars(words, labels, {"objects": counts}, [MAIN], unit="objects")


def drawn_images(found: Exploration) -> Chart:
    return _plan_table(found, "plan", "images", "show a class", found.plan.images)


def drawn_objects(found: Exploration) -> Chart:
    return _plan_table(found, "plan-objects", "objects", "are of a class", found.plan.instances)


def _plan_table(found: Exploration, name: str, what: str, verb: str, values: np.ndarray) -> Chart:
    shown = shown_classes(found.counts.images, TABLE_CLASSES)
    rarest = found.table.class_names[shown[-1]]
    numbers = [
        f"{scheme} {percent(v)}"
        for scheme, v in zip(found.plan.schemes, values[:, shown[-1]], strict=True)
    ]
    words = Words(
        name,
        f"Drawn {what} by scheme",
        f"Percent of the drawn {what} that {verb}, under each scheme. {rarest}: "
        f"{', '.join(numbers)}.",
        f"Percent of the drawn {what} that {verb}. {which_classes(found, shown)}".strip(),
    )
    table = values[:, shown].T
    return heat_table(
        words, class_labels(found, shown), list(found.plan.schemes), table, form="{:.2g}",
        shades=table / 100,
    )  # fmt: skip


def repeats(found: Exploration) -> Chart:
    numbers = [
        f"{scheme} {times:.1f}"
        for scheme, times in zip(found.plan.schemes, found.plan.most_repeated, strict=True)
    ]
    words = Words(
        "repeats",
        "What it costs in repeats",
        f"How often a pass shows the image that comes most: {', '.join(numbers)} times.",
        "How often a pass over the data shows the image that it shows most. A model soon knows by "
        "heart what it sees dozens of times.",
    )
    return bars(
        words, list(found.plan.schemes), {"repeats": found.plan.most_repeated}, [MAIN],
        unit="times in a pass", form="{:.1f}",
    )  # fmt: skip
