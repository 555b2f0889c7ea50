"""What the audit found, as an exploration's page tells it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from project.data.audit import AuditReport, Finding
from project.data.exploration.explore import Exploration
from project.data.exploration.summary import Sentence, count, listing

_EXAMPLES = 3  # findings of a kind that the page quotes; audit.json has all


@dataclass(frozen=True)
class FindingGroup:
    """Findings of one kind: how many, the first few in full, what to do."""

    severity: str
    kind: str
    cause: str
    number: int
    examples: Sequence[str]
    repair: str


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


def audit_sentences(report: AuditReport | None) -> list[Sentence]:
    if report is None:
        return []
    errors, warnings = len(report.errors), len(report.warnings)
    if not errors and not warnings:
        return [Sentence("note", "The audit found nothing to repair.")]
    groups = [group for group in finding_groups(report) if group.severity != "info"]
    groups.sort(key=lambda group: (group.severity != "error", -group.number))
    kinds = listing([f"{group.number:,}\u00a0× {group.kind}" for group in groups])
    text = f"The audit found {count(errors, 'error')} and {count(warnings, 'warning')}: {kinds}."
    return [Sentence("warning" if errors else "note", text)]


def flagged_images(
    found: Exploration, report: AuditReport, split: str
) -> list[tuple[int, str, int | None]]:
    """The images of ``split`` that errors and warnings name: row, what is wrong, and the row of the
    annotation that it is about (None: the whole image). Classes left out are left out here too."""
    images = {int(image_id): i for i, image_id in enumerate(found.table.image_ids)}
    annotations = {int(number): m for m, number in enumerate(found.table.annotation_ids)}
    source = report.splits.get(split, {})
    file, folder = str(source.get("file")), str(source.get("images_dir"))
    return [
        (images[f.image_id], f.kind.replace("-", " "), annotations.get(f.annotation_id))
        for f in (*report.errors, *report.warnings)
        if f.image_id in images
        and (f.file == file or Path(f.file).is_relative_to(folder))
        and (f.annotation_id is None or f.annotation_id in annotations)
    ]
