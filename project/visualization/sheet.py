"""Pictures put together: titles, legend, truth beside prediction, contact sheets.

Pure functions; all pictures are uint8 RGB ``[H, W, 3]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from project.visualization.labels import draw_plate, plate_size, printable, text_coverage
from project.visualization.overlay import font_size
from project.visualization.palette import class_color
from project.visualization.records import DrawnObject

import numpy as np

PAPER = (250, 250, 250)
INK = (32, 32, 32)
GAP = 8  # pixels between pictures
MAX_SHEET_WIDTH = 2400


def draw_legend(classes: Iterable[tuple[int, str]], width: int, size: int) -> np.ndarray:
    """A strip ``width`` pixels wide with a colour patch and name for each (index, name).

    In order of the index, in as many rows as needed; no classes give a strip of height 0.
    """
    entries = sorted(set(classes))
    if not entries:
        return np.zeros((0, width, 3), np.uint8)
    names = [printable(name) for _, name in entries]
    height = plate_size("", size)[0]
    patch, step = round(0.8 * height), height + GAP // 2
    places, x, y = [], GAP, GAP // 2
    for name in names:
        needed = patch + plate_size(name, size)[1] + 2 * GAP
        if x > GAP and x + needed > width:
            x, y = GAP, y + step
        places.append((x, y))
        x += needed
    strip = _paper(y + step, width)
    for (index, _), name, (x, y) in zip(entries, names, places, strict=True):
        top = y + (height - patch) // 2
        strip[top : top + patch, x : x + patch] = class_color(index)
        draw_plate(strip, name, size, x + patch, y, None, INK)
    return strip


def present_classes(objects: Iterable[DrawnObject]) -> set[tuple[int, str]]:
    """The (index, name) of every class among ``objects``, for `draw_legend`."""
    return {(o.class_index, o.class_name) for o in objects}


def side_by_side(
    panels: Sequence[tuple[str, np.ndarray]],
    heading: str = "",
    classes: Iterable[tuple[int, str]] = (),
) -> np.ndarray:
    """Titled pictures of one height beside each other, under a heading and over a legend."""
    size = font_size(*panels[0][1].shape[:2])
    height = max(picture.shape[0] for _, picture in panels)
    row: list[np.ndarray] = []
    for title, picture in panels:
        if row:
            row.append(_paper(row[0].shape[0], GAP))
        width = picture.shape[1]
        below = _paper(height - picture.shape[0], width)
        row.append(np.concatenate([_text_line(title, width, size), picture, below]))
    body = np.concatenate(row, axis=1)
    parts = [body, draw_legend(classes, body.shape[1], size)]
    if heading:
        parts.insert(0, _text_line(heading, body.shape[1], size))
    return np.concatenate(parts)


def contact_sheet(
    pictures: Sequence[np.ndarray],
    columns: int | None = None,
    classes: Iterable[tuple[int, str]] = (),
) -> np.ndarray:
    """All pictures in a grid on one page, row by row in equal cells, over one legend.

    Pictures are shrunk to their cell where needed, never enlarged. A cell is a little higher than
    the median picture, so that one upright picture doesn't blow up its whole row.

    Args:
        columns: None chooses: 4, or 2 for pictures that are wider than twice their height.

    Raises:
        ValueError: without pictures, or with fewer than one column.
    """
    if not pictures:
        raise ValueError("a contact sheet needs at least one picture")
    if columns is None:
        wide = np.median([p.shape[1] / p.shape[0] for p in pictures]) > 1.9
        columns = 2 if wide else 4
    if columns < 1:
        raise ValueError(f"a contact sheet needs at least one column, got {columns}")
    columns = min(columns, len(pictures))
    room = MAX_SHEET_WIDTH // columns - GAP
    width = min(room, max(p.shape[1] for p in pictures))
    heights = [p.shape[0] * min(1.0, width / p.shape[1]) for p in pictures]
    height = round(1.2 * float(np.median(heights)))
    shrunk = [_shrink(p, height, width) for p in pictures]
    rows = [shrunk[i : i + columns] for i in range(0, len(shrunk), columns)]
    parts = []
    for row in rows:
        strip = _paper(max(p.shape[0] for p in row) + GAP, columns * (width + GAP) + GAP)
        for column, picture in enumerate(row):
            left = GAP + column * (width + GAP) + (width - picture.shape[1]) // 2
            strip[GAP : GAP + picture.shape[0], left : left + picture.shape[1]] = picture
        parts.append(strip)
    total = parts[0].shape[1]
    parts.append(draw_legend(classes, total, font_size(0, min(total, 1600))))
    return np.concatenate(parts)


def _shrink(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    import cv2

    factor = min(height / picture.shape[0], width / picture.shape[1])
    if factor >= 1:
        return picture
    size = round(picture.shape[1] * factor), round(picture.shape[0] * factor)
    return cv2.resize(picture, (max(size[0], 1), max(size[1], 1)), interpolation=cv2.INTER_AREA)


def _paper(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), PAPER, np.uint8)


def _text_line(text: str, width: int, size: int) -> np.ndarray:
    """One line of text on paper; a text that is too long loses its middle (file names differ in
    their ends)."""
    text = printable(text, limit=400)
    line = _paper(text_coverage("", size).shape[0] + GAP // 2, width)
    shown, keep = text, len(text)
    while keep > 1 and (needed := plate_size(shown, size)[1]) > width:
        keep = min(keep - 1, keep * width // needed)  # letters differ in width: try, then go on
        shown = text[: keep - keep // 2] + "…" + text[len(text) - keep // 2 :]
    draw_plate(line, shown, size, 0, GAP // 4, None, INK)
    return line
