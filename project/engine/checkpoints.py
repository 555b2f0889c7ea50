"""Checkpoints of a run: checksummed, taken in time, found again when the newest is damaged.

Beside each ``model_*.pth`` stands ``model_*.pth.sha256`` in the form of ``sha256sum``, so that
``sha256sum -c`` checks a folder without us.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import re
import shutil
import time
from pathlib import Path
from typing import Any

from project.errors import UserError, one_line

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import nn

logger = logging.getLogger(__name__)

_NAME = re.compile(r"model_(\d{7}|final)\.pth")


class RunCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer; each file gets a checksum and the classes it knows.

    Args:
        model, save_dir: as in `DetectionCheckpointer`.
        classes: names in the order of the model's outputs, kept in the file as ``classes``.
        **checkpointables: as in `DetectionCheckpointer`.
    """

    def __init__(self, model: nn.Module, save_dir: str, *, classes: list[str], **checkpointables):
        super().__init__(model, save_dir, **checkpointables)
        self.classes = classes

    def save(self, name: str, **kwargs: Any) -> None:
        """Write ``name.pth`` and its checksum."""
        if not (self.save_dir and self.save_to_disk):
            return
        file = Path(self.save_dir, f"{name}.pth")
        checksum_file(file).unlink(missing_ok=True)  # that of an older file of this name
        super().save(name, classes=self.classes, **kwargs)
        temporary = Path(f"{checksum_file(file)}.tmp")
        temporary.write_text(f"{sha256(file)}  {file.name}\n", encoding="ascii")
        temporary.replace(checksum_file(file))


def checksum_file(file: Path) -> Path:
    """Where the checksum of a checkpoint stands."""
    return Path(f"{file}.sha256")


def sha256(file: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def is_sound(file: Path, checkpointer: DetectionCheckpointer) -> bool:
    """Whether a checkpoint is what was saved; without a checksum, whether it can be read."""
    if not file.is_file():
        return False
    checksum = checksum_file(file)
    # A power cut may leave an empty one.
    if checksum.is_file() and (told := checksum.read_text("ascii", errors="replace").split()):
        return told[0] == sha256(file)
    try:
        checkpointer._load_file(str(file))
    except Exception as error:  # damaged bytes raise anything
        logger.warning("%s", one_line(error))
        return False
    return True


def choose_checkpoint(checkpointer: DetectionCheckpointer) -> Path | None:
    """The file that a resumed run goes on from, noted in ``last_checkpoint``; None without any.

    It is the newest one, or the newest before it that isn't damaged. All ranks call it together.

    Raises:
        UserError: if there are checkpoints and all of them are damaged or lost.
    """
    folder = Path(checkpointer.save_dir)
    found: tuple[Path | None, bool] = None, False
    if comm.is_main_process():
        found = _newest_sound(folder, checkpointer), bool(checkpoint_files(folder))
    chosen, some = comm.all_gather(found)[0]
    if chosen is None and some:
        raise UserError(
            f"no checkpoint in {folder} can be read, so there is nothing to resume from; train "
            f"anew in another folder (train.output_dir=FOLDER), or from other weights "
            f"(train.init_checkpoint=FILE)"
        )
    return chosen


def _newest_sound(folder: Path, checkpointer: DetectionCheckpointer) -> Path | None:
    files = checkpoint_files(folder)
    for file in files:
        if is_sound(file, checkpointer):
            if file != files[0]:
                logger.warning("Going back to %s", file)
            checkpointer.tag_last_checkpoint(file.name)
            return file
        logger.warning("Checkpoint %s is damaged or lost", file)
    return None


def newest_name(folder: Path) -> str:
    """The file that a run's ``last_checkpoint`` names, "" without one; it may be lost."""
    pointer = folder / "last_checkpoint"
    # Damaged bytes are the name of no file.
    return Path(pointer.read_text("utf-8", "replace").strip()).name if pointer.is_file() else ""


def checkpoint_files(folder: Path) -> list[Path]:
    """A run's checkpoints, newest first; the one in ``last_checkpoint`` leads, lost or not."""
    newest = newest_name(folder)
    found = [file for file in folder.glob("model_*.pth") if _NAME.fullmatch(file.name)]
    # By time, not by name: a finished run that goes on has newer files than model_final.pth.
    found.sort(key=lambda file: (file.stat().st_mtime_ns, file.name), reverse=True)
    leading = [folder / newest] if newest else []
    return leading + [file for file in found if file.name != newest]


class CheckpointHook(HookBase):
    """Saves every ``period`` iterations and after the last one, and keeps the newest files.

    The losses up to here are read first, so that no weights are saved that made them infinite. All
    ranks register it; the main one writes.

    A full disk doesn't end the run: it tells so, goes on and tries again in each step that writes
    metrics. After the last step it waits until there is room.

    Args:
        checkpointer: writes the files.
        period: in iterations.
        max_to_keep: files that stay, at least 2: if the newest is damaged, the one before is used.
        retry_period: iterations between attempts on a full disk.
        disk_wait: seconds to wait for room at the end of the run.
    """

    def __init__(
        self,
        checkpointer: DetectionCheckpointer,
        *,
        period: int,
        max_to_keep: int = 3,
        retry_period: int = 20,
        disk_wait: float = 3600,
    ) -> None:
        self.checkpointer, self.period, self.max_to_keep = checkpointer, period, max_to_keep
        self.retry_period, self.disk_wait = retry_period, disk_wait
        self.saved = -1  # iteration of the newest file; a resumed run sets it
        self._overdue = False

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        retry = self._overdue and done % self.retry_period == 0
        if done >= self.trainer.max_iter:
            self.save("model_final")
        elif done % self.period == 0 or retry:
            self.save(f"model_{self.trainer.iter:07d}", patient=False)

    def save(self, name: str = "", *, patient: bool = True, again: bool = False) -> None:
        """Save now, unless this iteration is saved already; on all ranks together.

        Args:
            name: of the file, by default the iteration's.
            patient: wait for room on a full disk.
            again: save even if this iteration is saved already.

        Raises:
            UserError: if there is no room in time.
        """
        iteration = min(self.trainer.iter, self.trainer.max_iter - 1)
        if self.saved == iteration and not again:
            return
        self.trainer.read_losses()
        name = name or f"model_{iteration:07d}"
        deadline = time.monotonic() + (self.disk_wait if patient else 0)
        while (problem := self._try(name, iteration)) and time.monotonic() < deadline:
            # Short enough for the watchdog, who hears of each attempt.
            time.sleep(min(5.0, max(deadline - time.monotonic(), 0.0)))
        if problem and patient:
            raise UserError(problem)
        self._overdue = bool(problem)
        if not problem:
            self.saved = iteration
            self._drop_old()

    def _try(self, name: str, iteration: int) -> str:
        """What kept the file from being written, or ""."""
        folder = Path(self.checkpointer.save_dir)
        self.trainer.beat("checkpoint")
        try:
            self.checkpointer.save(name, iteration=iteration)
        except (OSError, RuntimeError) as error:  # torch's own word for a failed write hides it
            if not is_full(error):
                raise
            newest = next((f.name for f in checkpoint_files(folder) if f.is_file()), "none")
            problem = (
                f"no room for checkpoint {name}.pth: {folder} has "
                f"{shutil.disk_usage(folder).free / 2**20:.0f} MiB left; the newest one there is "
                f"{newest}. Make room"
            )
            logger.error("%s: it is tried again", problem)
            return f"{problem}, then go on with --resume"
        return ""

    def _drop_old(self) -> None:
        if not self.checkpointer.save_to_disk:
            return
        for old in checkpoint_files(Path(self.checkpointer.save_dir))[self.max_to_keep :]:
            checksum_file(old).unlink(missing_ok=True)
            old.unlink(missing_ok=True)


def is_full(error: BaseException | None) -> bool:
    """Whether ``error``, or what is behind it, came from writing to a disk without room."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False
