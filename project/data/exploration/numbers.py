"""Every number of an exploration as plain data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from project.data.exploration.classes import COUNT_BINS, ClassCounts, company
from project.data.exploration.explore import HIDDEN, Exploration, per_class
from project.data.exploration.fit import recall
from project.data.exploration.measure import OBJECT_COLUMNS
from project.data.exploration.objects import SIZE_NAMES

import numpy as np


def numbers(found: Exploration) -> dict[str, Any]:
    """All aggregate numbers, nested by subject; None stands for what can't be known.

    Shares and recalls are percent (0-100), lengths pixels, areas square pixels.
    """
    names = found.table.class_names
    content = {
        "split": found.table.name,
        "images": len(found.table.image_ids),
        "objects": len(found.objects.rows),
        "crowd_regions": int(found.table.crowd.sum()),
        "negatives": found.counts.negatives,
        "imbalance": found.counts.imbalance,
        "classes": dict(zip(names, class_rows(found), strict=True)),
        "images_by_count": _images_by_count(found),
        "company": _nested(names, names, company(found.together)),
        "image_sizes": _image_sizes(found.table.image_sizes),
        "pixels": _pixels(found),
        "object_sizes": {
            name: int((found.objects.size == s).sum()) for s, name in enumerate(SIZE_NAMES)
        },
        "object_share": quantiles(found.objects.share),
        "aspect_ratio": quantiles(found.objects.aspect),
        "at_the_frame": _frame(found.objects.frame),
        "position_map": found.positions,
        "masks": _masks(found),
        "occlusion": _occlusion(found),
        "fit": _fit(found),
        "sampling": _plan(found),
    }
    if found.other is not None:
        content["compared_with"] = {
            "split": found.other.name,
            "images": len(found.other.image_ids),
            "classes": {n: _counts(found.other_counts, k) for k, n in enumerate(names)},
        }
    return plain(content)


def class_rows(found: Exploration) -> list[dict[str, float]]:
    """One row of numbers for each class: counts, then medians and shares over its objects."""
    objects, measures, k = found.objects, found.measures, len(found.table.class_names)

    def over(values, statistic=np.median) -> np.ndarray:
        return per_class(values, objects.class_index, k, statistic)

    def percent(flags) -> np.ndarray:
        return 100 * over(flags, np.mean)

    def mask(name) -> np.ndarray:
        return measures.column(name)[objects.rows]

    cover = mask("cover")
    columns = {
        "median_area": over(objects.areas),
        "median_share": over(objects.share),
        "median_aspect": over(objects.aspect),
        **{name: percent(objects.size == s) for s, name in enumerate(SIZE_NAMES)},
        "at_the_frame": percent(objects.frame.any(1)),
        "pixels": percent_of_pixels(found)[0],
        "several_parts": percent(_compare(mask("parts"), 2)),
        "holes": percent(_compare(mask("holes"), 1)),
        "median_complexity": over(mask("complexity")),
        "median_fill": over(mask("fill")),
        "median_vertices": over(_without_rle(mask("vertices"))),
        "pixels_per_vertex": over(coarseness(found)),
        "overlapping": percent(_compare(mask("overlap"), 1)),
        "occluded": percent(_compare(cover, HIDDEN)),
        "anchor_recall": over(found.fit.iou, recall),
        "vanishing": over(found.fit.vanishes, np.sum),
    }
    return [
        {**_counts(found.counts, i), **{name: column[i] for name, column in columns.items()}}
        for i in range(k)
    ]


def _compare(values: np.ndarray, limit: float) -> np.ndarray:
    """1 where a value reaches ``limit``, 0 where not, NaN where it isn't known."""
    return np.where(np.isfinite(values), values >= limit, np.nan)


def _without_rle(vertices: np.ndarray) -> np.ndarray:
    return np.where(vertices > 0, vertices, np.nan)


def coarseness(found: Exploration) -> np.ndarray:
    """float64 [M]: pixels of boundary for each vertex of an object's polygons; NaN for RLE."""
    rows = found.objects.rows
    boundary = found.measures.column("boundary")[rows]
    return boundary / _without_rle(found.measures.column("vertices")[rows])


def percent_of_pixels(found: Exploration) -> tuple[np.ndarray, dict[str, float]]:
    """Percent of all pixels of the images looked at: of each class [K], and of the rest.

    The rest is ``background``, ``crowd`` (crowd regions alone) and ``shared`` (claimed by two
    objects or more, which the classes count too).
    """
    measures = found.measures
    total = max(float(np.prod(found.table.image_sizes[measures.looked_at], axis=1).sum()), 1)
    rest = {
        "background": measures.background,
        "crowd": measures.crowd_pixels,
        "shared": measures.shared,
    }
    classes = 100 * measures.class_pixels.sum(0) / total
    return classes, {name: 100 * float(values.sum()) / total for name, values in rest.items()}


def quantiles(values: np.ndarray) -> dict[str, float]:
    """Minimum, the 5th, 25th, 50th, 75th and 95th percentile, and maximum; NaN without values."""
    names = ("min", "p5", "p25", "median", "p75", "p95", "max")
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    if not len(known):
        return dict.fromkeys(names, math.nan)
    return dict(zip(names, np.percentile(known, [0, 5, 25, 50, 75, 95, 100]), strict=True))


def _counts(counts: ClassCounts, k: int) -> dict[str, float]:
    return {
        "instances": counts.instances[k],
        "images": counts.images[k],
        "crowds": counts.crowds[k],
        "share": counts.share[k],
        "image_share": counts.image_share[k],
    }


def count_labels() -> list[str]:
    """What the columns of `images_by_count` are called: "0", "1", "2", "3-5", "6-10", "11+"."""
    ends = [*(b - 1 for b in COUNT_BINS[1:]), None]
    labels = ["0"]
    for first, last in zip(COUNT_BINS, ends, strict=True):
        labels.append(
            f"{first}+" if last is None else str(first) if first == last else f"{first}-{last}"
        )
    return labels


def _images_by_count(found: Exploration) -> dict:
    rows = [*found.table.class_names, "(any)"]
    return _nested(rows, count_labels(), found.by_count)


def _nested(rows: Sequence[str], columns: Sequence[str], values: np.ndarray) -> dict:
    return {r: dict(zip(columns, v, strict=True)) for r, v in zip(rows, values, strict=True)}


def _image_sizes(sizes: np.ndarray) -> dict:
    height, width = sizes.T
    return {
        "height": quantiles(height),
        "width": quantiles(width),
        "aspect_ratio": quantiles(width / height),
        "landscape": 100 * (width > height).mean(),
        "portrait": 100 * (width < height).mean(),
        "square": 100 * (width == height).mean(),
        "different": len(np.unique(sizes, axis=0)),
    }


def _pixels(found: Exploration) -> dict:
    return {
        "measured": int(np.isfinite(found.measures.brightness).sum()),
        "unreadable": int(found.measures.unreadable.sum()),
        "mean_rgb": found.pixels.mean,
        "std_rgb": found.pixels.std,
        "histogram_rgb": found.pixels.histogram,
        "brightness": quantiles(found.measures.brightness),
        "sharpness": quantiles(found.measures.sharpness),
        "unusually_dark": (found.dark < 0).sum(),
        "unusually_bright": (found.dark > 0).sum(),
        "unusually_blurred": (found.sharp < 0).sum(),
        "unusually_sharp": (found.sharp > 0).sum(),
    }


def _frame(contacts: np.ndarray) -> dict:
    sides = dict(zip(("left", "top", "right", "bottom"), contacts.sum(0), strict=True))
    return {"objects": contacts.any(1).sum(), **sides}


def _masks(found: Exploration) -> dict:
    rows = found.objects.rows
    columns = {
        name: quantiles(found.measures.column(name)[rows])
        for name in OBJECT_COLUMNS
        if name not in ("vertices", "overlap", "cover")
    }
    parts, holes = (found.measures.column(name)[rows] for name in ("parts", "holes"))
    return {
        "measured": int(np.isfinite(parts).sum()),
        "images_looked_at": int(found.measures.looked_at.sum()),
        "several_parts": (parts >= 2).sum(),
        "with_holes": (holes >= 1).sum(),
        **columns,
        "vertices": quantiles(_without_rle(found.measures.column("vertices")[rows])),
        "pixels_per_vertex": quantiles(coarseness(found)),
        "percent_of_pixels": percent_of_pixels(found)[1],
        "crowd_share_of_annotations": _mean_percent(found.table.crowd),
        "mean_masks": dict(zip(found.table.class_names, found.measures.mean_masks, strict=True)),
    }


def _mean_percent(flags: np.ndarray) -> float:
    return 100 * float(flags.mean()) if len(flags) else math.nan


def _occlusion(found: Exploration) -> dict:
    rows = found.objects.rows
    cover = found.measures.column("cover")[rows]
    overlap = found.measures.column("overlap")[rows]
    return {
        "cover": quantiles(cover),
        "overlap": quantiles(overlap),
        "occluded_objects": (cover >= HIDDEN).sum(),
        "objects_per_image": quantiles(found.objects_per_image),
    }


def _fit(found: Exploration) -> dict:
    fit, objects, detector = found.fit, found.objects, found.detector
    levels = range(len(detector.anchors.strides))
    return {
        "config": detector.name,
        "shortest_side": detector.input_size.shortest,
        "longest_side": detector.input_size.longest,
        "median_scale": fit.median_scale,
        "recall": recall(fit.iou),
        "recall_by_size": {
            name: recall(fit.iou[objects.size == s]) for s, name in enumerate(SIZE_NAMES)
        },
        "best_iou": quantiles(fit.iou),
        "best_anchors_by_stride": {
            str(detector.anchors.strides[level]): (fit.anchor_level == level).sum()
            for level in levels
        },
        "objects_by_level": {
            f"p{level}": (fit.roi_level == level).sum() for level in detector.roi_levels
        },
        "vanishing": fit.vanishes.sum(),
    }


def _plan(found: Exploration) -> dict:
    plan, names = found.plan, found.table.class_names
    return {
        scheme: {
            "percent_of_images": dict(zip(names, plan.images[s], strict=True)),
            "percent_of_objects": dict(zip(names, plan.instances[s], strict=True)),
            "most_repeated_image": plan.most_repeated[s],
        }
        for s, scheme in enumerate(plan.schemes)
    }


def plain(value: Any) -> Any:
    """``value`` with arrays as lists, NumPy numbers as Python's, and NaN and infinity as None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
