"""What pages are made of, and the function that makes them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from project.visualization.labels import printable

import numpy as np

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Tile:
    """One large number with what it counts."""

    value: str
    label: str


@dataclass(frozen=True)
class Column:
    """One column of a table: its head, and what a person may want to know about it."""

    head: str
    hint: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells, already formatted; the first cell of a row names it.

    ``colors`` are CSS colours for a patch beside each name, or none.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    colors: Sequence[str] = ()


@dataclass(frozen=True)
class Picture:
    """An embedded picture: its data URI, size in pixels, what it shows, and words below it."""

    source: str
    width: int
    height: int
    alt: str
    caption: str


def jpeg_picture(
    pixels: np.ndarray, alt: str, caption: str, *, width: int = 560, quality: int = 74
) -> Picture:
    """A uint8 RGB image [H, W, 3] as an embedded JPEG of at most ``width`` pixels."""
    import cv2

    if pixels.shape[1] > width:
        height = max(round(pixels.shape[0] * width / pixels.shape[1]), 1)
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    source = "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
    return Picture(source, pixels.shape[1], pixels.shape[0], alt, caption)


def render_page(template: str, **values: Any) -> str:
    """The HTML text of a template of this folder; it needs no other file and no network.

    Values are escaped; only a chart's SVG, which `project.visualization.charts` makes, isn't. A
    value that the template asks for and doesn't get is an error.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Lone surrogates and control characters, which file names can hold, aren't valid in a page.
    environment.finalize = lambda value: _clean(value) if type(value) is str else value
    style = Markup((HERE / "style.css").read_text("utf-8"))
    return environment.get_template(template).render(style=style, **values)


def _clean(text: str) -> str:
    return printable(text, limit=len(text) + 1)
