"""From images and videos with people to the same before another background."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from project.applications.background.compose import (
    DECONTAMINATIONS,
    composite,
    cut_out,
    decide_away_from_edges,
    object_colors,
)
from project.applications.background.harmonise import harmonise
from project.applications.background.smoothing import AlphaSmoother
from project.applications.batch import (
    POLICIES,
    batches_of,
    check_frames,
    frames_of,
    progress_bar,
)
from project.applications.choice import Choice, NobodyFound, soft_mask
from project.applications.inputs import Frame, Source
from project.applications.picture_files import PictureFiles, check_inputs_stay
from project.applications.predictor import Predictor
from project.errors import UserError, unknown_name
from project.modeling.postprocess.matting import METHODS, default_band, refine_alpha

import numpy as np
from detectron2.structures import Instances

logger = logging.getLogger(__name__)

Backdrop = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Look:
    """How objects are cut out and put before the backdrop.

    Attributes:
        refine: how alpha follows from the model's probability; see
            `project.modeling.postprocess.matting.refine_alpha`.
        band: pixels to each side of the mask's edge that may be wrong; None: 1.2 % of the diagonal.
        decontaminate: how the objects' colours are freed of the old background; see
            `project.applications.background.object_colors`.
        harmonise: 0 (off) to 1: how far the objects take the backdrop's light and colours.
        smoothing: of alpha over the frames of a video, 0 (off) to below 1; see `AlphaSmoother`.
    """

    refine: str = "trimap"
    band: int | None = None
    decontaminate: str = "blur"
    harmonise: float = 0.0
    smoothing: float = 0.6

    def __post_init__(self) -> None:
        for kind, name, known in (
            ("refinement", self.refine, METHODS),
            ("decontamination", self.decontaminate, DECONTAMINATIONS),
        ):
            if name not in known:
                raise UserError(unknown_name(kind, name, known))
        if self.band is not None and self.band < 1:
            raise UserError(f"the band is {self.band}; expected at least 1 pixel")
        if not 0 <= self.harmonise <= 1:
            raise UserError(f"harmonise is {self.harmonise:g}; expected 0 to 1")
        AlphaSmoother(self.smoothing)  # raises for what it can't take, before a model is loaded

    def alpha(self, image: np.ndarray, probability: np.ndarray) -> np.ndarray:
        """How much of each pixel is the object, float32 ``[H, W]``, 0-1.

        Unless nothing is to be refined, a doubtful probability counts near the mask's edge alone:
        elsewhere it would leave bodies that one sees through, and ghosts.
        """
        if self.refine != "none":
            band = self.band or default_band(*probability.shape)
            probability = decide_away_from_edges(probability, 2 * band)
        return refine_alpha(image, probability, self.refine, band=self.band)

    def picture(self, image: np.ndarray, alpha: np.ndarray, backdrop: Backdrop | None):
        """The finished picture, uint8: RGB, or RGBA with straight colours without a backdrop."""
        colors = object_colors(image, alpha, self.decontaminate)
        if backdrop is None:
            return cut_out(colors, alpha)
        behind = backdrop(image, alpha)
        if self.harmonise:
            colors = harmonise(colors, alpha, behind, self.harmonise)
        return composite(colors, alpha, behind)


@dataclass
class Replaced:
    """What was done.

    Attributes:
        frames: pictures written.
        skipped: why an input couldn't be read, one line each.
        without: images that don't show what was asked for, one line each; they are not written.
        empty_frames: of videos, that don't show it; the backdrop alone is written.
    """

    frames: int = 0
    skipped: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    empty_frames: int = 0


def replace_background(
    predictor: Predictor,
    sources: Sequence[Source],
    output_dir: Path,
    backdrop: Backdrop | None,
    *,
    class_name: str = "person",
    choice: Choice | None = None,
    look: Look | None = None,
    every: int = 1,
    max_frames: int | None = None,
    on_broken_image: str = "skip",
    on_nobody: str = "skip",
    progress: bool = True,
) -> Replaced:
    """Put the chosen objects of each frame before ``backdrop``; pictures have their frames' sizes.

    Args:
        sources: of `project.applications.inputs.find_sources`.
        output_dir: gets ``<image>.png`` and ``<video>.mp4``, see `PictureFiles`; made if missing.
        backdrop: gives the uint8 RGB ``[H, W, 3]`` to stand behind the objects of an image with
            their alpha: `ImageBackdrop`, `ColorBackdrop`, `BlurBackdrop`; None: transparent.
        class_name: of the model's classes.
        choice: which objects of the class, in each frame anew; None for all.
        every: of videos, every how manieth frame.
        max_frames: stop after so many frames; None for all.
        on_broken_image: "skip" names a file that can't be read in the log and goes on; "fatal".
        on_nobody: "skip" names an image without the object in the log and goes on; "fatal".
        progress: a bar on the terminal.

    Raises:
        NobodyFound: if no frame at all shows the object.
        UserError: if an option is out of range, an input or the background's file would be
            replaced, nothing can be read, or nothing written.
    """
    look = look or Look()
    check_frames(every, max_frames, on_broken_image)
    if on_nobody not in POLICIES:
        raise UserError(unknown_name("on_nobody", on_nobody, POLICIES))
    if look.harmonise and not getattr(backdrop, "takes_light", False):
        raise UserError("harmonise needs a background image or colour to take the light from")
    # Without a backdrop a video becomes a folder of frames, not a file of its name.
    as_files = [source for source in sources if backdrop is not None or not source.moves]
    behind = getattr(backdrop, "file", None)
    check_inputs_stay(as_files, Path(output_dir), () if behind is None else (behind,))
    index = predictor.class_index(class_name)
    done = Replaced()
    smoother = AlphaSmoother(look.smoothing)
    frames = frames_of(sources, every, done.skipped, fatal=on_broken_image == "fatal")
    with ExitStack() as stack:
        files = PictureFiles(Path(output_dir))
        stack.callback(files.close)
        bar = stack.enter_context(progress_bar(sources, every, max_frames, shown=progress))
        last = None
        for frame, found in _found(predictor, frames, max_frames):
            if frame.source is not last:
                smoother.reset()
                last = frame.source
            probability = _probability(found, index, class_name, choice, frame, on_nobody, done)
            bar.update()
            if probability is None:
                continue
            alpha = look.alpha(frame.image, probability)
            if frame.source.moves:
                alpha = smoother(frame.image, alpha)
            files.add(frame, look.picture(frame.image, alpha, backdrop))
            done.frames += 1
    _check_done(done, class_name, len(sources))
    return done


def _found(
    predictor: Predictor, frames: Iterator[Frame], max_frames: int | None
) -> Iterator[tuple[Frame, Instances]]:
    for batch in batches_of(frames, predictor.batch_size, max_frames):
        images = [frame.image for frame in batch]
        yield from zip(batch, predictor(images, channels="RGB"), strict=True)


def _probability(
    found: Instances,
    index: int,
    class_name: str,
    choice: Choice | None,
    frame: Frame,
    policy: str,
    done: Replaced,
) -> np.ndarray | None:
    """How probable the object is; zeros in a video's frame without it, None for such an image."""
    try:
        return soft_mask(found, index, class_name, choice)
    except NobodyFound as error:
        where = f"{frame.file_name}: {error}"
        if policy == "fatal":
            raise NobodyFound(where) from error
        if frame.source.moves:  # leaving it out would make the video shorter
            done.empty_frames += 1
            return np.zeros(frame.image.shape[:2], np.float32)
        done.without.append(where)
        logger.warning("skipped: %s", where)
        return None


def _check_done(done: Replaced, class_name: str, num_sources: int) -> None:
    if done.without and done.frames == done.empty_frames:
        raise NobodyFound(f"none of the {num_sources} inputs can be used: {done.without[0]}")
    if done.frames and done.frames == done.empty_frames:
        raise NobodyFound(f"no {class_name} found in any of the {done.frames} frames")
    if not done.frames:
        reason = f": {done.skipped[0]}" if done.skipped else ""
        raise UserError(f"none of the {num_sources} inputs can be used{reason}")
