"""Folders that appear whole or not at all, and image files that cost no second copy."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from project.errors import UserError


@contextmanager
def new_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder beside ``target`` that takes its name once the body has succeeded.

    If the body raises, nothing of it stays. With ``overwrite`` an older ``target`` stands untouched
    until the new one is complete; then the two are swapped and the old one is deleted.

    Raises:
        UserError: if ``target`` exists, before or after the body, and ``overwrite`` isn't set, or
            can't be made.
    """
    check_absent(target, overwrite)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}-new-", dir=target.parent))
    except OSError as error:
        raise UserError(f"can't write {target}: {error.strerror}") from None
    try:
        work.chmod(0o777 & ~_umask())  # mkdtemp makes it private
        yield work
        check_absent(target, overwrite)  # once more: another process may have made it meanwhile
        _swap(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check_absent(target: Path, overwrite: bool) -> None:
    """Raise a `UserError` if ``target`` exists and isn't to be replaced."""
    if os.path.lexists(target) and not overwrite:
        raise UserError(f"{target} already exists; choose another name or pass --overwrite")


def _swap(work: Path, target: Path) -> None:
    if not os.path.lexists(target):
        work.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
    try:
        target.rename(old / target.name)
        work.rename(target)
    except BaseException:
        _put_back(old / target.name, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _put_back(kept: Path, target: Path) -> None:
    try:
        if os.path.lexists(kept):
            kept.rename(target)
        kept.parent.rmdir()
    except OSError as error:
        raise UserError(
            f"{target} can't be replaced or put back: {error.strerror}; what it was is now {kept}"
        ) from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def place_file(source: Path, target: Path, *, copy: bool = False) -> None:
    """Put ``source`` at ``target``: a hard link, else a symbolic link, else or if asked a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source = source.resolve()
    # The source may lie on another file system, or on one without such links.
    if copy or not (_linked(os.link, source, target) or _linked(os.symlink, source, target)):
        shutil.copyfile(source, target)


def _linked(link: Callable[[Path, Path], None], source: Path, target: Path) -> bool:
    try:
        link(source, target)
    except OSError:
        return False
    return True
