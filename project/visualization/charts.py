"""Charts for pages: matplotlib figures as inline SVG that follows the page's light or dark colours.

Generic: arrays and labels in, `Chart` out. Text stays text (it can be read aloud, searched and
scaled), and ink and paper are CSS variables of the page's style, so one chart serves both modes.
Charts are 330 units wide, so that they can be read on a telephone too.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from project.visualization.palette import RGB

WIDTH = 330  # units of the page (CSS pixels at most widths)
# Colours by role: what PNGs show, and the CSS variable that stands for it in the page.
INK, MUTED, GRID, PAPER = "#1b1d20", "#5b6168", "#d8dbdf", "#fefefd"
MAIN, SECOND, ALARM = "#1f6fb4", "#a95a1b", "#b3261d"
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    PAPER: "--paper",
    MAIN: "--main",
    SECOND: "--second",
    ALARM: "--alarm",
}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "project",  # the same chart, the same bytes
    "text.parse_math": False,  # a class may be called "$"
    "font.size": 11,
    "font.family": ["DejaVu Sans"],
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.frameon": False,
    "legend.fontsize": 10,
}


@dataclass(frozen=True)
class Chart:
    """A finished chart.

    Attributes:
        name: a slug, unique on its page; also the PNG's.
        title: a few words; what the chart shows.
        alt: what it says, for those who can't see it.
        caption: a sentence below it, or "".
        svg: markup for the page.
        png: a picture file with white paper.
    """

    name: str
    title: str
    alt: str
    caption: str
    svg: str
    png: bytes


@dataclass(frozen=True)
class Words:
    """The words of a chart; see `Chart`."""

    name: str
    title: str
    alt: str
    caption: str = ""


def draw(words: Words, height: int, plot: Callable, **axes) -> Chart:
    """The chart that ``plot(ax)`` draws on axes of ``WIDTH`` by ``height`` units."""

    def paint(figure) -> None:
        plot(figure.add_subplot(**axes))

    return draw_figure(words, height, paint)


def draw_figure(words: Words, height: int, paint: Callable) -> Chart:
    """The chart that ``paint(figure)`` draws; the figure lays itself out."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # Names in scripts that the font lacks: the page's own fonts have them.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        paint(figure)
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
        figure.savefig(png, format="png", dpi=144, facecolor="white")
    return Chart(
        words.name,
        words.title,
        words.alt,
        words.caption,
        inline_svg(svg.getvalue(), words.name, words.alt),
        png.getvalue(),
    )


def inline_svg(svg: str, name: str, alt: str) -> str:
    """matplotlib's ``svg`` as markup for a page: own ids, the page's fonts and colours."""
    from markupsafe import escape

    box = re.search(r'viewBox="([^"]*)"', svg)[1]
    body = svg[svg.index("</metadata>") + len("</metadata>") :] if "</metadata>" in svg else svg
    body = body[body.index("<defs>") :]
    # Ids must differ between the charts of a page, and so must what points at them.
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", body)
    body = re.sub(r"font: (?:[\w-]+ )*?(\d[\d.]*px) [^;\"]*", r"font-size: \1", body)
    for color, variable in VARIABLES.items():
        body = body.replace(color, f"var({variable})")
    head = f'<svg role="img" viewBox="{box}" aria-label="{escape(alt)}"'
    return f'{head} xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">{body}'


def css_color(color: RGB) -> str:
    """A colour as CSS: "#d55e00" for (213, 94, 0)."""
    return "#" + "".join(f"{channel:02x}" for channel in color)
