"""Masks that are to be refined, each beside its truth: a model's, or true ones made coarse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from project.data.catalog import subset_dir
from project.data.coco_file import read_coco_file
from project.errors import UserError, unknown_name
from project.evaluation.ground_truth import GroundTruth, load_ground_truth
from project.evaluation.image_masks import ImageMasks, greedy_match, image_masks, pixels
from project.evaluation.overlap import truth_map
from project.evaluation.results import load_results

import numpy as np

GRID = 28  # pixels to a side of a mask head's mask
MIN_IOU = 0.5  # of a detection with an object, to be judged as its mask
UNITS = ("object", "class")


@dataclass(frozen=True, eq=False)
class Case:
    """A mask and what it should be, in an image of height H and width W.

    Attributes:
        name: of the class.
        probability: float32 ``[H, W]``, 0-1.
        truth: bool ``[H, W]``, with at least one pixel.
        counts: bool ``[H, W]``: where the truth is known; None for everywhere.
    """

    name: str
    probability: np.ndarray
    truth: np.ndarray
    counts: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class ImageCases:
    """One image, uint8 RGB ``[H, W, 3]``, and its cases, which are made one by one."""

    image_id: int
    image: np.ndarray
    cases: Iterable[Case]


@dataclass(frozen=True)
class Dataset:
    """Images whose truth is known: a COCO instances file, and the folder of its file names."""

    annotations: Path
    image_dir: Path

    @classmethod
    def of_subset(cls, subset: str, split: str, root: str | Path | None = None) -> Dataset:
        """A split of a subset in the datasets folder, such as ``scenes`` ``val``."""
        folder = subset_dir(subset, root)
        return cls(folder / "annotations" / f"{split}.json", folder / "images" / split)

    @cached_property
    def truth(self) -> GroundTruth:
        return load_ground_truth(self.annotations).with_masks

    def load(self, num_images: int | None = None) -> tuple[GroundTruth, dict[int, Path]]:
        """The truth and each image's file; of so many images, evenly spread over those with masks.

        Raises:
            UserError: if the file can't be read, no object in it has a mask, or an image would lie
                outside of the folder.
        """
        truth = self.truth
        ids = truth.image_ids[np.unique(truth.image[~truth.crowd])]
        if not len(ids):
            raise UserError(f"{self.annotations} has no object with a mask; nothing to measure")
        if num_images is not None and num_images < len(ids):
            if num_images < 1:
                raise UserError(f"{num_images} images; expected at least 1")
            ids = ids[np.linspace(0, len(ids) - 1, num_images).round().astype(int)]
        images, folder = read_coco_file(self.annotations).images, Path(self.image_dir)
        return truth.only(ids), {image.id: folder / image.file_name for image in images}


def cases_of_results(
    dataset: Dataset,
    results: str | Path | Sequence[dict],
    *,
    num_images: int | None = None,
    per: str = "object",
    min_score: float = 0.5,
) -> Iterator[ImageCases]:
    """The masks of a COCO results file, which are hard: 0 or 1.

    Args:
        per: "object": detections that match an object of their class at IoU 0.5, with that object;
            "class": all that an image shows of a class, with all that was found of it (for results
            of semantic models, which know no objects).
        min_score: 0-1, lower detections don't count.
    """
    chosen, files = dataset.load(num_images)
    found = load_results(results, dataset.truth).only(dataset.truth, chosen.image_ids)
    return _cases(chosen, files, found, _hard, per, min_score)


def cases_of_run(
    dataset: Dataset,
    run_dir: str | Path,
    *,
    num_images: int | None = None,
    per: str | None = None,
) -> Iterator[ImageCases]:
    """The soft masks that a run's newest model predicts, above the run's own thresholds.

    Args:
        per: see `cases_of_results`; None takes what the model tells, objects or classes.
    """
    from project.applications import Predictor

    truth, files = dataset.load(num_images)
    predictor = Predictor(run_dir)
    categories = dict(zip(truth.class_names, truth.category_ids.tolist(), strict=True))
    entries, places = [], []
    for image_id in truth.image_ids.tolist():
        found = predictor(files[image_id])
        if not found.has("pred_masks"):
            raise UserError(f"the model of {run_dir} gives no masks; there is nothing to refine")
        rows = zip(found.scores.tolist(), found.pred_classes.tolist(), strict=True)
        for i, (rle, (score, k)) in enumerate(zip(found.pred_masks.rles(), rows, strict=True)):
            if (name := predictor.class_names[k]) in categories:
                box = found.pred_boxes.tensor[i].tolist()
                box = [*box[:2], box[2] - box[0], box[3] - box[1]]
                entry = {"image_id": image_id, "category_id": categories[name], "score": score}
                entries.append({**entry, "bbox": box, "segmentation": rle})
                places.append((found.pred_masks, i))

    def soft(image: ImageMasks, detection: int) -> np.ndarray:
        masks, i = places[image.rows[detection]]
        return masks.probability(i)

    per = per or ("class" if predictor.semantic else "object")
    return _cases(truth, files, entries, soft, per, 0.0)


def coarse_cases(
    dataset: Dataset, *, num_images: int | None = None, grid: int = GRID
) -> Iterator[ImageCases]:
    """True masks as a perfect mask head would give them: means of a grid, stretched to their boxes.

    All that is lost is resolution, and only of objects larger than the grid. What a real head gets
    wrong besides is not in them; a coarser grid is as wrong as a real head, if in another way.
    """
    if grid < 1:
        raise UserError(f"the grid is {grid}; expected at least 1 cell to a side")
    truth, files = dataset.load(num_images)
    return (
        ImageCases(image.image_id, _read(files, image), _coarse(image, truth.class_names, grid))
        for image in image_masks(truth, [])
    )


def coarsen(mask: np.ndarray, grid: int = GRID) -> np.ndarray:
    """A mask through ``grid`` x ``grid`` means in its box, float32 ``[H, W]``, 0-1."""
    import cv2
    import torch
    from detectron2.layers import paste_masks_in_image

    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    y0, x0, y1, x1 = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    box = np.float32([[x0, y0, x1, y1]])
    # OpenCV's area means don't enlarge; where a cell is less than a pixel, it has that pixel.
    small = np.float32(mask[y0:y1, x0:x1])
    factors = [max(1, -(-grid // length)) for length in small.shape]
    small = np.repeat(np.repeat(small, factors[0], 0), factors[1], 1)
    cells = cv2.resize(small, (grid, grid), interpolation=cv2.INTER_AREA)
    pasted = paste_masks_in_image(
        torch.from_numpy(cells)[None], torch.from_numpy(box), mask.shape, threshold=-1
    )
    return pasted[0].numpy().astype(np.float32) / 255


def _cases(truth, files, results, probability: Callable, per: str, min_score: float):
    if per not in UNITS:
        raise UserError(unknown_name("unit", per, UNITS))
    make = _objects if per == "object" else _classes
    return (
        ImageCases(
            image.image_id,
            _read(files, image),
            make(image, truth.class_names, probability, min_score),
        )
        for image in image_masks(truth, results)
    )


def _hard(image: ImageMasks, detection: int) -> np.ndarray:
    return _bitmap(image.detections[detection], image.size).astype(np.float32)


def _objects(image, names, probability, min_score) -> Iterator[Case]:
    """Each detection that matches an object of its class, with that object."""
    order = image.by_score[image.scores[image.by_score] >= min_score]
    same = image.classes[order][:, None] == image.object_classes
    match = greedy_match(np.where(same, image.iou[order], 0.0), MIN_IOU)
    for detection, obj in zip(order, match, strict=True):
        if obj >= 0:
            true = _bitmap(image.objects[obj], image.size)
            if true.any():
                name = names[image.object_classes[obj]]
                yield Case(name, probability(image, detection), true)


def _classes(image, names, probability, min_score) -> Iterator[Case]:
    """All of a class that an image shows, with all that was found of it."""
    labels, counts = truth_map(
        image.object_pixels,
        image.object_classes.tolist(),
        map(pixels, image.crowds),
        image.size,
        len(names),
    )
    for k, name in enumerate(names):
        true = labels == k
        if true.any():
            found = np.zeros(image.size, np.float32)
            for detection in np.flatnonzero((image.classes == k) & (image.scores >= min_score)):
                np.maximum(found, probability(image, detection), out=found)
            yield Case(name, found, true, counts)


def _coarse(image: ImageMasks, names: Sequence[str], grid: int) -> Iterator[Case]:
    for rle, k in zip(image.objects, image.object_classes, strict=True):
        true = _bitmap(rle, image.size)
        if true.any():
            yield Case(names[k], coarsen(true, grid), true)


def _bitmap(rle: dict, size: tuple[int, int]) -> np.ndarray:
    bitmap = np.zeros(size, bool)
    if (mask := pixels(rle)) is not None:
        bitmap[mask.window] = mask.pixels
    return bitmap


def _read(files: Mapping[int, Path], image: ImageMasks) -> np.ndarray:
    from project.visualization.files import read_rgb

    height, width = image.size
    file = str(files[image.image_id])
    return read_rgb({"file_name": file, "height": height, "width": width})
