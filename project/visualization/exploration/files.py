"""Everything that an exploration leaves behind: the page, charts, sheets, numbers, the audit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from project.data.audit import AuditReport, audit_files
from project.data.exploration.explore import Exploration, explore
from project.data.exploration.files import write_numbers
from project.data.exploration.fit import Detector
from project.data.exploration.labels import LabelTable, read_labels
from project.data.exploration.samples import choose_samples
from project.errors import UserError
from project.visualization.exploration.audit import flagged_images
from project.visualization.exploration.charts import exploration_charts
from project.visualization.exploration.page import exploration_page
from project.visualization.exploration.pictures import embed, sample_pictures
from project.visualization.sheet import contact_sheet

PAGE = "index.html"


@dataclass(frozen=True)
class SplitSource:
    """One split: its name, annotation file, and image folder (None: no pixels)."""

    name: str
    json_file: Path
    image_dir: Path | None


def write_exploration(
    source: SplitSource,
    other: SplitSource | None,
    folder: Path,
    *,
    title: str,
    detector: Detector,
    classes: Sequence[str] = (),
    audit: bool = True,
    limit: int = 5000,
    seed: int = 0,
    workers: int = 0,
    progress: bool = True,
) -> Path:
    """Explore ``source`` beside ``other`` and write all of it to ``folder``; returns the page.

    Raises:
        UserError: if the labels can't be read or the folder can't be written.
    """
    try:
        (folder / "charts").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output folder {folder} can't be made: {error.strerror}") from None
    report = _audit(source, other, folder, workers, progress) if audit else None
    table, other_table = _tables(source, other, classes)
    found = explore(
        table, source.image_dir, detector, other=other_table,
        limit=limit, seed=seed, workers=workers, progress=progress,
    )  # fmt: skip
    write_numbers(found, folder)
    charts = exploration_charts(found)
    for chart in (chart for section in charts.values() for chart in section):
        (folder / "charts" / f"{chart.name}.png").write_bytes(chart.png)
    sheets = {}
    if source.image_dir is not None:
        sheets = _sheets(found, report, source, folder, seed)
    page = exploration_page(
        found, title=title, source=str(source.json_file), sheets=sheets, report=report,
        charts=charts,
    )  # fmt: skip
    (folder / PAGE).write_text(page, "utf-8")
    return folder / PAGE


def _audit(source, other, folder: Path, workers: int, progress: bool) -> AuditReport:
    splits = {s.name: (s.json_file, s.image_dir) for s in (source, other) if s is not None}
    report = audit_files(splits, workers=workers, progress=progress)
    report.write(folder / "audit.json")
    return report


def _tables(source, other, classes: Sequence[str]) -> tuple[LabelTable, LabelTable | None]:
    """Both tables over the same classes, those of the first file first."""
    table = read_labels(source.json_file, source.name, classes)
    if other is None:
        return table, None
    second = read_labels(other.json_file, other.name, classes, first_classes=table.class_names)
    if second.class_names != table.class_names:
        table = read_labels(source.json_file, source.name, (), first_classes=second.class_names)
    return table, second


def _sheets(found: Exploration, report: AuditReport | None, source, folder: Path, seed: int):
    """Write the sheets of samples; returns their pictures for the page."""
    flagged = [] if report is None else flagged_images(found, report, source.name)
    samples = choose_samples(found, flagged, seed=seed)
    drawn = sample_pictures(found, samples, source.image_dir)
    (folder / "sheets").mkdir(exist_ok=True)
    for name, pictures in drawn.items():
        if readable := [picture for picture in pictures if picture is not None]:
            _write_png(folder / "sheets" / f"{slug(name)}.png", contact_sheet(readable, 3))
    return embed(found, samples, drawn)


def _write_png(file: Path, picture) -> None:
    import cv2

    encoded = cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 3])[1]
    file.write_bytes(encoded.tobytes())


def slug(text: str) -> str:
    """A title as a file name: "the-rarest-classes" for "The rarest classes"."""
    return re.sub(r"\W+", "-", text.lower()).strip("-")
