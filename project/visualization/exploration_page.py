"""The page of an exploration: words, charts, tables and pictures put together."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from project.data.audit import AuditReport, Finding
from project.data.coco_masks import check_mask
from project.data.exploration.explore import Exploration
from project.data.exploration.masks import rasterise
from project.data.exploration.measure import read_rgb
from project.data.exploration.numbers import class_rows
from project.data.exploration.samples import Sample
from project.data.exploration.summary import Sentence, count, headline, listing, summary
from project.visualization.charts import Chart, css_color
from project.visualization.exploration_charts import exploration_charts
from project.visualization.overlay import OverlayStyle, draw_overlay, fit_for_drawing
from project.visualization.page import Column, Picture, Table, Tile, jpeg_picture, render_page
from project.visualization.palette import class_color
from project.visualization.records import BoxMask, DrawnObject

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
_EXAMPLES = 3  # findings of a kind that the page quotes; audit.json has all
_ZOOM = 64  # pixels: at least so much of an image is shown around one object
_GREY = (150, 150, 150)


@dataclass(frozen=True)
class FindingGroup:
    """Findings of one kind: how many, the first few in full, what to do."""

    severity: str
    kind: str
    cause: str
    number: int
    examples: Sequence[str]
    repair: str


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
        class_table=_class_table(found),
        mask_table=_mask_table(found),
        plan_table=_plan_table(found),
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
        Tile(f"{found.counts.imbalance:,.0f} : 1", "commonest to rarest class"),
    ]


def _sentences(found: Exploration, report: AuditReport | None) -> list[Sentence]:
    """All that is to be said, warnings first."""
    return sorted([*summary(found), *_audit_sentences(report)], key=lambda s: s.level != "warning")


def _audit_sentences(report: AuditReport | None) -> list[Sentence]:
    if report is None:
        return []
    errors, warnings = len(report.errors), len(report.warnings)
    if not errors and not warnings:
        return [Sentence("note", "The audit found nothing to repair.")]
    groups = [group for group in finding_groups(report) if group.severity != "info"]
    groups.sort(key=lambda group: (group.severity != "error", -group.number))
    kinds = listing([f"{group.number:,} × {group.kind}" for group in groups])
    text = f"The audit found {count(errors, 'error')} and {count(warnings, 'warning')}: {kinds}."
    return [Sentence("warning" if errors else "note", text)]


def _colors(rows: Sequence[int]) -> list[str]:
    return [css_color(class_color(k)) for k in rows]


def _order(found: Exploration) -> list[int]:
    """Class indices, commonest first."""
    return np.argsort(-found.counts.instances, kind="stable").tolist()


def _class_table(found: Exploration) -> Table:
    columns = [
        Column("class"),
        Column("objects"),
        Column("%", "percent of all objects"),
        Column("images", "with at least one object"),
        Column("crowds", "crowd regions"),
    ]
    if found.other is not None:
        other = found.other.name
        columns += [Column(f"{other}: objects"), Column("%"), Column("images")]
    rows = []
    for k in _order(found):
        counts = found.counts
        row = [found.table.class_names[k], f"{counts.instances[k]:,}", f"{counts.share[k]:.1f}"]
        row += [f"{counts.images[k]:,}", f"{counts.crowds[k]:,}"]
        if (theirs := found.other_counts) is not None:
            row += [f"{theirs.instances[k]:,}", f"{theirs.share[k]:.1f}", f"{theirs.images[k]:,}"]
        rows.append(row)
    return Table("Every class in numbers", columns, rows, _colors(_order(found)))


def _mask_table(found: Exploration) -> Table:
    columns = {
        "median_area": (Column("area", "median, square pixels"), "{:,.0f}"),
        "pixels": (Column("% of pixels", "of all pixels of the images"), "{:.2g}"),
        "several_parts": (Column("% in parts", "masks of two pieces or more"), "{:.0f}"),
        "holes": (Column("% with holes"), "{:.0f}"),
        "median_vertices": (Column("vertices", "median"), "{:.0f}"),
        "pixels_per_vertex": (
            Column("pixels/vertex", "boundary for each vertex, median"),
            "{:.1f}",
        ),
        "median_complexity": (
            Column("raggedness", "boundary² / (4π area): a disc has 1"),
            "{:.2f}",
        ),
        "median_fill": (Column("% of box", "median share of the box that is mask"), "{:.0f}"),
        "overlapping": (Column("% shared", "masks that share pixels with others"), "{:.0f}"),
        "occluded": (Column("% hidden", "others cover a quarter of the box or more"), "{:.0f}"),
        "at_the_frame": (Column("% at frame", "boxes that touch the frame"), "{:.0f}"),
        "anchor_recall": (Column("% anchored", "an anchor reaches IoU 0.5"), "{:.0f}"),
    }
    numbers = class_rows(found)
    rows = [
        [found.table.class_names[k]]
        + [_cell(numbers[k][name], form) for name, (_, form) in columns.items()]
        for k in _order(found)
        if found.counts.instances[k]
    ]
    heads = [Column("class"), *(column for column, _ in columns.values())]
    shown = [k for k in _order(found) if found.counts.instances[k]]
    return Table("Masks, occlusion and fit by class", heads, rows, _colors(shown))


def _cell(value: float, form: str) -> str:
    return form.format(value) if np.isfinite(value) else "–"


def _plan_table(found: Exploration) -> Table:
    plan = found.plan
    columns = [Column("class"), *(Column(scheme) for scheme in plan.schemes)]
    rows = [
        [found.table.class_names[k], *(f"{v:.1f}" for v in plan.images[:, k])]
        for k in _order(found)
    ]
    rows.append(["most repeated image", *(f"{v:.1f} ×" for v in plan.most_repeated)])
    return Table(
        "Percent of the drawn images that show each class; last, how often a pass shows the image "
        "that comes most",
        columns,
        rows,
        [*_colors(_order(found)), "transparent"],
    )


def finding_groups(report: AuditReport) -> list[FindingGroup]:
    """The findings by severity and kind, errors first; files are called by the names of splits."""
    names = {}
    for split, source in report.splits.items():
        names |= {str(source.get("images_dir")): split, str(source.get("file")): split}
    groups: dict[tuple, list[Finding]] = defaultdict(list)
    for finding in report.findings:
        groups[finding.severity, finding.kind, finding.cause].append(finding)
    return [
        FindingGroup(
            severity,
            kind.replace("-", " "),
            (cause or "").replace("-", " "),
            len(members),
            [_example(member, names) for member in members[:_EXAMPLES]],
            members[0].repair or "",
        )
        for (severity, kind, cause), members in groups.items()
    ]


def _example(finding: Finding, names: Mapping[str, str]) -> str:
    where = [finding.file]
    if finding.image_id is not None:
        where.append(f"image {finding.image_id}")
    if finding.annotation_id is not None:
        where.append(f"annotation {finding.annotation_id}")
    text = f"{', '.join(where)}: {finding.what}"
    for path, name in names.items():
        text = text.replace(path, name)
    return text


def flagged_images(found: Exploration, report: AuditReport, split: str) -> list[tuple[int, str]]:
    """(row, what) of each image of ``split`` that an error or warning of the audit names."""
    row = {int(image_id): i for i, image_id in enumerate(found.table.image_ids)}
    source = report.splits.get(split, {})
    files = {str(source.get("file"))}
    folder = str(source.get("images_dir"))
    return [
        (row[finding.image_id], finding.kind.replace("-", " "))
        for finding in (*report.errors, *report.warnings)
        if finding.image_id in row
        and (finding.file in files or Path(finding.file).is_relative_to(folder))
    ]


def sample_pictures(
    found: Exploration, sheets: Mapping[str, Sequence[Sample]], image_dir: Path
) -> dict[str, list[np.ndarray]]:
    """The drawn pictures of `choose_samples`' sheets, uint8 RGB; None for unreadable images."""
    return {
        title: [draw_sample(found, sample, image_dir) for sample in samples]
        for title, samples in sheets.items()
    }


def draw_sample(found: Exploration, sample: Sample, image_dir: Path) -> np.ndarray | None:
    """One image with its masks, or the surroundings of one object; None if it can't be read."""
    table = found.table
    image = read_rgb(str(Path(image_dir, table.file_names[sample.image])))
    if image is None:
        return None
    objects = []
    if image.shape[:2] == tuple(table.image_sizes[sample.image]):
        rows = np.flatnonzero(table.image_index == sample.image)
        objects = [_drawn(found, m) for m in rows if m != sample.object]
    if sample.object is not None and image.shape[:2] == tuple(table.image_sizes[sample.image]):
        x, y, right, bottom = _window(table.boxes_xyxy[sample.object], image.shape[:2])
        image = np.ascontiguousarray(image[y:bottom, x:right])
        own = _moved(_drawn(found, sample.object), x, y, image.shape[:2])
        objects = [o for o in (_moved(o, x, y, image.shape[:2]) for o in objects) if o is not None]
        image, objects = fit_for_drawing(image, [own, *objects])
        # The others in grey and without names, so that the one in question can be found.
        quiet = OverlayStyle(labels=False, boxes=False, alpha=0.25)
        image = draw_overlay(image, objects[1:], quiet, [_GREY] * (len(objects) - 1))
        return draw_overlay(image, objects[:1])
    return draw_overlay(*fit_for_drawing(image, objects))


def _drawn(found: Exploration, m: int) -> DrawnObject:
    table = found.table
    height, width = table.image_sizes[table.image_index[m]].tolist()
    mask = check_mask(table.segmentations[m], height, width).mask
    pieces = rasterise(mask, height, width) if mask else None
    k = int(table.class_index[m])
    return DrawnObject(
        class_index=k,
        class_name=table.class_names[k],
        box_xyxy=tuple(table.boxes_xyxy[m].tolist()),
        mask=None if pieces is None else BoxMask(pieces.pixels, pieces.x, pieces.y),
        iscrowd=bool(table.crowd[m]),
    )


def _window(box_xyxy: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the part of an image around a box: three times its size, 4:3."""
    x0, y0, x1, y1 = box_xyxy
    height = max(3 * (y1 - y0), 9 / 4 * (x1 - x0), 0.75 * _ZOOM)
    width = min(height * 4 / 3, size[1])
    height = min(height, size[0])
    left = int(np.clip((x0 + x1 - width) / 2, 0, size[1] - width))
    top = int(np.clip((y0 + y1 - height) / 2, 0, size[0] - height))
    return left, top, left + int(np.ceil(width)), top + int(np.ceil(height))


def _moved(o: DrawnObject, x: int, y: int, size: tuple[int, int]) -> DrawnObject | None:
    """An object on the part of an image that starts at (x, y); None if it lies outside."""
    x0, y0, x1, y1 = o.box_xyxy
    box = (x0 - x, y0 - y, x1 - x, y1 - y)
    if box[2] <= 0 or box[3] <= 0 or box[0] >= size[1] or box[1] >= size[0]:
        return None
    mask = None if o.mask is None else BoxMask(o.mask.pixels, o.mask.x - x, o.mask.y - y)
    return DrawnObject(o.class_index, o.class_name, box, mask, o.score, o.iscrowd)


def picture_captions(found: Exploration, title: str, sample: Sample) -> tuple[str, str]:
    """Alt text and caption of a sample's picture."""
    name = found.table.file_names[sample.image]
    what = "Part of image" if sample.object is not None else "Image"
    counts = found.table.statistics().counts[sample.image]
    shown = [
        f"{number} {found.table.class_names[k]}"
        for k, number in sorted(enumerate(counts), key=lambda c: -c[1])[:4]
        if number
    ]
    return f"{what} {name} with masks: {', '.join(shown) or 'no objects'}", f"{name}: {sample.why}"


def embed(
    found: Exploration,
    sheets: Mapping[str, Sequence[Sample]],
    drawn: Mapping[str, Sequence[np.ndarray | None]],
) -> dict[str, list[Picture]]:
    """The drawn samples as pictures of the page; unreadable images and empty sheets left out."""
    pictures = {
        title: [
            jpeg_picture(pixels, *picture_captions(found, title, sample))
            for sample, pixels in zip(samples, drawn[title], strict=True)
            if pixels is not None
        ]
        for title, samples in sheets.items()
    }
    return {title: items for title, items in pictures.items() if items}
