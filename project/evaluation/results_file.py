"""A JSON list of results that several processes write together, batch by batch.

Each process writes a part of its own, and the main one joins the parts: memory doesn't grow with
the dataset, and no process has to hold what all of them found.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from project.errors import UserError

import msgspec
from detectron2.utils import comm


class ResultsFile:
    """The parts of a list on disk, and the list that they become.

    Args:
        name: of the file, e.g. "coco_instances_results.json".
        output_dir: gets the file; None takes a temporary folder. All processes must reach it.
        distributed: all processes write one list together; else each writes its own.
    """

    def __init__(self, name: str, output_dir: str | None, distributed: bool) -> None:
        self._name, self._output_dir, self._distributed = name, output_dir, distributed
        self._part: BinaryIO | None = None
        self._folder: Path | None = None
        self._temporary: str | None = None

    def begin(self) -> None:
        """An empty part for this process."""
        self.close()
        if self._folder is None:
            self._folder = self._make_folder()
        self._part = self._part_file(comm.get_rank() if self._distributed else 0).open("wb")

    def add(self, results: Iterable[Any]) -> None:
        """Write results, anything that JSON has, to this process's part."""
        for result in results:
            self._part.write(b",\n" if self._part.tell() else b"")
            self._part.write(msgspec.json.encode(result))

    def close(self) -> None:
        """End this process's part."""
        if self._part is not None:
            self._part.close()
            self._part = None

    def join(self, num_parts: int) -> Path:
        """One JSON list of all parts, in the order of the processes; the parts are removed.

        Raises:
            UserError: if a part isn't in the folder.
        """
        target = self._folder / self._name
        parts = [self._part_file(rank) for rank in range(num_parts)]
        for part in parts:
            if not part.is_file():
                raise UserError(
                    f"{part} isn't there: all processes must write their predictions to one "
                    f"folder; set the evaluator's output_dir to a folder that all of them reach"
                )
        partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
        with partial.open("wb") as file:
            file.write(b"[")
            filled = [part for part in parts if part.stat().st_size]
            for number, part in enumerate(filled):
                file.write(b",\n" if number else b"")
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file)
            file.write(b"]")
        os.replace(partial, target)
        for part in parts:
            part.unlink()
        return target

    def forget_temporary(self) -> None:
        """Every process takes another temporary folder for the next list."""
        if self._temporary:
            shutil.rmtree(self._temporary)
            self._temporary = None
        if not self._output_dir:
            self._folder = None

    def _make_folder(self) -> Path:
        if self._output_dir:
            folder = Path(self._output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            return folder
        if not self._distributed or comm.is_main_process():
            self._temporary = tempfile.mkdtemp(prefix="predictions-")
        names = comm.all_gather(self._temporary) if self._distributed else [self._temporary]
        return Path(names[0])

    def _part_file(self, rank: int) -> Path:
        # Processes that judge on their own may share a folder.
        own = "" if self._distributed else f".{os.getpid()}"
        return self._folder / f"{self._name}.part{rank}{own}"
