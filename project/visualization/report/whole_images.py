"""Whole images: the worst and the best of a run, or those on which two runs differ most."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from project.visualization.overlay import OverlayStyle, draw_overlay, fit_for_drawing
from project.visualization.page import Picture, jpeg_picture
from project.visualization.records import DrawnObject
from project.visualization.report.judged import Judged
from project.visualization.report.pictures import Pictures
from project.visualization.sheet import side_by_side

import numpy as np


def extreme_images(run: Judged, number: int) -> dict[str, list[int]]:
    """The ids of the worst and the best images; an image is in one of them at most."""
    known = np.flatnonzero(np.isfinite(run.quality))
    order = known[np.argsort(run.quality[known], kind="stable")].tolist()
    number = min(number, len(order) // 2)
    ids = run.matches.image_ids.tolist()
    return {
        "The worst images": [ids[i] for i in order[:number]],
        "The best images": [ids[i] for i in order[::-1][:number]],
    }


def changed_images(first: Judged, second: Judged, number: int) -> dict[str, list[int]]:
    """The ids of the images on which the second run lost and gained most."""
    change = np.nan_to_num(second.quality) - np.nan_to_num(first.quality)
    order = np.argsort(change, kind="stable").tolist()
    ids = first.matches.image_ids.tolist()
    gained = [ids[i] for i in order[::-1][:number] if change[i] > 0]
    lost = [ids[i] for i in order[:number] if change[i] < 0]
    return {"Where it got worse": lost, "Where it got better": gained}


def image_pictures(
    runs: Sequence[Pictures], image_ids: Iterable[int], names: Sequence[str]
) -> list[tuple[np.ndarray, Picture]]:
    """Whole images with labels and each run's predictions; unreadable ones are left out."""
    made = []
    for image_id in image_ids:
        image = runs[0].pixels(image_id)
        if image is None:
            continue
        shown = [("Labels", runs[0].truth(image_id))]
        told = []
        for pictures, name in zip(runs, names, strict=True):
            run = pictures.run
            place = int(np.searchsorted(run.matches.image_ids, image_id))
            shown.append((name or "Predictions", pictures.predicted(image_id, run.thresholds)))
            told.append(f"{name} {_judgement(run, place)}".strip())
        file_name = runs[0].file_name(image_id)
        alt = f"{file_name}: labels, then predictions"
        caption = f"{file_name}: {'; '.join(told)}"
        # The page shows panels too small for labels; its legend names the colours.
        small = _row(image, shown, OverlayStyle(boxes=False, labels=False))
        picture = jpeg_picture(small, alt, caption, width=400 * len(shown))
        full = side_by_side([(t, _overlay(image, objects, None)) for t, objects in shown])
        made.append((full, picture))
    return made


def _judgement(run: Judged, place: int) -> str:
    """ "quality 48 % (2 of 3 found, 1 false)" for an image."""
    objects = int(run.matches.num_objects[place].sum())
    counts = f"{run.right[place]} of {objects} found, {run.wrong[place]} false"
    quality = run.quality[place]
    return counts if np.isnan(quality) else f"quality {100 * quality:.0f} % ({counts})"


def _row(image: np.ndarray, shown, style: OverlayStyle) -> np.ndarray:
    drawn = [_overlay(image, objects, style) for _, objects in shown]
    gap = np.full((drawn[0].shape[0], 8, 3), 255, np.uint8)
    return np.concatenate([part for each in drawn for part in (each, gap)][:-1], axis=1)


def _overlay(image: np.ndarray, objects: Sequence[DrawnObject], style) -> np.ndarray:
    return draw_overlay(*fit_for_drawing(image, objects), style)
