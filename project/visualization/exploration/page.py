"""The page of an exploration: words, charts, tables and pictures put together."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

from project.data.audit import AuditReport
from project.data.exploration.explore import Exploration
from project.data.exploration.summary import Sentence, headline, ratio, summary
from project.visualization.charts import Chart
from project.visualization.exploration.audit import audit_sentences, finding_groups
from project.visualization.exploration.charts import exploration_charts
from project.visualization.exploration.tables import class_table, mask_table, plan_table
from project.visualization.page import Picture, Tile, render_page

import numpy as np

SECTIONS = {
    "short": "In short",
    "classes": "Classes",
    "images": "Images",
    "objects": "Objects",
    "masks": "Masks",
    "occlusion": "Place and occlusion",
    "fit": "Fit to the model",
    "sampling": "Sampling",
    "samples": "Samples",
    "audit": "Audit",
}


def exploration_page(
    found: Exploration,
    *,
    title: str,
    source: str,
    sheets: Mapping[str, Sequence[Picture]],
    report: AuditReport | None,
    charts: Mapping[str, Sequence[Chart]] | None = None,
    date: datetime.date | None = None,
) -> str:
    """The HTML text of the page.

    Args:
        source: where the labels come from, for people.
        sheets: title → pictures, from `sample_pictures`.
        report: None leaves the audit out.
        charts: from `exploration_charts`; None makes them.
    """
    sections = dict(SECTIONS)
    if not sheets:
        del sections["samples"]
    if report is None:
        del sections["audit"]
    return render_page(
        "explore.html.j2",
        kind="What the data is like",
        title=title,
        sections=sections,
        headline=headline(found),
        source=source,
        date=(date or datetime.date.today()).isoformat(),
        tiles=_tiles(found),
        sentences=_sentences(found, report),
        charts=exploration_charts(found) if charts is None else charts,
        class_table=class_table(found),
        mask_table=mask_table(found),
        plan_table=plan_table(found),
        looked_at=int(found.measures.looked_at.sum()),
        num_images=len(found.table.image_ids),
        with_pixels=bool(np.isfinite(found.measures.brightness).any()),
        detector=found.detector,
        scale=found.fit.median_scale,
        sheets=sheets,
        groups=[] if report is None else finding_groups(report),
    )


def _tiles(found: Exploration) -> list[Tile]:
    seen = int((found.counts.instances > 0).sum())
    return [
        Tile(f"{len(found.table.image_ids):,}", "images"),
        Tile(f"{len(found.objects.rows):,}", "objects"),
        Tile(f"{seen:,}", "classes that occur"),
        Tile(f"{np.median(found.objects_per_image):g}", "objects in an image, median"),
        Tile(f"{int(found.table.crowd.sum()):,}", "crowd regions"),
        Tile(f"{found.counts.negatives:,}", "images without objects"),
        Tile(f"{ratio(found.counts.imbalance)} : 1", "commonest to rarest class"),
    ]


def _sentences(found: Exploration, report: AuditReport | None) -> list[Sentence]:
    """All that is to be said, warnings first."""
    return sorted([*summary(found), *audit_sentences(report)], key=lambda s: s.level != "warning")
