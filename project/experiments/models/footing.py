"""What runs have in common: images by file name, classes by name, and both label maps of an image.

Only the common classes are painted, in truth and predictions alike, so a model of persons alone and
one of four classes are asked the same question. Images are matched by their file names, as ids are
numbered anew in each subset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from project.data.coco_file import read_coco_file
from project.data.semantic_labels import paint, truth_map
from project.errors import UserError
from project.evaluation.ground_truth import GroundTruth, load_ground_truth
from project.evaluation.image_masks import ImageMasks, image_masks, pixels
from project.evaluation.results import Results, load_results
from project.experiments.models.runs import ModelRun

import numpy as np


@dataclass(frozen=True, eq=False)
class Labels:
    """A COCO file: ground truth, and image ids by file name."""

    truth: GroundTruth
    ids: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Footing:
    """What the runs are compared on.

    Attributes:
        class_names: common to all, in the first run's order.
        image_names: common to all, in the first run's order.
        labels: annotation file → content, of every file that a run was evaluated on.
        left_out: class → names of the runs that lack it.
    """

    class_names: tuple[str, ...]
    image_names: tuple[str, ...]
    labels: Mapping[Path, Labels]
    left_out: Mapping[str, Sequence[str]]


@dataclass(frozen=True, eq=False)
class ImageMaps:
    """The flattened labels of an image; K stands for background.

    Attributes:
        truth, found: int32 [H, W], 0 to K.
        counts: bool [H, W], False where a crowd is and nobody knows what is right.
    """

    name: str
    truth: np.ndarray
    found: np.ndarray
    counts: np.ndarray


def find_footing(runs: Sequence[ModelRun]) -> Footing:
    """What ``runs`` have in common.

    Raises:
        UserError: if that is no image or no class, or images of one name aren't the same.
    """
    labels = {run.annotations: run for run in runs}
    labels = {file: _read_labels(file) for file in labels}
    names = [labels[run.annotations].truth.class_names for run in runs]
    common = tuple(k for k in names[0] if all(k in known for known in names))
    if not common:
        raise UserError(
            f"the runs have no class in common: {_told(runs, [', '.join(n) for n in names])}"
        )
    images = [labels[run.annotations].ids for run in runs]
    shared = tuple(name for name in images[0] if all(name in known for known in images))
    if not shared:
        examples = [f"{len(known)} images such as {next(iter(known))}" for known in images]
        raise UserError(
            f"the runs have no image in common by file name: {_told(runs, examples)}; evaluate "
            f"them on the same images and name these with --split"
        )
    _check_same_images(runs, labels, shared)
    lacking = {
        k: [run.name for run, own in zip(runs, names, strict=True) if k not in own]
        for k in dict.fromkeys(k for own in names for k in own)
    }
    left_out = {name: lack for name, lack in lacking.items() if lack}
    return Footing(common, shared, labels, left_out)


def _told(runs: Sequence[ModelRun], what: Sequence[str]) -> str:
    """Each dataset once, with what it has."""
    told = {run.dataset: text for run, text in zip(runs, what, strict=True)}
    return "; ".join(f"{name} has {text}" for name, text in told.items())


def _read_labels(file: Path) -> Labels:
    truth = load_ground_truth(file).with_masks
    images = read_coco_file(file).images
    ids = {image.file_name: image.id for image in sorted(images, key=lambda image: image.id)}
    if len(ids) < len(images):
        raise UserError(f"{file} lists an image file twice; images are matched by their names")
    if not len(truth.ids):
        raise UserError(f"{file} has no labelled masks; there is nothing to compare with")
    return Labels(truth, ids)


def _check_same_images(
    runs: Sequence[ModelRun], labels: Mapping[Path, Labels], names: Sequence[str]
) -> None:
    """Raise a `UserError` where images of one name differ in size, in pixels or in bytes."""
    first, *others = {run.annotations: run for run in runs}.values()
    for other in others:
        for name in names:
            prints = [_fingerprint(run, labels[run.annotations], name) for run in (first, other)]
            pairs = zip(*prints, strict=True)
            if any(a != b for a, b in pairs if a is not None and b is not None):
                raise UserError(
                    f"{first.dataset} and {other.dataset} have different images of the name "
                    f"{name}; compare runs on one split, with --split"
                )


def _fingerprint(run: ModelRun, labels: Labels, name: str) -> tuple[tuple[int, ...], int | None]:
    """Height and width by the labels, and bytes of the file, None where it isn't there."""
    place = np.searchsorted(labels.truth.image_ids, labels.ids[name])
    file = run.image_dir / name
    size = file.stat().st_size if file.is_file() else None
    return tuple(labels.truth.sizes[place].tolist()), size


class Predictions:
    """A run's predictions on the common images, to be read as label maps of the common classes.

    Attributes:
        thresholds: float64 [K], the score from which on a prediction counts.

    Raises:
        UserError: if the predictions can't be read, have no masks or are of another dataset.
    """

    def __init__(self, run: ModelRun, footing: Footing) -> None:
        self.run = run
        self.class_names = footing.class_names
        self._labels = footing.labels[run.annotations]
        self._results: Results = load_results(run.predictions, self._labels.truth)
        own = self._labels.truth.class_names
        self.thresholds = run.thresholds(own)[[own.index(k) for k in self.class_names]]
        places = {name: k for k, name in enumerate(self.class_names)}
        self._place = np.array([places.get(name, -1) for name in own])  # class → common class

    def maps(self, names: Sequence[str]) -> Iterator[ImageMaps]:
        """The maps of the images of these names, in the order of the run's ids."""
        ids = [self._labels.ids[name] for name in names]
        by_id = dict(zip(ids, names, strict=True))
        truth = self._labels.truth.only(ids)
        results = self._results.only(self._labels.truth, ids)
        for image in image_masks(truth, results):
            yield self._flattened(image, by_id[image.image_id])

    def _flattened(self, image: ImageMasks, name: str) -> ImageMaps:
        background = len(self.class_names)
        kept = np.flatnonzero(self._place[image.object_classes] >= 0)
        crowds = np.flatnonzero(self._place[image.crowd_classes] >= 0)
        truth, counts = truth_map(
            [image.object_pixels[i] for i in kept],
            self._place[image.object_classes[kept]].tolist(),
            [pixels(image.crowds[i]) for i in crowds],
            image.size,
            background,
        )
        order = image.by_score[::-1]
        place = self._place[image.classes[order]]
        # The last threshold stands for classes that aren't compared, whose place is -1.
        least = np.append(self.thresholds, np.inf)[place]
        shown = image.scores[order] >= least
        order, place = order[shown], place[shown]
        masks = [pixels(image.detections[i]) for i in order]
        return ImageMaps(name, truth, paint(masks, place.tolist(), image.size, background), counts)
