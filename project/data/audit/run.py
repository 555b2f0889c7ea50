"""The whole audit: annotation files, image files, then what only shows between splits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from project.data.audit.causes import with_causes
from project.data.audit.copies import Copy, find_copies
from project.data.audit.findings import AuditReport, Finding, ordered
from project.data.audit.ids import check_across, check_ids
from project.data.audit.images import (
    Picture,
    check_images,
    inspect_splits,
    num_cores,
    unlisted_images,
)
from project.data.audit.objects import Objects, check_objects
from project.data.audit.source import Split, read_split
from project.errors import UserError

Sources = Mapping[str, tuple[Path | None, Path | None]]


@dataclass(frozen=True)
class Audit:
    """A report with what it was made from; `project.data.audit.repair` works from it.

    Attributes:
        objects: per split, the annotations as columns.
        pictures: the image files of all splits.
        copies: duplicates and leaks among them.
    """

    report: AuditReport
    splits: list[Split]
    objects: list[Objects]
    pictures: list[Picture]
    copies: list[Copy]


def audit_files(sources: Sources, *, workers: int = 0, progress: bool = True) -> AuditReport:
    """What is wrong with some splits, within each of them and between them.

    Args:
        sources: split → (COCO annotation file, image folder). Without a folder only the
            annotations are looked at; without a file all images of the folder are. Name a source
            once, even if several subsets are drawn from it: else all of it leaks.
        workers: threads; 0 takes one for each core.
        progress: show a bar on stderr.

    Raises:
        UserError: if there is nothing to look at, a file or folder doesn't exist, or an annotation
            file is no COCO file at all.
    """
    return examine(sources, workers=workers, progress=progress).report


def examine(sources: Sources, *, workers: int = 0, progress: bool = True) -> Audit:
    """`audit_files` with everything that was read."""
    if not sources:
        raise UserError("nothing to audit: give at least one split")
    if workers < 0:
        raise UserError(f"workers is {workers}; expected 0 (one for each core) or more")
    workers = workers or num_cores()
    start = time.perf_counter()
    splits = [read_split(name, *source) for name, source in sources.items()]
    findings: list[Finding] = []
    with ThreadPoolExecutor(workers) as pool:
        objects = [Objects(split, pool) for split in splits]
    for split, columns in zip(splits, objects, strict=True):
        findings += [*check_ids(split), *check_objects(columns)]
    findings += check_across(splits)
    pictures = inspect_splits(splits, workers, progress)
    copies = find_copies(pictures)
    findings += [*check_images(pictures), *unlisted_images(splits)]
    findings += [copy.finding() for copy in copies]
    report = AuditReport(
        ordered(with_causes(findings, pictures)),
        {split.name: split.summary() for split in splits},
        time.perf_counter() - start,
    )
    return Audit(report, splits, objects, pictures, copies)
