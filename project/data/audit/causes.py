"""Groups consequences under their cause: what one fault of an image does to its annotations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from project.data.audit.findings import Finding
from project.data.audit.images import Picture

# What follows from a record with the wrong size.
_OF_SIZE = {"box-outside-image", "box-out-of-frame", "mask-out-of-frame", "rle-size"}


def with_causes(findings: Sequence[Finding], pictures: Iterable[Picture]) -> list[Finding]:
    """``findings`` with the causes that only show when annotations and images meet."""
    wrong_size = {
        (str(picture.split.file), picture.image_id)
        for picture in pictures
        if _size_differs(picture)
    }
    return [
        replace(found, cause="size-mismatch")
        if found.kind in _OF_SIZE and (found.file, found.image_id) in wrong_size
        else found
        for found in findings
    ]


def _size_differs(picture: Picture) -> bool:
    sizes = picture.facts.upright_size, picture.record_size
    return min(map(min, sizes)) > 0 and sizes[0] != sizes[1]
