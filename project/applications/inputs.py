"""What to predict on, one frame after another: image files, folders, globs, videos, a camera."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from project.applications.predictor import UnreadableImage, read_rgb
from project.errors import UserError
from project.visualization.files import picture_name

import numpy as np

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")
USUAL_RATE = 25.0  # frames a second, where a video doesn't tell


@dataclass(frozen=True)
class Source:
    """An image or video file, or a camera.

    Attributes:
        path: as the user gave it, or as it stands in the folder given; a camera's number.
        key: a name for its outputs: no folder, no special signs, unlike all others.
        kind: "image", "video" or "camera".
    """

    path: str
    key: str
    kind: str

    @property
    def moves(self) -> bool:
        """Whether it has several frames."""
        return self.kind != "image"


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture: an image, or a frame of a video.

    Attributes:
        image: uint8 RGB ``[H, W, 3]``, upright.
        number: of the frame in its video, from 0; None for an image.
        rate: frames a second, of those that are read; 0 for an image.
    """

    image: np.ndarray
    source: Source
    number: int | None = None
    rate: float = 0.0

    @property
    def key(self) -> str:
        """Where its outputs stand: "dog", or "clip/000012" for a frame."""
        return self.source.key if self.number is None else f"{self.source.key}/{self.number:06}"

    @property
    def file_name(self) -> str:
        """What it is called in COCO files: the path, with a frame's number behind it."""
        path = self.source.path
        return path if self.number is None else f"{path}#{self.number:06}"


def find_sources(arguments: Sequence[str], camera: int | None = None) -> list[Source]:
    """What the arguments mean, in their order, each file once.

    A folder stands for the images and videos in it and below it, by name. A pattern (``*``, ``?``,
    ``[...]``, ``**``) stands for the files that it matches, unless there is a file of that name.

    Raises:
        UserError: if an argument leads to no file, or there is none.
    """
    paths: dict[str, str] = {}  # real path → as given
    for argument in map(str, arguments):
        for path in _files(argument):
            paths.setdefault(os.path.realpath(path), path)
    taken: set[str] = set()
    sources = [
        Source(path, _key(path, taken), "video" if _has_suffix(path, VIDEO_SUFFIXES) else "image")
        for path in paths.values()
    ]
    if camera is not None:
        if camera < 0:  # OpenCV may crash
            raise UserError(f"camera {camera}: expected its number, from 0")
        sources.append(Source(str(camera), _key(f"camera{camera}", taken), "camera"))
    if not sources:
        raise UserError("nothing to predict on: give images, folders, patterns, videos or a camera")
    return sources


def _files(argument: str) -> list[str]:
    if os.path.isfile(argument):
        return [argument]
    known = IMAGE_SUFFIXES + VIDEO_SUFFIXES
    if os.path.isdir(argument):
        found = (os.path.join(folder, n) for folder, _, names in os.walk(argument) for n in names)
        if files := sorted(path for path in found if _has_suffix(path, known)):
            return files
        raise UserError(f"folder {argument} holds no image or video ({' '.join(known)})")
    if not glob.has_magic(argument):
        raise UserError(f"{argument} does not exist")
    matched = sorted(path for path in glob.glob(argument, recursive=True) if os.path.isfile(path))
    if not matched:
        raise UserError(f"no file matches {argument}")
    return matched


def _has_suffix(path: str, suffixes: tuple[str, ...]) -> bool:
    return path.lower().endswith(suffixes)


def _key(path: str, taken: set[str]) -> str:
    return picture_name(path, taken).removesuffix(".png")


def read_frames(source: Source, every: int = 1) -> Iterator[Frame]:
    """The frames of a source, of a video every ``every``-th, decoded as they are asked for.

    Raises:
        UnreadableImage: if it can't be opened, or has no frame.
    """
    if source.moves:
        yield from _video_frames(source, every)
    else:
        yield Frame(read_rgb(source.path), source)


def _video_frames(source: Source, every: int) -> Iterator[Frame]:
    import cv2

    capture = _open(source)
    try:
        rate = capture.get(cv2.CAP_PROP_FPS)
        rate = (rate if 0 < rate < 1000 else USUAL_RATE) / every
        number = 0
        while capture.grab():
            if number % every == 0:
                decoded, image = capture.retrieve()
                if not decoded:
                    break
                yield Frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), source, number, rate)
            number += 1
        if number == 0:
            raise UnreadableImage(f"{source.kind} {source.path} has no frame that can be read")
    finally:
        capture.release()


def _open(source: Source):
    """The ``cv2.VideoCapture`` of a video or camera."""
    if source.kind == "video" and not os.path.isfile(source.path):
        raise UnreadableImage(f"video {source.path} does not exist")
    capture = _capture(source)
    if not capture.isOpened():
        capture.release()
        remedy = "is there one, free to use?" if source.kind == "camera" else "is it a video?"
        raise UnreadableImage(f"{source.kind} {source.path} can't be opened; {remedy}")
    return capture


def _capture(source: Source):
    try:
        source.path.encode()
    except UnicodeEncodeError:  # OpenCV would crash
        what = f"{source.kind} {source.path!r}"
        raise UnreadableImage(f"{what} has a name that isn't UTF-8; rename it") from None
    # Both would write lines of their own about files that can't be opened.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    if source.kind == "camera":
        return cv2.VideoCapture(int(source.path))
    # Other backends would take a name with "%03d" for a series of images.
    return cv2.VideoCapture(source.path, cv2.CAP_FFMPEG)


def count_frames(sources: Sequence[Source], every: int = 1) -> int | None:
    """How many frames there will be, for a progress bar; None where nobody knows (a camera)."""
    import cv2

    total = 0
    for source in sources:
        if source.kind == "camera":
            return None
        if source.kind == "image":
            total += 1
            continue
        try:
            capture = _capture(source)
        except UnreadableImage:
            continue
        # A promise of the file's head: not always kept.
        total += max(-(-int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) // every), 0)
        capture.release()
    return total
