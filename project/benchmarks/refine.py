"""What each mask refinement does to masks whose truth is known: IoU, boundary IoU, time."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from project.benchmarks.machine import describe_machine
from project.benchmarks.refine_cases import Case, ImageCases
from project.benchmarks.refine_pictures import RefinementSheet
from project.errors import UserError, unknown_name
from project.evaluation.boundary import boundary_pixels, mask_boundary
from project.evaluation.image_sums import RatioOfSums
from project.evaluation.paired import compare
from project.modeling.postprocess.refine import REFINEMENTS, refine_mask

import numpy as np

METRICS = ("IoU", "boundary IoU")
SLOW = ("pymatting",)  # a second an object
# COCO's, by pixels of the true mask.
SIZES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, np.inf)}
SAME = 0.005  # a boundary IoU (0-1) that changes by less is neither better nor worse


def measure_refinements(
    images: Iterable[ImageCases],
    methods: Sequence[str] = (),
    *,
    pictures: Path | None = None,
    num_pictures: int = 12,
) -> dict:
    """Each refinement's mean IoU and boundary IoU over masks, percent, and what it changed.

    Args:
        images: see `project.benchmarks.refine_cases`.
        methods: names of `REFINEMENTS`; none for all but those that take a second an object.
        pictures: a folder for ``refinements.png``, masks of some images before and after.

    Returns:
        ``refinements``: for each, with the unrefined masks first as "none": the means, ``change``
        of each (percentage points, with the ends of a 95 % interval over images, None for too few
        of them), ``better`` and ``worse`` (percent of the masks, by boundary IoU), the means
        ``by_size``, and milliseconds per image.

    Raises:
        UserError: for an unknown method, or if there is no mask to refine.
    """
    methods = ["none", *(m for m in _methods(methods) if m != "none")]
    scores: dict[str, list[tuple[float, float]]] = defaultdict(list)
    seconds, image_of, areas, ids = dict.fromkeys(methods, 0.0), [], [], []
    sheet = RefinementSheet(methods, num_pictures) if pictures else None
    for image in images:
        ids.append(image.image_id)
        for case in image.cases:
            refined = {}
            for method in methods:
                refined[method], taken = _timed(image.image, case, method)
                seconds[method] += taken
                scores[method].append(judge(refined[method], case))
            image_of.append(len(ids) - 1)
            areas.append(np.count_nonzero(case.truth))
            if sheet:
                sheet.offer(image, case, refined)
    if not image_of:
        raise UserError("there is no mask to refine: nothing that was found matches an object")
    if sheet:
        sheet.write(pictures / "refinements.png")
    table = _table(scores, np.array(image_of), np.array(areas), ids)
    for method in methods:
        table[method]["ms_per_image"] = round(1000 * seconds[method] / len(ids), 2)
    return {
        "machine": describe_machine(),
        "images": len(ids),
        "masks": len(areas),
        "refinements": table,
    }


def judge(mask: np.ndarray, case: Case) -> tuple[float, float]:
    """IoU and boundary IoU of a mask with its truth, 0-1, where the truth counts."""
    distance = boundary_pixels(*mask.shape)
    true = case.truth
    window = _window(mask | true)  # beyond it there is background, as beyond the image
    counts = ... if case.counts is None else case.counts[window]
    parts = []
    for bitmap in (mask, true):
        part = np.ascontiguousarray(bitmap[window]).view(np.uint8)
        parts.append((part[counts], mask_boundary(part, distance)[counts]))
    return tuple(_iou(first, second) for first, second in zip(*parts, strict=True))


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    either = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / either if either else 1.0


def _window(mask: np.ndarray) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _methods(names: Sequence[str]) -> list[str]:
    for name in names:
        if name not in REFINEMENTS:
            raise UserError(unknown_name("refinement", name, REFINEMENTS))
    if "pymatting" in names and find_spec("pymatting") is None:
        raise UserError("PyMatting is not installed; run: pip install -e '.[matting]'")
    return list(dict.fromkeys(names)) or [m for m in REFINEMENTS if m not in SLOW]


def _timed(image: np.ndarray, case: Case, method: str) -> tuple[np.ndarray, float]:
    started = time.perf_counter()
    refined = refine_mask(image, case.probability, method)
    return refined, time.perf_counter() - started


def _table(scores, image_of: np.ndarray, areas: np.ndarray, ids: Sequence[int]) -> dict[str, dict]:
    """Each method's row: means, changes, shares, and means by size."""
    number = np.bincount(image_of, minlength=len(ids))
    before = np.array(scores["none"])
    rows = {}
    for method, values in scores.items():
        after = np.array(values)
        row = {name: _percent(after[:, m]) for m, name in enumerate(METRICS)}
        if method != "none":
            row["change"] = {
                name: _change(before[:, m], after[:, m], image_of, number, ids)
                for m, name in enumerate(METRICS)
            }
            gain = after[:, 1] - before[:, 1]
            row |= {"better": _percent(gain > SAME), "worse": _percent(gain < -SAME)}
        row["by_size"] = {
            size: {name: _percent(after[chosen, m]) for m, name in enumerate(METRICS)}
            | {"masks": int(chosen.sum())}
            for size, (least, most) in SIZES.items()
            if (chosen := (areas >= least) & (areas < most)).any()
        }
        rows[method] = row
    return rows


def _change(before, after, image_of, number, ids) -> dict[str, float | None]:
    """Percentage points, with an interval over images, since those are what was drawn."""
    runs = [
        RatioOfSums("mean", ids, ("",), np.bincount(image_of, values, len(ids)), number)
        for values in (before, after)
    ]
    found = compare(*runs)[0]
    ends = {"difference": found.difference, "low": found.low, "high": found.high}
    # Too few images have no interval; JSON has no NaN.
    return {name: round(v, 2) if np.isfinite(v) else None for name, v in ends.items()}


def _percent(values: np.ndarray) -> float:
    return round(100 * float(np.mean(values)), 2)
