"""Masks before and after each refinement, side by side, with what is wrong in colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from project.benchmarks.refine_cases import Case, ImageCases
from project.visualization.files import write_png
from project.visualization.sheet import side_by_side

import numpy as np

PANEL = 260  # pixels, the longer side of a picture
TOO_MUCH, MISSING = (230, 60, 40), (30, 90, 255)


class RefinementSheet:
    """Collects the largest object of each image, up to a number of images, and draws them.

    Where a mask holds what it shouldn't, the picture is red; where it lacks something, blue; right
    object pixels are as in the image, right background is pale.
    """

    def __init__(self, methods: Sequence[str], num_images: int) -> None:
        self.methods, self.num_images = methods, num_images
        self._best: dict[int, tuple[int, np.ndarray]] = {}

    def offer(self, image: ImageCases, case: Case, refined: Mapping[str, np.ndarray]) -> None:
        """Draw this mask if it is the largest so far of one of the first images."""
        area = int(np.count_nonzero(case.truth))
        if image.image_id not in self._best and len(self._best) >= self.num_images:
            return
        if area > self._best.get(image.image_id, (0, None))[0]:
            row = draw_refinements(image.image, case, refined)
            self._best[image.image_id] = area, row

    def write(self, file: Path) -> None:
        """All rows under each other, as a PNG."""
        rows = [row for _, row in self._best.values()]
        width = max(row.shape[1] for row in rows)
        rows = [
            np.pad(row, ((0, 8), (0, width - row.shape[1]), (0, 0)), constant_values=250)
            for row in rows
        ]
        write_png(file, np.concatenate(rows))


def draw_refinements(
    image: np.ndarray, case: Case, refined: Mapping[str, np.ndarray]
) -> np.ndarray:
    """One row of pictures around the object: the image, then each mask's errors."""
    window = _around(case.truth | refined["none"])
    panels = [("image", _enlarged(image[window]))]
    for method, mask in refined.items():
        errors = draw_errors(image[window], mask[window], case.truth[window])
        panels.append(("before" if method == "none" else method, _enlarged(errors)))
    return side_by_side(panels, heading=case.name)


def draw_errors(image: np.ndarray, mask: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """uint8 RGB ``[H, W, 3]``: red what is too much, blue what is missing, background pale."""
    picture = image.astype(np.float32)
    for chosen, color, share in (
        (~mask & ~truth, (255, 255, 255), 0.65),
        (mask & ~truth, TOO_MUCH, 0.75),
        (~mask & truth, MISSING, 0.75),
    ):
        picture[chosen] += share * (np.float32(color) - picture[chosen])
    return picture.round().astype(np.uint8)


def _around(mask: np.ndarray) -> tuple[slice, slice]:
    """The box of a mask and a tenth of its longer side around it."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    margin = 2 + max(rows[-1] - rows[0], columns[-1] - columns[0]) // 10
    return tuple(slice(max(i[0] - margin, 0), i[-1] + 1 + margin) for i in (rows, columns))


def _enlarged(picture: np.ndarray) -> np.ndarray:
    """At about `PANEL` pixels; single pixels stay square."""
    import cv2

    factor = PANEL / max(picture.shape[:2])
    size = [max(1, round(length * factor)) for length in picture.shape[1::-1]]
    way = cv2.INTER_NEAREST if factor > 1 else cv2.INTER_AREA
    return cv2.resize(picture, size, interpolation=way)
