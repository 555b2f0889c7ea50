"""Everything that a comparison of models leaves behind: page, charts, pictures, numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from project.experiments.models import tables
from project.experiments.models.charts import model_charts
from project.experiments.models.compare import ModelComparison
from project.experiments.models.cost import Costs
from project.experiments.models.page import Shown, models_page
from project.experiments.models.pictures import Row, choose_images, draw_rows
from project.experiments.models.words import headline, sentences
from project.experiments.store import csv_text, write_text
from project.experiments.tables import finite
from project.visualization.files import make_folder, write_png

PAGE = "index.html"
NUMBERS = "models.json"
NUM_IMAGES = 2  # of each kind


def write_models(
    found: ModelComparison,
    costs: Costs | None,
    folder: Path,
    *,
    title: str,
    num_images: int = NUM_IMAGES,
) -> Path:
    """Write page, charts, pictures and numbers to ``folder``; returns the page.

    Args:
        costs: None where nothing was measured.
        num_images: best, worst, of most and of median disagreement, each.

    Raises:
        UserError: if the folder can't be written.
    """
    make_folder(folder / "charts")
    charts = model_charts(found, costs)
    for chart in (chart for section in charts.values() for chart in section):
        (folder / "charts" / f"{chart.name}.png").write_bytes(chart.png)
    rows, unreadable = _pictures(found, folder, num_images)
    files = write_numbers(found, costs, folder)
    page = models_page(found, costs, Shown(charts, rows, unreadable, files), title=title)
    write_text(folder / PAGE, page)
    return folder / PAGE


def _pictures(
    found: ModelComparison, folder: Path, number: int
) -> tuple[dict[str, list[Row]], list[str]]:
    """Title → rows; the same as PNGs in ``images/``. Then the names of unreadable images."""
    drawn, unreadable = {}, []
    for title, places in choose_images(found, number).items():
        rows, lost = draw_rows(found, places)
        slug = re.sub(r"\W+", "-", title.lower())
        for place, row in enumerate(rows, 1):
            write_png(folder / "images" / f"{slug}-{place}.png", row.drawn)
        drawn[title] = rows
        unreadable += lost
    return drawn, unreadable


def write_numbers(found: ModelComparison, costs: Costs | None, folder: Path) -> list[str]:
    """Write ``models.json`` and the CSV files; returns their names."""
    rows = {
        "figures": tables.figure_rows(found),
        "differences": tables.difference_rows(found),
        "images": tables.image_rows(found),
    }
    if costs is not None and costs.models:
        rows["cost"] = tables.cost_rows(costs)
    content = {
        "headline": headline(found),
        "sentences": [asdict(sentence) for sentence in sentences(found, costs)],
        "classes": list(found.class_names),
        "datasets": dict(found.image_numbers),
        "common_images": len(found.footing.image_names),
        "baseline": found.baseline.label,
        "models": {
            model.label: {
                "kind": model.model.kind,
                "runs": _runs(model.model.runs),
                "iou_of_runs": model.seed_values["IoU", ""].tolist(),
            }
            for model in found.models
        },
        **{name: table for name, table in rows.items() if name != "images"},
        "not_measured": dict(costs.problems) if costs is not None else {},
    }
    write_text(folder / NUMBERS, json.dumps(_plain(content), indent=1, ensure_ascii=False) + "\n")
    for name, table in rows.items():
        write_text(folder / f"{name}.csv", csv_text(finite(table)))
    return [NUMBERS, *(f"{name}.csv" for name in rows)]


def _runs(runs: Sequence) -> list[dict]:
    return [{"folder": str(run.folder), "seed": run.seed, "dataset": run.dataset} for run in runs]


def _plain(node):
    """``node`` as JSON has it: None for what isn't a number."""
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return None if isinstance(node, float) and node != node else node
