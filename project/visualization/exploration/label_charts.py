"""Charts of classes, images and boxes, and what each says in words."""

from __future__ import annotations

from project.data.exploration.classes import company
from project.data.exploration.explore import Exploration
from project.data.exploration.numbers import count_labels
from project.data.exploration.objects import SIZE_LIMITS, SIZE_NAMES
from project.data.exploration.summary import count, percent
from project.visualization.charts import ALARM, MAIN, SECOND, Chart, Words, css_color
from project.visualization.exploration.shown import (
    MANY_CLASSES,
    SIZE_COLORS,
    TABLE_CLASSES,
    class_labels,
    counted_labels,
    shown_classes,
    which_classes,
)
from project.visualization.palette import class_color
from project.visualization.plots import bars, heat_map, heat_table, histogram, lines, scatter

import numpy as np

_GREEN = "#3a8a4d"


def class_shares(found: Exploration) -> Chart:
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
    share = found.counts.share
    alt = (
        f"Share of all objects by class, from {names[first]} ({percent(share[first])}) "
        f"to {names[last]} ({percent(share[last])})."
    )
    caption = "Percent of each split's objects" if found.other else "Percent of all objects"
    caption += ", crowd regions left out. " + which_classes(found, shown)
    words = Words("classes", "What the objects are", alt, caption.strip())
    return bars(
        words, class_labels(found, shown), series, colors, unit="% of objects", form="{:.2g}"
    )


def objects_by_image(found: Exploration) -> Chart:
    shown = shown_classes(found.counts.images, TABLE_CLASSES)
    rows = [*shown, len(found.table.class_names)]
    values = found.by_count[rows].astype(float)
    shades = values / max(len(found.table.image_ids), 1)
    top = shown[0]
    alone = int(found.by_count[top, 1])
    alt = (
        f"Images by number of objects of each class. {found.table.class_names[top]} is on "
        f"{count(int(found.counts.images[top]), 'image')}, on {alone:,} of them once."
    )
    caption = f"Images that hold so many objects of a class. {which_classes(found, shown)}"
    words = Words("counts", "How many in an image", alt, caption.strip())
    labels = [*class_labels(found, shown), "any class"]
    return heat_table(
        words, labels, count_labels(), values, form="{:,.0f}", xlabel="objects", shades=shades
    )


def companions(found: Exploration) -> list[Chart]:
    shown = shown_classes(found.counts.images, TABLE_CLASSES)
    if len(shown) < 2:
        return []
    values = company(found.together)[np.ix_(shown, shown)]
    np.fill_diagonal(values, np.nan)
    if not np.isfinite(values).any():
        return []
    row, column = np.unravel_index(np.nanargmax(values), values.shape)
    names = class_labels(found, shown)
    alt = (
        f"Classes that stand together. Most often {names[column]} beside {names[row]}: on "
        f"{percent(values[row, column])} of its images."
    )
    caption = "Of the images with the row's class, percent that show the column's too. "
    caption += which_classes(found, shown)
    words = Words("company", "Which classes stand together", alt, caption.strip())
    return [heat_table(words, names, names, values, shades=values / 100)]


def image_sizes(found: Exploration) -> Chart:
    sizes, times = np.unique(found.table.image_sizes, axis=0, return_counts=True)
    most = times.argmax()
    height, width = sizes[most]
    share = percent(100 * times[most] / times.sum())
    (low, narrow), (high, wide) = sizes.min(0), sizes.max(0)
    alt = f"Widths and heights of the images; {share} are {width} wide and {height} high."
    caption = (
        f"{count(len(sizes), 'size')}, {narrow:,} to {wide:,} wide and {low:,} to {high:,} high; "
        f"a larger dot stands for more images. {share} are {width:,} × {height:,}."
    )
    words = Words("image-sizes", "Image sizes", alt, caption)
    return scatter(
        words,
        {"images": (sizes[:, 1], sizes[:, 0])},
        [MAIN],
        sizes=[12 + 500 * times / times.sum()],
        xlabel="width, pixels",
        ylabel="height, pixels",
        equal=True,
    )


def channels(found: Exploration) -> Chart:
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


def light_and_sharpness(found: Exploration) -> Chart:
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


def object_sizes(found: Exploration) -> Chart:
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
        words, edges, series, SIZE_COLORS, xlabel="square root of the area, pixels",
        ylabel="objects",
        xlog=True, marks=limits, ticks={f"{4**i:,}": 4.0**i for i in range(top // 4 + 1)},
    )  # fmt: skip


def sizes_by_class(found: Exploration) -> Chart:
    shown = shown_classes(found.counts.instances, TABLE_CLASSES)
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
        f"Percent of each class's objects (their number), and the median share of the image. "
        f"{which_classes(found, shown)}".strip(),
    )
    shades = np.concatenate([values[:, :3] / 100, np.zeros((len(shown), 1))], axis=1)
    return heat_table(
        words,
        counted_labels(found, shown),
        [*SIZE_NAMES, "% of image"],
        values,
        form=["{:.0f}"] * 3 + ["{:.2g}"],
        shades=shades,
    )


def aspects(found: Exploration) -> Chart:
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


def positions(found: Exploration) -> Chart:
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


def crowding(found: Exploration) -> Chart:
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
