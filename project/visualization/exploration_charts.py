"""The charts of an exploration: which ones, and what each says in words."""

from __future__ import annotations

from collections.abc import Sequence

from project.data.exploration.classes import company
from project.data.exploration.explore import HIDDEN, Exploration
from project.data.exploration.fit import recall
from project.data.exploration.numbers import coarseness, count_labels, percent_of_pixels
from project.data.exploration.objects import SIZE_LIMITS, SIZE_NAMES
from project.data.exploration.summary import count, percent
from project.visualization.charts import (
    ALARM,
    MAIN,
    MUTED,
    SECOND,
    Chart,
    Words,
    bars,
    css_color,
    heat_map,
    heat_table,
    histogram,
    lines,
    picture_grid,
    scatter,
)
from project.visualization.palette import class_color

import numpy as np

MANY_CLASSES = 16  # charts of more classes show the commonest and the rarest
_TABLE_CLASSES = 12
_GREEN = "#3a8a4d"
_SIZES = (SECOND, MAIN, MUTED)  # small, medium, large


def exploration_charts(found: Exploration) -> dict[str, list[Chart]]:
    """Charts by section; a chart without anything to show is left out."""
    if not len(found.objects.rows):
        return {"classes": [], "images": _image_charts(found), "objects": [], "masks": []} | {
            "occlusion": [],
            "fit": [],
            "sampling": [],
        }
    return {
        "classes": [_classes(found), _counts(found), *_company(found)],
        "images": _image_charts(found),
        "objects": [_sizes(found), _sizes_by_class(found), _aspects(found)],
        "masks": [*_mean_masks(found), _pixels_by_class(found), *_coarseness(found)],
        "occlusion": [*_cover(found), _crowding(found), _positions(found)],
        "fit": [_anchor_iou(found), _recall_by_class(found), _levels(found)],
        "sampling": [_plan(found), _plan_objects(found), _repeats(found)],
    }


def shown_classes(counts: np.ndarray, most: int) -> list[int]:
    """Class indices, commonest first: all, or of more than ``most`` that occur both ends."""
    order = np.argsort(-counts, kind="stable")
    if len(order) <= most:
        return order.tolist()
    order = order[counts[order] > 0]
    if len(order) <= most:
        return order.tolist()
    return [*order[: most // 2].tolist(), *order[-(most - most // 2) :].tolist()]


def _names(found: Exploration, classes: Sequence[int]) -> list[str]:
    return [found.table.class_names[k] for k in classes]


def _some(found: Exploration, shown: Sequence[int]) -> str:
    """What to say where not all classes are shown."""
    total = int((found.counts.images > 0).sum())
    if len(shown) >= total:
        return ""
    return (
        f"The {len(shown) // 2} commonest and the {len(shown) - len(shown) // 2} rarest of {total}."
    )


def _classes(found: Exploration) -> Chart:
    shown = shown_classes(found.counts.instances, MANY_CLASSES)
    series = {found.table.name: found.counts.share[shown]}
    colors: list = [MAIN]
    if found.other is not None:
        series[found.other.name] = found.other_counts.share[shown]
        colors.append(SECOND)
    else:
        colors = [[css_color(class_color(k)) for k in shown]]
    first, last = shown[0], shown[-1]
    names = found.table.class_names
    alt = (
        f"Share of all objects by class, from {names[first]} ({percent(found.counts.share[first])}) "
        f"to {names[last]} ({percent(found.counts.share[last])})."
    )
    caption = "Percent of each split's objects" if found.other else "Percent of all objects"
    caption += ", crowd regions left out. " + _some(found, shown)
    words = Words("classes", "What the objects are", alt, caption.strip())
    return bars(words, _names(found, shown), series, colors, unit="% of objects", form="{:.2g}")


def _counts(found: Exploration) -> Chart:
    shown = shown_classes(found.counts.images, _TABLE_CLASSES)
    rows = [*shown, len(found.table.class_names)]
    values = found.by_count[rows].astype(float)
    shades = values / max(len(found.table.image_ids), 1)
    top = shown[0]
    alone = int(found.by_count[top, 1])
    alt = (
        f"Images by number of objects of each class. {found.table.class_names[top]} is on "
        f"{count(int(found.counts.images[top]), 'image')}, on {alone:,} of them once."
    )
    caption = f"Images that hold so many objects of a class. {_some(found, shown)}"
    words = Words("counts", "How many in an image", alt, caption.strip())
    labels = [*_names(found, shown), "any class"]
    return heat_table(
        words, labels, count_labels(), values, form="{:,.0f}", xlabel="objects", shades=shades
    )


def _company(found: Exploration) -> list[Chart]:
    shown = shown_classes(found.counts.images, _TABLE_CLASSES)
    if len(shown) < 2:
        return []
    values = company(found.together)[np.ix_(shown, shown)]
    np.fill_diagonal(values, np.nan)
    if not np.isfinite(values).any():
        return []
    row, column = np.unravel_index(np.nanargmax(values), values.shape)
    names = _names(found, shown)
    alt = (
        f"Classes that stand together. Most often {names[column]} beside {names[row]}: on "
        f"{percent(values[row, column])} of its images."
    )
    caption = f"Of the images with the row's class, percent that show the column's too. {_some(found, shown)}"
    words = Words("company", "Which classes stand together", alt, caption.strip())
    return [heat_table(words, names, names, values, shades=values / 100)]


def _image_charts(found: Exploration) -> list[Chart]:
    charts = [_image_sizes(found)]
    if np.isfinite(found.measures.brightness).any():
        charts += [_channels(found), _light(found)]
    return charts


def _image_sizes(found: Exploration) -> Chart:
    sizes, times = np.unique(found.table.image_sizes, axis=0, return_counts=True)
    most = times.argmax()
    height, width = sizes[most]
    share = percent(100 * times[most] / times.sum())
    alt = f"Widths and heights of the images; {share} are {width} wide and {height} high."
    caption = f"{len(sizes):,} different sizes; a larger dot stands for more images. {share} are "
    words = Words("image-sizes", "Image sizes", alt, f"{caption}{width} × {height}.")
    return scatter(
        words,
        {"images": (sizes[:, 1], sizes[:, 0])},
        [MAIN],
        sizes=[12 + 500 * times / times.sum()],
        xlabel="width, pixels",
        ylabel="height, pixels",
        equal=True,
    )


def _channels(found: Exploration) -> Chart:
    mean, std = found.pixels.mean, found.pixels.std
    numbers = ", ".join(
        f"{n} {m:.1f} ± {s:.1f}" for n, m, s in zip(("R", "G", "B"), mean, std, strict=True)
    )
    words = Words(
        "channels",
        "Pixel values",
        f"Histograms of red, green and blue. Mean and standard deviation: {numbers}.",
        f"Mean ± standard deviation: {numbers} (0-255). ImageNet's means are 123.7, 116.3, 103.5.",
    )
    bins = found.pixels.histogram.shape[1]
    centres = (np.arange(bins) + 0.5) * 256 / bins
    series = dict(zip(("red", "green", "blue"), found.pixels.histogram, strict=True))
    return lines(
        words, centres, series, [ALARM, _GREEN, MAIN], xlabel="value", ylabel="% of the pixels"
    )


def _light(found: Exploration) -> Chart:
    brightness, sharpness = found.measures.brightness, found.measures.sharpness
    odd = (found.dark != 0) | (found.sharp != 0)
    known = np.isfinite(brightness)
    groups = {}
    for name, rows in (("usual", known & ~odd), ("stands out", known & odd)):
        if rows.any():
            groups[name] = (brightness[rows], np.maximum(sharpness[rows], 0.1))
    number = int(odd.sum())
    words = Words(
        "light",
        "Light and sharpness",
        f"Brightness against sharpness of each image; {number} stand out.",
        "Sharpness is the variance of the Laplacian; low values are blurred or empty images. "
        "Values far from the median (3.5 robust deviations) stand out.",
    )
    return scatter(
        words,
        groups,
        [MAIN, ALARM],
        sizes=[14, 40],
        xlabel="brightness, 0-255",
        ylabel="sharpness",
        ylog=True,
    )


def _sizes(found: Exploration) -> Chart:
    side = np.sqrt(np.maximum(found.objects.areas, 1))
    top = max(int(np.ceil(2 * np.log2(side.max(initial=2)))), 4)
    edges = 2.0 ** (np.arange(0, top + 1) / 2)
    series = {
        name: np.histogram(side[found.objects.size == s], edges)[0]
        for s, name in enumerate(SIZE_NAMES)
    }
    shares = [percent(100 * float((found.objects.size == s).mean())) for s in range(3)]
    words = Words(
        "object-sizes",
        "How large the objects are",
        f"Objects by the square root of their area: {shares[0]} small, {shares[1]} medium, "
        f"{shares[2]} large.",
        f"Square root of the area; COCO's limits are 32 and 96 pixels. {shares[0]} small, "
        f"{shares[1]} medium, {shares[2]} large.",
    )
    limits = {str(round(limit**0.5)): limit**0.5 for limit in SIZE_LIMITS}
    return histogram(
        words, edges, series, _SIZES, xlabel="square root of the area, pixels", ylabel="objects",
        xlog=True, marks=limits, ticks={f"{4**i:,}": 4.0**i for i in range(top // 4 + 1)},
    )  # fmt: skip


def _sizes_by_class(found: Exploration) -> Chart:
    shown = [k for k in shown_classes(found.counts.instances, _TABLE_CLASSES)]
    groups = [found.objects.size[found.objects.of_class(k)] for k in shown]
    values = np.array(
        [
            [100 * (g == s).mean() if len(g) else np.nan for s in range(3)]
            + [np.median(found.objects.share[found.objects.of_class(k)]) if len(g) else np.nan]
            for k, g in zip(shown, groups, strict=True)
        ]
    )
    worst = int(np.nanargmax(values[:, 0]))
    name = found.table.class_names[shown[worst]]
    words = Words(
        "sizes-by-class",
        "Sizes by class",
        f"Small, medium and large objects of each class; {name} has the most small ones, "
        f"{percent(values[worst, 0])}.",
        f"Percent of each class's objects, and the median share of the image. {_some(found, shown)}".strip(),
    )
    shades = np.concatenate([values[:, :3] / 100, np.zeros((len(shown), 1))], axis=1)
    return heat_table(
        words,
        _names(found, shown),
        [*SIZE_NAMES, "% of image"],
        values,
        form=["{:.0f}"] * 3 + ["{:.2g}"],
        shades=shades,
    )


def _positions(found: Exploration) -> Chart:
    left, top, right, bottom = found.objects.frame.sum(0)
    touching = percent(100 * float(found.objects.frame.any(1).mean()))
    row, column = np.unravel_index(found.positions.argmax(), found.positions.shape)
    size = found.positions.shape[0]
    words = Words(
        "positions",
        "Where they stand",
        f"Heat map of all boxes, images stretched to one frame. Most often covered: the point at "
        f"{percent(100 * (column + 0.5) / size)} of the width and "
        f"{percent(100 * (row + 0.5) / size)} of the height.",
        f"{touching} touch the frame and are probably cut off by it: left {left:,}, top {top:,}, "
        f"right {right:,}, bottom {bottom:,}.",
    )
    height, width = np.median(found.table.image_sizes, axis=0)
    return heat_map(
        words,
        100 * found.positions,
        label="% of the boxes cover it",
        aspect=float(np.clip(height / width, 0.4, 1.2)),
    )


def _aspects(found: Exploration) -> Chart:
    aspect = found.objects.aspect[np.isfinite(found.objects.aspect)]
    edges = 2.0 ** np.arange(-4, 4.01, 0.25)
    counts = np.histogram(np.clip(aspect, edges[0], edges[-1] * 0.999), edges)[0]
    narrow = percent(100 * float(((aspect < 0.5) | (aspect > 2)).mean()) if len(aspect) else 0)
    words = Words(
        "aspects",
        "Shapes of the boxes",
        f"Width over height of the boxes, around a median of "
        f"{np.median(aspect) if len(aspect) else 0:.2g}; {narrow} are below 1:2 or above 2:1.",
        f"{narrow} are slimmer than 1:2 or flatter than 2:1.",
    )
    ticks = {"1:16": 1 / 16, "1:4": 1 / 4, "1:2": 1 / 2, "1:1": 1, "2:1": 2, "4:1": 4, "16:1": 16}
    return histogram(
        words, edges, {"objects": counts}, [MAIN], xlabel="width / height", ylabel="objects",
        xlog=True, ticks=ticks,
    )  # fmt: skip


def _mean_masks(found: Exploration) -> list[Chart]:
    totals = found.measures.mask_totals
    shown = [k for k in shown_classes(totals, _TABLE_CLASSES) if totals[k]]
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
        f"{_some(found, shown)}".strip(),
    )
    return [picture_grid(words, _names(found, shown), found.measures.mean_masks[shown])]


def _pixels_by_class(found: Exploration) -> Chart:
    classes, rest = percent_of_pixels(found)
    shown = shown_classes(np.round(classes, 9), _TABLE_CLASSES)
    labels = ["background", *_names(found, shown), "crowd regions"]
    values = [rest["background"], *classes[shown], rest["crowd"]]
    colors = [MUTED, *(css_color(class_color(k)) for k in shown), MUTED]
    words = Words(
        "pixels-by-class",
        "Whose the pixels are",
        f"Percent of all pixels: background {percent(rest['background'])}, then "
        + ", ".join(f"{n} {percent(v)}" for n, v in zip(labels[1:4], values[1:4], strict=False))
        + ".",
        f"Two objects or more claim {percent(rest['shared'])} of the pixels; these count for each "
        f"class. {_some(found, shown)}".strip(),
    )
    return bars(words, labels, {"pixels": values}, [colors], unit="% of the pixels", form="{:.2g}")


def _cover(found: Exploration) -> list[Chart]:
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


def _crowding(found: Exploration) -> Chart:
    objects = found.objects_per_image
    top = max(int(objects.max(initial=1)), 1)
    step = max(1, -(-(top + 1) // 30))
    edges = np.arange(0, top + step + 1, step)
    words = Words(
        "crowding",
        "How crowded the images are",
        f"Objects in an image: median {np.median(objects):g}, at most {top:,}.",
        f"Median {np.median(objects):g}, mean {objects.mean():.1f}, at most {top:,}.",
    )
    return histogram(
        words, edges - 0.5, {"images": np.histogram(objects, edges - 0.5)[0]}, [MAIN],
        xlabel="objects in an image", ylabel="images",
    )  # fmt: skip


def _anchor_iou(found: Exploration) -> Chart:
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
        words, edges, series, _SIZES, xlabel="IoU of the best anchor", ylabel="objects",
        marks={"0.5": 0.5}, ticks={f"{t:g}": t for t in (0, 0.25, 0.5, 0.75, 1)},
    )  # fmt: skip


def _levels(found: Exploration) -> Chart:
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


def _recall_by_class(found: Exploration) -> Chart:
    shown = shown_classes(found.counts.instances, _TABLE_CLASSES)
    values = [recall(found.fit.iou[found.objects.of_class(k)]) for k in shown]
    names = _names(found, shown)
    worst = int(np.nanargmin(values))
    words = Words(
        "recall-by-class",
        "Objects that an anchor fits",
        f"Percent of each class's objects with an anchor of IoU 0.5 or more; least for "
        f"{names[worst]}, {percent(values[worst])}.",
        f"Percent of each class's objects for which an anchor reaches an IoU of 0.5. "
        f"{_some(found, shown)}".strip(),
    )
    colors = [css_color(class_color(k)) for k in shown]
    return bars(words, names, {"recall": values}, [colors], unit="% of the objects")


def _coarseness(found: Exploration) -> list[Chart]:
    values = coarseness(found)
    values = values[np.isfinite(values)]
    if not len(values):
        return []
    edges = 2.0 ** np.arange(0, 7.01, 0.5)
    low, median, high = np.percentile(values, [5, 50, 95])
    words = Words(
        "coarseness",
        "How coarse the outlines are",
        f"Pixels of boundary for each vertex: median {median:.1f}, most from {low:.1f} to {high:.1f}.",
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


def _plan(found: Exploration) -> Chart:
    return _plan_table(found, "plan", "images", "show a class", found.plan.images)


def _plan_objects(found: Exploration) -> Chart:
    return _plan_table(found, "plan-objects", "objects", "are of a class", found.plan.instances)


def _plan_table(found: Exploration, name: str, what: str, verb: str, values: np.ndarray) -> Chart:
    shown = shown_classes(found.counts.images, _TABLE_CLASSES)
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
        f"Percent of the drawn {what} that {verb}. {_some(found, shown)}".strip(),
    )
    table = values[:, shown].T
    return heat_table(
        words, _names(found, shown), list(found.plan.schemes), table, form="{:.2g}",
        shades=table / 100,
    )  # fmt: skip


def _repeats(found: Exploration) -> Chart:
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
