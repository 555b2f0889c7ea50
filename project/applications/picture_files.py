"""Pictures made of frames as files: a PNG for each image, a video for each video."""

from __future__ import annotations

from pathlib import Path

from project.applications.inputs import Frame
from project.errors import UserError
from project.visualization.files import make_folder, write_png

import numpy as np


class PictureFiles:
    """Writes ``<folder>/<image>.png`` for each image and ``<folder>/<video>.mp4`` for each video.

    Videos have the rate of the frames that were read, and no sound. Encoders want even sides: of
    a frame with an odd one, the last row or column is left out. Pictures with transparency, which
    such videos can't hold, become a PNG for each frame.

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
        video = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"mp4v"), frame.rate, self._size)
        if not video.isOpened():
            raise UserError(f"video {file} can't be written; is there room, and may you write?")
        return video

    def close(self) -> None:
        """Finish the video that is being written."""
        if self._video is not None:
            self._video.release()
            self._video = None
