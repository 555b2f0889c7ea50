"""How well people are cut out of the scenes, whose true alpha is known, step by step.

A scene and its twin without objects tell the true picture before any new background ``N``: where
nothing but people hides the twin ``B``, the image is ``I = alpha F + (1 - alpha) B`` and the truth
``alpha F + (1 - alpha) N = I + (1 - alpha) (N - B)``, so F needn't be known.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from project.applications import NobodyFound, Predictor
from project.applications.background import Look, composite, object_colors
from project.benchmarks.machine import describe_machine
from project.data.scenes import Scene, draw_scene
from project.data.scenes.dataset import FIRST_INDEX
from project.errors import UserError
from project.modeling.postprocess.matting import METHODS

import numpy as np

BACKDROPS = ((0, 177, 64), (250, 250, 250), (10, 10, 10))  # each shows other halos
_NEAR = 3  # pixels around the true soft edge that are judged
_SLOW = ("pymatting", "ml")  # asked for by name


@dataclass(frozen=True, eq=False)
class Sample:
    """A scene whose people stand alone: nothing else overlaps them.

    Attributes:
        image: uint8 RGB ``[H, W, 3]``.
        behind: the same without the people.
        alpha: how much of each pixel is people, float32 ``[H, W]``, 0-1.
        band: within 3 pixels of where alpha is neither 0 nor 1: bool ``[H, W]``.
    """

    image: np.ndarray
    behind: np.ndarray
    alpha: np.ndarray
    band: np.ndarray

    def truth(self, backdrop: tuple[int, int, int]) -> np.ndarray:
        """The people before another background, float32 ``[H, W, 3]``, 0-255."""
        image, behind = self.image.astype(np.float32), self.behind.astype(np.float32)
        new = np.float32(backdrop)
        return (image + (1 - self.alpha[..., None]) * (new - behind)).clip(0, 255)


def measure_background(
    num_images: int = 60,
    *,
    run_dir: Path | None = None,
    methods: Sequence[str] | None = None,
    decontaminations: Sequence[str] = ("none", "blur"),
    bands: Sequence[int | None] = (None,),
    seed: int = 1,
) -> dict:
    """Errors of alpha and of colours at the edges, a row for each way to get them.

    Errors are means over images. ``sad``: sum of absolute errors of alpha, in pixels; ``mse``: mean
    squared error over the band times 1000; ``gradient``: sum of squared differences of alpha's
    gradient (Rhemann et al. 2009, Gaussian derivatives of 1.4 pixels), over the band;
    ``color-<decontamination>``: mean absolute error of the new picture over the band, grey levels,
    over `BACKDROPS`. ``ms`` is the refinement's time.

    Args:
        num_images: scenes with people that nothing else overlaps.
        run_dir: also start from what this run's model finds; scenes without a find are left out.
        methods: of `Look`; None for all that need no PyMatting.
        decontaminations: of `object_colors`.
        bands: of `Look`.
        seed: of the world of scenes; the built-in data set is world 0.

    Raises:
        UserError: if there are to be no images.
    """
    if num_images < 1:
        raise UserError(f"{num_images} images: expected at least 1")
    methods = methods or [name for name in METHODS if name not in _SLOW]
    samples = draw_samples(num_images, seed)
    starts: dict[str, Callable[[Sample], np.ndarray | None]] = {"true mask": _true_mask}
    if run_dir is not None:
        predictor = Predictor(run_dir)
        starts[f"{run_dir}"] = lambda sample: _found(predictor, sample)
    rows = []
    for start, begin in starts.items():
        found = [(sample, begin(sample)) for sample in samples]
        found = [(sample, mask) for sample, mask in found if mask is not None]
        if not found:
            raise UserError(f"{start}: no person found in any of the {num_images} scenes")
        for method in methods:
            for band in bands if method != "none" else (None,):
                row = {"start": start, "images": len(found), "refine": method, "band": band}
                rows.append(row | _errors(found, method, band, decontaminations))
    perfect = [(sample, sample.alpha) for sample in samples]
    row = {"start": "true alpha", "images": len(samples), "refine": "none", "band": None}
    rows.append(row | _errors(perfect, "none", None, decontaminations))
    return {"machine": describe_machine(), "seed": seed, "rows": rows}


def draw_samples(num_images: int, seed: int) -> list[Sample]:
    """The first scenes of a world whose people stand alone."""
    samples: list[Sample] = []
    index = FIRST_INDEX["test"]
    while len(samples) < num_images:
        if (sample := as_sample(draw_scene(seed, index))) is not None:
            samples.append(sample)
        index += 1
    return samples


def as_sample(scene: Scene) -> Sample | None:
    """The scene's people, or None where there are none, or other things overlap them."""
    import cv2

    people = [thing for thing in scene.objects if thing.name == "person"]
    others = [thing for thing in scene.objects if thing.name != "person"]
    clear = np.ones(scene.image.shape[:2], np.float32)
    for thing in reversed(people):
        # Unlabelled things before somebody show in what is visible, and only there.
        if thing.crowd or not np.array_equal(thing.alpha * clear > 0.5, thing.visible):
            return None
        clear = clear * (1 - thing.alpha)
    alpha = 1 - clear
    if not people or any((thing.alpha[alpha > 0] > 0).any() for thing in others):
        return None
    behind = np.where(alpha[..., None] > 0, scene.background, scene.image)
    edge = ((alpha > 0) & (alpha < 1)).view(np.uint8)
    band = cv2.dilate(edge, np.ones((2 * _NEAR + 1,) * 2, np.uint8)).view(bool)
    return Sample(scene.image, behind, alpha, band)


def _true_mask(sample: Sample) -> np.ndarray:
    return (sample.alpha > 0.5).astype(np.float32)


def _found(predictor: Predictor, sample: Sample) -> np.ndarray | None:
    try:
        return predictor.probability(sample.image, "person", channels="RGB")
    except NobodyFound:
        return None


def _errors(
    found: Sequence[tuple[Sample, np.ndarray]],
    method: str,
    band: int | None,
    decontaminations: Sequence[str],
) -> dict[str, float]:
    """The means over images of one way."""
    totals: dict[str, float] = {}
    for sample, mask in found:
        started = time.perf_counter()
        alpha = Look(method, band).alpha(sample.image, mask)
        errors = {"ms": 1000 * (time.perf_counter() - started)} | alpha_errors(alpha, sample)
        for way in decontaminations:
            colors = object_colors(sample.image, alpha, way)
            errors[f"color-{way}"] = _color_error(colors, alpha, sample)
        for name, value in errors.items():
            totals[name] = totals.get(name, 0.0) + value / len(found)
    return {name: round(value, 3) for name, value in totals.items()}


def alpha_errors(alpha: np.ndarray, sample: Sample) -> dict[str, float]:
    """``sad``, ``mse`` and ``gradient`` of `measure_background` for one image."""
    wrong = alpha.astype(np.float64) - sample.alpha
    slopes = _gradient(alpha) - _gradient(sample.alpha)
    return {
        "sad": float(np.abs(wrong).sum()),
        "mse": 1000 * float((wrong[sample.band] ** 2).mean()),
        "gradient": float((slopes[sample.band] ** 2).sum()),
    }


def _gradient(alpha: np.ndarray) -> np.ndarray:
    """The length of alpha's gradient at a scale of 1.4 pixels, ``[H, W]``."""
    import cv2

    offsets = np.arange(-6, 7)
    bell = np.exp(-(offsets**2) / (2 * 1.4**2))
    bell /= bell.sum()
    slope = bell * offsets / 1.4**2
    alpha = alpha.astype(np.float64)
    rows = cv2.sepFilter2D(alpha, cv2.CV_64F, bell, slope, borderType=cv2.BORDER_REFLECT)
    columns = cv2.sepFilter2D(alpha, cv2.CV_64F, slope, bell, borderType=cv2.BORDER_REFLECT)
    return np.hypot(rows, columns)


def _color_error(colors: np.ndarray, alpha: np.ndarray, sample: Sample) -> float:
    errors = [
        np.abs(
            composite(colors, alpha, np.full_like(sample.image, backdrop)) - sample.truth(backdrop)
        )[sample.band].mean()
        for backdrop in BACKDROPS
    ]
    return float(np.mean(errors))
