"""What the charts of a report have in common: names, colours, legends, which classes are shown."""

from __future__ import annotations

from collections.abc import Sequence

from project.evaluation.uncertainty import Estimate
from project.visualization.charts import INK, MAIN, SECOND, css_color
from project.visualization.palette import class_color
from project.visualization.report.judged import Judged
from project.visualization.report.run_files import RunFiles

import numpy as np

COLORS = (MAIN, SECOND)  # of the first run and the second
MAX_CLASSES = 30  # rows of a chart; the tables have all
MAX_LINES = 7
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
_BRIGHT = 0.5  # luminance from which on a line is lost on white


def run_names(runs: Sequence[Judged | RunFiles]) -> list[str]:
    """A name for each run, told apart where folders are called the same."""
    names = [run.name if isinstance(run, RunFiles) else run.files.name for run in runs]
    if len(names) > len(set(names)):
        return [f"{letter}: {name}" for letter, name in zip("AB", names, strict=False)]
    return names


def named(runs: Sequence[Judged]) -> list[tuple[Judged, str, str]]:
    """Each run with what to put after a chart's title and after its slug; "" for a single one."""
    if len(runs) == 1:
        return [(runs[0], "", "")]
    titles = (f": {name}" for name in run_names(runs))
    return list(zip(runs, titles, ("-a", "-b"), strict=True))


def commonest(run: Judged, limit: int) -> list[int]:
    """Class indices by falling number of objects, as many as a chart shows."""
    objects = run.matches.num_objects.sum(0)
    return [k for k in np.argsort(-objects, kind="stable").tolist() if objects[k]][:limit]


def left_out(run: Judged, shown: int) -> str:
    """A sentence for a caption if some classes aren't shown, else ""."""
    there = int((run.matches.num_objects.sum(0) > 0).sum())
    return f" The {shown} commonest of {there} classes." if shown < there else ""


def line_color(number: int) -> str:
    """A class's colour, darkened where it would be lost on white."""
    color = np.array(class_color(number))
    luminance = (color / 255) ** 2.2 @ [0.2126, 0.7152, 0.0722]
    return css_color(tuple((color * (0.7 if luminance > _BRIGHT else 1)).astype(int).tolist()))


def interval(ax, y: float, estimate: Estimate) -> None:
    """Draw the interval over a bar's end, and the figure or why there is no interval after it."""
    if np.isnan(estimate.value):
        return
    end = estimate.value
    if np.isfinite(estimate.low):
        ax.plot([estimate.low, estimate.high], [y, y], color=INK, lw=1.3, solid_capstyle="butt")
        end = max(end, estimate.high)
        text = f"{estimate.value:.0f}"
    else:
        text = f"{estimate.value:.0f} {estimate.note}"
    at_left = end > 60 and len(text) > 3  # a long note inside the frame
    ax.annotate(
        text,
        (0 if at_left else end, y),
        (4, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
    )


def legend(ax) -> None:
    """A legend above the axes of ``ax``."""
    lines = len(ax.get_legend_handles_labels()[1])
    ax.figure.legend(loc="outside upper left", ncols=1 if lines == 2 else 2, fontsize=9.5)


def legend_height(lines: int) -> int:
    """The units that `legend` takes of a chart's height."""
    return 0 if lines < 2 else 32 if lines == 2 else 16 * -(-lines // 2)
