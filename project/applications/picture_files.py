"""Pictures made of frames as files: a PNG for each image, a video for each video."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from project.applications.inputs import Frame, Source
from project.errors import UserError
from project.visualization.files import make_folder, write_png

import numpy as np


class PictureFiles:
    """Writes ``<folder>/<image>.png`` for each image and ``<folder>/<video>.mp4`` for each video.

    Videos have the rate of the frames that were read (at least one in ten seconds), and no sound.
    Encoders want even sides: of a frame with an odd one, the last row or column is left out.
    Pictures with transparency, which such videos can't hold, become a PNG for each frame.

    After ``close`` all files are complete, also where the work was stopped in between.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._video = None
        self._key = ""
        self._size = (0, 0)

    def add(self, frame: Frame, picture: np.ndarray) -> None:
        """Write what became of a frame, uint8 RGB ``[H, W, 3]`` or RGBA ``[H, W, 4]``."""
        if frame.source.moves and picture.shape[2] == 3:
            self._add_to_video(frame, picture)
        else:
            write_png(self._folder / f"{frame.key}.png", picture)

    def _add_to_video(self, frame: Frame, picture: np.ndarray) -> None:
        import cv2

        if self._video is None or self._key != frame.source.key:
            self.close()
            self._key = frame.source.key
            self._size = picture.shape[1] // 2 * 2, picture.shape[0] // 2 * 2
            self._video = self._new_video(frame)
        width, height = self._size
        if (picture.shape[1] // 2 * 2, picture.shape[0] // 2 * 2) != self._size:
            picture = cv2.resize(picture, self._size)  # few videos change their size on the way
        self._video.write(cv2.cvtColor(picture[:height, :width], cv2.COLOR_RGB2BGR))

    def _new_video(self, frame: Frame):
        import cv2

        file = self._folder / f"{self._key}.mp4"
        make_folder(file.parent)
        # MPEG-4 takes a rate for a fraction of 16-bit numbers: phones give such as 119.347.
        rate = max(float(f"{frame.rate:.4g}"), 0.1)
        video = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"mp4v"), rate, self._size)
        if not video.isOpened():
            raise UserError(f"video {file} can't be written; is there room, and may you write?")
        return video

    def close(self) -> None:
        """Finish the video that is being written."""
        if self._video is not None:
            self._video.release()
            self._video = None


def check_inputs_stay(
    sources: Sequence[Source], folder: Path, others: Iterable[str | Path] = ()
) -> None:
    """Raise a `UserError` if what `PictureFiles` writes into ``folder`` would replace an input.

    Args:
        others: files that are read besides the sources.
    """
    inputs = {os.path.realpath(source.path) for source in sources if source.kind != "camera"}
    inputs |= {os.path.realpath(other) for other in others}
    for source in sources:
        file = os.path.realpath(folder / f"{source.key}{'.mp4' if source.moves else '.png'}")
        if file in inputs:
            raise UserError(f"the input {file} would be replaced; take another output folder")
