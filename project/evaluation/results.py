"""COCO detection results as columns, checked against the ground truth that judges them."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from project.data.coco_file import Int64
from project.errors import UserError
from project.evaluation.ground_truth import GroundTruth
from project.evaluation.rle import DAMAGED, compress, first_damaged, mask_areas

import msgspec
import numpy as np


class _Rle(TypedDict):
    size: tuple[Int64, Int64]
    counts: Any  # text, bytes or a list of runs


class _Result(msgspec.Struct, gc=False):
    image_id: Int64
    category_id: Int64
    score: float
    bbox: tuple[float, float, float, float] | None = None
    segmentation: _Rle | None = None


@dataclass(frozen=True)
class Results:
    """Detections in the order of the file.

    Attributes:
        name: for messages: the file, or "results".
        image: int64 [D], index into the ground truth's ``image_ids``.
        category: int64 [D], index into its ``category_ids``.
        score: float64 [D].
        boxes: float64 [D, 4], x, y, width, height in pixels; NaN rows where there is none.
        rles: D masks as RLE dicts; None where there is none.
    """

    name: str
    image: np.ndarray
    category: np.ndarray
    score: np.ndarray
    boxes: np.ndarray
    rles: Sequence[dict[str, Any] | None]

    def __len__(self) -> int:
        return len(self.score)

    def only(self, ground_truth: GroundTruth, image_ids: Sequence[int]) -> Results:
        """The detections in some images of ``ground_truth``, for ``ground_truth.only`` of them."""
        wanted = np.unique(np.asarray(image_ids, dtype=np.int64))
        found = ground_truth.image_ids[self.image]
        rows = np.flatnonzero(np.isin(found, wanted))
        return Results(
            name=self.name,
            image=np.searchsorted(wanted, found[rows]),
            category=self.category[rows],
            score=self.score[rows],
            boxes=self.boxes[rows],
            rles=[self.rles[i] for i in rows],
        )


def load_results(
    results: str | Path | Sequence[dict] | Results, ground_truth: GroundTruth
) -> Results:
    """Detections from a ``coco_instances_results.json``, or from the list that it holds.

    Raises:
        UserError: if the file can't be read, an entry lacks a field, has a score that is no number,
            or names an image or category that the ground truth doesn't have.
    """
    if isinstance(results, Results):
        return results
    in_memory = not isinstance(results, (str, Path))
    name = "results" if in_memory else str(results)
    rows = _decode(results, name, in_memory)
    score = np.array([row.score for row in rows], dtype=np.float64)
    if (wrong := np.flatnonzero(~np.isfinite(score))).size:
        raise UserError(f"{name}, entry {wrong[0]}: score {score[wrong[0]]} is no finite number")
    return Results(
        name=name,
        image=_places(name, rows, "image_id", ground_truth.image_ids, ground_truth.name),
        category=_places(name, rows, "category_id", ground_truth.category_ids, ground_truth.name),
        score=score,
        boxes=_boxes(rows),
        rles=_compressed(name, [row.segmentation for row in rows]),
    )


def _decode(results, name: str, in_memory: bool) -> list[_Result]:
    try:
        if in_memory:
            return msgspec.convert(results, list[_Result])
        return msgspec.json.decode(Path(results).read_bytes(), type=list[_Result])
    except FileNotFoundError:
        raise UserError(f"COCO results file {name} doesn't exist") from None
    except OSError as error:
        raise UserError(f"COCO results file {name} can't be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        # msgspec tells the place as `$[12].score`: entry 12, counted from 0.
        raise UserError(
            f"{name} is no readable list of COCO results: {error}; every entry needs image_id, "
            f"category_id, score, and bbox or segmentation (an RLE)"
        ) from None


def _boxes(rows: list[_Result]) -> np.ndarray:
    no_box = (np.nan,) * 4
    numbers = itertools.chain.from_iterable(row.bbox or no_box for row in rows)
    return np.fromiter(numbers, np.float64, 4 * len(rows)).reshape(-1, 4)


def _compressed(name: str, rles: list[dict | None]) -> list[dict | None]:
    """The masks with text or bytes as counts: pycocotools' overlaps take no lists of runs."""
    for number, rle in enumerate(rles):
        if rle is not None and type(rle["counts"]) is list:
            try:
                rles[number] = compress([rle["counts"]], *rle["size"])[0]
            except DAMAGED as error:
                raise UserError(f"{name}, entry {number}: damaged RLE: {error}") from None
    return rles


def _places(name: str, rows: list[_Result], key: str, known: np.ndarray, where: str) -> np.ndarray:
    ids = np.fromiter(map(operator.attrgetter(key), rows), np.int64, len(rows))
    wrong = np.flatnonzero(~np.isin(ids, known))
    if wrong.size:
        raise UserError(
            f"{name}, entry {wrong[0]}: {where} has no {key.removesuffix('_id')} with the id "
            f"{ids[wrong[0]]} ({wrong.size} such entries); results and annotations must be of the "
            f"same dataset"
        )
    return np.searchsorted(known, ids)


def checked_mask_areas(results: Results, ground_truth: GroundTruth, backend: str) -> np.ndarray:
    """Pixels of each detection's mask, int64 [D], after a check of all masks.

    Raises:
        UserError: for an entry without mask, with a damaged one, or with one of another size than
            its image.
    """
    _check_masks(results, ground_truth)
    try:
        return mask_areas(results.rles, backend)
    except DAMAGED:
        number, error = first_damaged(results.rles, backend)
        raise UserError(f"{results.name}, entry {number}: {error}") from None


def _check_masks(results: Results, ground_truth: GroundTruth) -> None:
    if None in results.rles:
        raise UserError(
            f"{results.name}, entry {results.rles.index(None)} has no segmentation, which masks "
            f"are judged by; evaluate with the task 'bbox' only"
        )
    sizes = itertools.chain.from_iterable(rle["size"] for rle in results.rles)
    found = np.fromiter(sizes, np.int64, 2 * len(results)).reshape(-1, 2)
    expected = ground_truth.sizes[results.image]
    wrong = np.flatnonzero((found != expected).any(axis=1))
    if wrong.size:
        number = wrong[0]
        image_id = ground_truth.image_ids[results.image[number]]
        raise UserError(
            f"{results.name}, entry {number}: mask of {found[number].tolist()} pixels (height, "
            f"width), but image {image_id} has {expected[number].tolist()}"
        )


def box_areas(results: Results) -> np.ndarray:
    """Width times height of each detection's box, float64 [D].

    Raises:
        UserError: for an entry without box.
    """
    missing = np.flatnonzero(np.isnan(results.boxes).any(axis=1))
    if missing.size:
        raise UserError(f"{results.name}, entry {missing[0]} has no bbox, which boxes need")
    return results.boxes[:, 2] * results.boxes[:, 3]
