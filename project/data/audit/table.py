"""Findings as text: the table on screen, and the few lines that other tools print."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from project.data.audit.findings import SEVERITIES, AuditReport, Finding

_WIDTH = 32  # of the column of kinds


def findings_table(findings: Sequence[Finding], examples: int = 3) -> str:
    """One line a kind with its count, consequences indented below their cause; then examples."""
    if not findings:
        return "nothing found"
    counts = Counter((f.cause, f.kind) for f in findings)
    severities = {f.kind: f.severity for f in findings}
    kinds = _by_gravity({kind for _, kind in counts}, severities)
    lines = [f"{'severity':10}{'kind':{_WIDTH}}{'count':>7}"]
    for kind in kinds:
        if counts[None, kind]:
            lines.append(_row(severities[kind], kind, counts[None, kind]))
            lines += _consequences(kind, kinds, counts, severities, (kind,))
    if examples:
        lines += ["", *_examples(findings, kinds, examples)]
    return "\n".join(lines)


def _row(severity: str, name: str, count: int) -> str:
    return f"{severity:10}{name:{_WIDTH}}{count:7,}"


def _consequences(
    cause: str, kinds: list[str], counts: Counter, severities: dict, above: tuple[str, ...]
) -> list[str]:
    lines = []
    for kind in kinds:
        if counts[cause, kind]:
            name = "  " * len(above) + "> " + kind
            lines.append(_row(severities[kind], name, counts[cause, kind]))
            if kind not in above and not counts[None, kind]:
                lines += _consequences(kind, kinds, counts, severities, (*above, kind))
    return lines


def _examples(findings: Sequence[Finding], kinds: list[str], number: int) -> list[str]:
    by_kind = defaultdict(list)
    for found in findings:
        by_kind[found.kind].append(found)
    lines = []
    for kind in kinds:
        shown = sorted(by_kind[kind], key=lambda f: f.cause is not None)  # own ones first
        lines.append(f"{shown[0].severity}: {kind}")
        lines += [f"  {_where(found)}: {found.what}" for found in shown[:number]]
        if len(shown) > number:
            lines.append(f"  and {len(shown) - number:,} more")
        if shown[0].repair:
            lines.append(f"  repair: {shown[0].repair}")
    return lines


def _where(found: Finding) -> str:
    parts = [found.file]
    if found.image_id is not None:
        parts.append(f"image {found.image_id}")
    if found.annotation_id is not None:
        parts.append(f"annotation {found.annotation_id}")
    return ", ".join(parts)


def _by_gravity(kinds: Iterable[str], severities: dict[str, str]) -> list[str]:
    return sorted(kinds, key=lambda kind: (SEVERITIES.index(severities[kind]), kind))


def summarise(report: AuditReport) -> str:
    """One line for tools whose main business is something else.

    Errors and warnings by kind with their counts; consequences count with their kind.
    """
    parts = []
    for severity, found in (("error", report.errors), ("warning", report.warnings)):
        if found:
            counts = Counter(f.kind for f in found)
            listed = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
            parts.append(f"{len(found):,} {severity}{'s' * (len(found) != 1)} ({listed})")
    return f"audit: {'; '.join(parts) or 'no error, no warning'}"
