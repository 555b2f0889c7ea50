"""Images that can't be trained on: named, counted and skipped, or fatal."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from project.errors import UserError, unknown_name

logger = logging.getLogger(__name__)
POLICIES = ("skip", "fatal")
SKIPPED = "skipped_images"  # key of a mapped record: what broke before it, as file → reason


class BrokenImage(UserError):
    """An image file that is missing, damaged, or of another size than its annotations are for.

    The first argument says so in words and is all that survives the way out of a loader process.
    """

    def __init__(self, what: str, file_name: str = "") -> None:
        super().__init__(what)
        self.file_name = file_name


class OrNext:
    """Maps a record; where its image is broken, the next one of the dataset that isn't.

    The replacement follows from the index alone, so one seed still gives one run.

    Args:
        mapper: raises `BrokenImage`, or gives None as Detectron2's mappers may.
        policy: "skip", or "fatal", which lets the error through.
    """

    def __init__(self, records: Sequence[dict], mapper: Callable, policy: str) -> None:
        if policy not in POLICIES:
            raise UserError(unknown_name("on_broken_image", policy, POLICIES))
        self._records, self._mapper, self._policy = records, mapper, policy

    def __call__(self, index: int, position: int) -> dict:
        """The mapped record ``index``, or its replacement with what was skipped under `SKIPPED`.

        Args:
            position: the sample's place in the run, the key ``position`` of what the mapper gets
                and of what comes out.

        Raises:
            UserError: if no image of the dataset can be used.
        """
        skipped: dict[str, str] = {}
        for number in range(len(self._records)):
            result = self._try((index + number) % len(self._records), position)
            if not isinstance(result, BrokenImage):
                noted = {SKIPPED: skipped} if skipped else {}
                return {**result, "position": position, **noted}
            skipped[result.file_name] = str(result)
        raise UserError(
            f"none of the {len(self._records)} images can be used; {next(iter(skipped.values()))}"
        )

    def _try(self, index: int, position: int) -> dict | BrokenImage:
        record = {**self._records[index], "position": position}
        try:
            result = self._mapper(record)
            if result is None:
                name = record.get("file_name", f"number {index}")
                raise BrokenImage(f"the mapper makes nothing of image {name}", name)
        except BrokenImage as error:
            if self._policy == "fatal":
                raise
            return error
        return result


class BrokenImages:
    """What was skipped so far; each file is named once in the log.

    Attributes:
        counts: file → how often it was drawn and replaced.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def take(self, batch: Iterable[dict]) -> None:
        """Count what the records of ``batch`` replace, and remove their notes about it."""
        for record in batch:
            for file_name, reason in record.pop(SKIPPED, {}).items():
                if not self.counts[file_name]:
                    logger.warning(
                        "skipped, another image takes its place: %s (`python tools/audit.py` "
                        "finds all such images)",
                        reason,
                    )
                self.counts[file_name] += 1
