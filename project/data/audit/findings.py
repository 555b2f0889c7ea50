"""What an audit says: findings, and the report that holds all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from project.data.audit.kinds import KINDS, Severity
from project.errors import UserError

EXIT_CLEAN, EXIT_ERRORS, EXIT_WARNINGS = 0, 1, 3  # 2 is a mistake of the user
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a data set, or worth knowing.

    Attributes:
        severity: "error" breaks training or evaluation, or falsifies them in silence; "warning"
            may; "info" is a fact that explains others or surprises people.
        kind: short stable slug; `project.data.audit.kinds` lists all.
        file: the annotation file or the image file that it is about.
        image_id, annotation_id: None where the finding isn't about one.
        what: a sentence with the numbers.
        repair: what to do; None where nothing needs to be done.
        cause: the kind of the finding that explains this one, which is then a consequence.
    """

    severity: Severity
    kind: str
    file: str
    image_id: int | None
    annotation_id: int | None
    what: str
    repair: str | None = None
    cause: str | None = None


def finding(
    kind: str,
    file: str | Path,
    what: str,
    *,
    image: int | None = None,
    annotation: int | None = None,
    cause: str | None = None,
) -> Finding:
    """A `Finding` of ``kind`` with the severity and the repair that all of its kind have."""
    severity, repair, _ = KINDS[kind]
    return Finding(severity, kind, str(file), image, annotation, what, repair, cause)


@dataclass(frozen=True)
class AuditReport:
    """All findings of one audit, errors first.

    Attributes:
        findings: consequences (those with a ``cause``) included.
        splits: split → what was looked at: file, folder, numbers of images and annotations.
        seconds: how long it took.
    """

    findings: tuple[Finding, ...]
    splits: dict[str, dict] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def errors(self) -> list[Finding]:
        return [f for f in self.findings if f.severity == "error"]

    @property
    def warnings(self) -> list[Finding]:
        return [f for f in self.findings if f.severity == "warning"]

    @property
    def exit_code(self) -> int:
        """0 without errors and warnings, 1 with errors, 3 with warnings only."""
        if self.errors:
            return EXIT_ERRORS
        return EXIT_WARNINGS if self.warnings else EXIT_CLEAN

    def to_json(self) -> bytes:
        """Everything as JSON text, all ASCII: file names may hold bytes that aren't UTF-8."""
        document = {
            "exit_code": self.exit_code,
            "counts": {s: sum(f.severity == s for f in self.findings) for s in SEVERITIES},
            "splits": self.splits,
            "findings": [asdict(f) for f in self.findings],
        }
        return json.dumps(document, indent=1).encode() + b"\n"

    def write(self, path: str | Path) -> Path:
        """Write `to_json` to ``path``; its folder is made if need be.

        Raises:
            UserError: if it can't be written.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.to_json())
        except OSError as error:
            raise UserError(f"can't write {path}: {error.strerror}") from None
        return path

    def table(self, examples: int = 3) -> str:
        """One line a kind with its count, consequences below their cause; then examples."""
        from project.data.audit.table import findings_table

        table = findings_table(self.findings, examples)
        # Terminals can't show the bytes of a file name that aren't UTF-8.
        return table.encode("utf-8", "backslashreplace").decode()


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first, then by kind, file and ids."""
    return tuple(
        sorted(
            findings,
            key=lambda f: (
                SEVERITIES.index(f.severity),
                f.kind,
                f.file,
                f.image_id or 0,
                f.annotation_id or 0,
            ),
        )
    )
