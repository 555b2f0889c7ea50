"""The page of a comparison of models: words, figures, cost and pictures put together."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from project.experiments.models import tables
from project.experiments.models.compare import ModelComparison
from project.experiments.models.cost import Costs
from project.experiments.models.counts import IOU
from project.experiments.models.pictures import Row
from project.experiments.models.words import headline, sentences, three_digits
from project.visualization.charts import Chart, css_color
from project.visualization.page import Tile, render_page
from project.visualization.page.parts import HERE
from project.visualization.palette import class_color

import numpy as np
from markupsafe import Markup

MAX_LEGEND = 30


@dataclass(frozen=True)
class Shown:
    """What a page shows beside figures.

    Attributes:
        charts: section → charts.
        rows: title → images beside each other.
        unreadable: names of images that couldn't be read.
        files: names of the files with numbers.
    """

    charts: Mapping[str, Sequence[Chart]]
    rows: Mapping[str, Sequence[Row]]
    unreadable: Sequence[str] = ()
    files: Sequence[str] = ()


def models_page(
    found: ModelComparison,
    costs: Costs | None,
    shown: Shown,
    *,
    title: str,
    date: datetime.date | None = None,
) -> str:
    """The HTML text of the page."""
    class_tables = tables.class_tables(found)
    there = {
        "classes": bool(class_tables),
        "cost": costs is not None and bool(costs.models),
        "pictures": any(shown.rows.values()),
    }
    names = {
        "short": "In short",
        "figures": "Figures",
        "differences": f"Against {found.baseline.label}",
        "classes": "Classes",
        "cost": "Cost",
        "pictures": "Side by side",
        "runs": "Runs",
    }
    measured = costs if there["cost"] else None
    return render_page(
        "models.html.j2",
        kind="Which model to use",
        title=title,
        sections={key: name for key, name in names.items() if there.get(key, True)},
        headline=headline(found),
        date=(date or datetime.date.today()).isoformat(),
        tiles=_tiles(found, measured),
        sentences=sentences(found, costs),
        charts=shown.charts,
        figure_table=tables.figure_table(found),
        difference_table=tables.difference_table(found),
        baseline=found.baseline.label,
        class_tables=class_tables,
        cost_table=measured and tables.cost_table(found, measured),
        run_table=tables.run_table(found),
        rows={name: rows for name, rows in shown.rows.items() if rows},
        legend=[
            (css_color(class_color(k)), name)
            for k, name in enumerate(found.class_names[:MAX_LEGEND])
        ],
        unreadable=list(shown.unreadable),
        files=shown.files,
        models_style=Markup((HERE / "models.css").read_text("utf-8")),
    )


def _tiles(found: ModelComparison, costs: Costs | None) -> list[Tile]:
    best = found.ranked[0]
    iou = best.estimates[IOU, ""].value
    tiles = [
        Tile(f"{len(found.models):,}", "models"),
        Tile(f"{len(found.footing.image_names):,}", "images"),
    ]
    if np.isfinite(iou):
        tiles.append(Tile(f"{iou:.1f}", f"best IoU: {best.label}"))
    if costs is not None:
        fastest = min(costs.models, key=lambda label: costs.models[label].median)
        time = three_digits(costs.models[fastest].median)
        tiles.append(Tile(f"{time} ms", f"fastest: {fastest}"))
    return tiles
