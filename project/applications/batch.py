"""Predictions for everything a user points at, written as they come."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from project.applications.inputs import Frame, Source, count_frames, read_frames
from project.applications.outputs import OUTPUTS, OVERLAYS_FOLDER
from project.applications.picture_files import check_inputs_stay
from project.applications.predictor import Predictor, UnreadableImage
from project.errors import UserError, unknown_name

logger = logging.getLogger(__name__)

POLICIES = ("skip", "fatal")


@dataclass
class Summary:
    """What was done.

    Attributes:
        skipped: why an input couldn't be read, one line each.
    """

    frames: int = 0
    objects: int = 0
    skipped: list[str] = field(default_factory=list)


def predict_sources(
    predictor: Predictor,
    sources: Sequence[Source],
    output_dir: Path,
    *,
    save: Sequence[str] = ("coco", "overlays"),
    by_instance: bool = False,
    every: int = 1,
    max_frames: int | None = None,
    on_broken_image: str = "skip",
    progress: bool = True,
) -> Summary:
    """Predict on each frame of each source and write what ``save`` names, frame by frame.

    No more than ``predictor.batch_size`` frames are in memory. Where the work is stopped, also by
    Ctrl-C, the files of what was done are complete.

    Args:
        sources: of `project.applications.inputs.find_sources`.
        output_dir: made if missing; files of the same name are replaced.
        save: keys of `project.applications.outputs.OUTPUTS`.
        by_instance: overlays have another colour for each object instead of each class.
        every: of videos, every how manieth frame.
        max_frames: stop after so many frames; None for all.
        on_broken_image: "skip" names a file that can't be read in the log and goes on; "fatal".
        progress: a bar on the terminal.

    Raises:
        UserError: if an input would be replaced, nothing can be read, or nothing written.
    """
    _check_outputs(save)
    check_frames(every, max_frames, on_broken_image)
    if "overlays" in save:
        check_inputs_stay(sources, Path(output_dir, OVERLAYS_FOLDER))
    summary = Summary()
    frames = frames_of(sources, every, summary.skipped, fatal=on_broken_image == "fatal")
    with ExitStack() as stack:
        outputs = []
        for name in dict.fromkeys(save):
            options = {"by_instance": by_instance} if name == "overlays" else {}
            outputs.append(OUTPUTS[name](Path(output_dir), predictor.class_names, **options))
            stack.callback(outputs[-1].close)
        advance = stack.enter_context(progress_bar(sources, every, max_frames, shown=progress))
        for batch in batches_of(frames, predictor.batch_size, max_frames):
            images = [frame.image for frame in batch]
            for frame, found in zip(batch, predictor(images, channels="RGB"), strict=True):
                for output in outputs:
                    output.add(frame, found)
                summary.frames += 1
                summary.objects += len(found)
                advance.update()
    if not summary.frames:
        reason = f": {summary.skipped[0]}" if summary.skipped else ""
        raise UserError(f"none of the {len(sources)} inputs can be used{reason}")
    return summary


def _check_outputs(save: Sequence[str]) -> None:
    for name in save:
        if name not in OUTPUTS:
            raise UserError(unknown_name("output", name, OUTPUTS))
    if not save:
        raise UserError(f"nothing to save: name one or more of {', '.join(OUTPUTS)}")


def check_frames(every: int, max_frames: int | None, policy: str) -> None:
    """Raise a `UserError` for numbers of frames out of range, or an unknown policy."""
    if every < 1:
        raise UserError(f"every {every}th frame: expected at least 1")
    if max_frames is not None and max_frames < 1:
        raise UserError(f"at most {max_frames} frames: expected at least 1")
    if policy not in POLICIES:
        raise UserError(unknown_name("on_broken_image", policy, POLICIES))


def frames_of(
    sources: Sequence[Source], every: int, skipped: list[str], *, fatal: bool
) -> Iterator[Frame]:
    """The frames of all sources, one after another.

    Args:
        skipped: gets a line for each source that can't be read, which is also logged;
        fatal: unless that is to raise its error.
    """
    for source in sources:
        frames = read_frames(source, every)
        yield from frames if fatal else _skipping(frames, skipped)


def _skipping(frames: Iterator[Frame], skipped: list[str]) -> Iterator[Frame]:
    """``frames`` until one can't be read, which is noted."""
    try:
        yield from frames
    except UnreadableImage as error:
        skipped.append(str(error))
        logger.warning("skipped: %s", error)


def batches_of(frames: Iterator[Frame], size: int, max_frames: int | None) -> Iterator[list[Frame]]:
    """Lists of at most ``size`` frames, ``max_frames`` in all."""
    batch: list[Frame] = []
    for number, frame in enumerate(frames, 1):
        batch.append(frame)
        last = max_frames is not None and number >= max_frames
        if len(batch) == size or last:
            yield batch
            batch = []
        if last:
            frames.close()
            return
    if batch:
        yield batch


def progress_bar(sources: Sequence[Source], every: int, max_frames: int | None, *, shown: bool):
    """A bar on the terminal that counts frames, to be used as a context."""
    from tqdm import tqdm

    total = count_frames(sources, every)
    total = max_frames if total is None else min(total, max_frames or total)
    # disable=None: no bar where standard error is no terminal.
    return tqdm(total=total, unit="image", disable=None if shown else True)
