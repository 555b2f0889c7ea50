"""Splits of one annotation file: by ratio, by count, stratified, in groups, in folds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from project.data.selection import DRAWING_ORDER, Pool, need_images, num_negatives, rank
from project.data.stratification import divide, sizes_by_ratio
from project.errors import UserError

import msgspec
import numpy as np


class Splitting(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the images of one annotation file are divided, as the manifest records it.

    Attributes:
        ratios: split → share in percent; absent where splits are asked for by count.
        total: number of images that the ratios or folds share; None takes all.
        stratified: each class is divided in the proportion of the splits.
        group_duplicates: nearly identical images stay together.
        folds, fold: ``val`` is fold number ``fold`` (from 1) of ``folds``, ``train`` the others;
            0 without folds.
    """

    ratios: dict[str, float] = {}
    total: int | None = None
    stratified: bool = False
    group_duplicates: bool = False
    folds: int = 0
    fold: int = 0


def check_ratios(ratios: Mapping[str, float]) -> None:
    """Raise a `UserError` unless all are above 0 and together 100 percent."""
    shown = " + ".join(f"{share:g}" for share in ratios.values())
    if not all(0 < share <= 100 for share in ratios.values()):
        raise UserError(f"ratios {shown}: each must be above 0 percent")
    if not math.isclose(sum(ratios.values()), 100, abs_tol=0.01):
        raise UserError(f"ratios {shown} are {sum(ratios.values()):g} percent; expected 100")


@dataclass
class _Part:
    """A split, or one fold, and how many images with and without the classes it gets."""

    name: str
    shows: int
    empty: int


def split_images(
    pool: Pool,
    splitting: Splitting,
    counts: Mapping[str, int | None],
    *,
    negatives: float,
    seed: int,
    groups: np.ndarray | None = None,
) -> dict[str, list[int]]:
    """Source image ids of each split of one file, in the order of the file; disjoint.

    Args:
        pool: where all splits draw from.
        counts: split → number of images; None takes its ratio, or what the others leave, or its
            folds.
        negatives: share (0-1) of the images of a split without any object of the classes.
        groups: int [images of the file]; a group never goes to two splits, and an image that is
            grouped with one of the classes is no negative.

    Raises:
        UserError: if the file holds too few images.
    """
    ids = [image.id for image in pool.file.images]
    order = sorted(range(len(ids)), key=lambda i: rank(seed, ids[i]))
    shows = [i for i in order if ids[i] in pool.labels.annotations]
    without = _negatives(pool, order, groups)
    parts = _parts(splitting, counts, len(shows), negatives)
    approximate = splitting.total is None and None in counts.values()
    chosen: dict[str, list[int]] = {split: [] for split in counts}
    for images, sizes, what in (
        (shows, [part.shows for part in parts], f"with {', '.join(pool.labels.category_ids)}"),
        (without, [part.empty for part in parts], "without any of the classes"),
    ):
        need_images(f"{pool.file.path} has too few images {what}", sum(sizes), len(images))
        whole = approximate and sum(sizes) == len(images)
        labels = _shown(pool, [ids[i] for i in images], splitting.stratified)
        own = None if groups is None else groups[images]
        assigned = divide(sizes, labels, own, exact=not whole)
        for number, (part, size) in enumerate(zip(parts, sizes, strict=True)):
            found = [
                image for image, n in zip(images, assigned.tolist(), strict=True) if n == number
            ]
            _check_filled(part.name, size, len(found), whole)
            chosen[_split_of(part.name, splitting)] += found
    return {split: [ids[i] for i in sorted(images)] for split, images in chosen.items()}


def _negatives(pool: Pool, order: Sequence[int], groups: np.ndarray | None) -> list[int]:
    touched = [image.id in pool.labels.touched for image in pool.file.images]
    if groups is not None:  # a near-duplicate of an image with a dog shows that dog, too
        near = np.isin(groups, groups[np.flatnonzero(touched)])
        touched = near.tolist()
    return [i for i in order if not touched[i]]


def _parts(
    splitting: Splitting, counts: Mapping[str, int | None], num_shows: int, negatives: float
) -> list[_Part]:
    """What each split or fold gets of ``num_shows`` images that show the classes."""
    parts = []
    for split in _training_first(counts):
        if (count := counts[split]) is not None:
            empty = num_negatives(0, count, negatives)
            parts.append(_Part(split, count - empty, empty))
    weights = _open_weights(splitting, counts)
    if weights:
        shows = max(num_shows - sum(part.shows for part in parts), 0)
        empty = num_negatives(shows, splitting.total, negatives)
        if splitting.total is not None:
            shows = splitting.total - empty
        shares = list(weights.values())
        sizes = zip(sizes_by_ratio(shows, shares), sizes_by_ratio(empty, shares), strict=True)
        parts += [_Part(name, *size) for name, size in zip(weights, sizes, strict=True)]
    for part in parts:
        if part.shows + part.empty < 1:
            raise UserError(f"{part.name} gets none of {num_shows} images that show the classes")
    return parts


def _open_weights(splitting: Splitting, counts: Mapping[str, int | None]) -> dict[str, float]:
    """Name → weight of the splits or folds that share what is asked for by no count."""
    if splitting.folds:
        return dict.fromkeys([_fold(n) for n in range(1, splitting.folds + 1)], 1.0)
    names = [split for split in _training_first(counts) if counts[split] is None]
    if splitting.ratios:
        return {split: splitting.ratios[split] for split in names}
    if len(names) > 1:
        raise UserError(
            f"{', '.join(names)} each take all images of one file; give all but one a number"
        )
    return dict.fromkeys(names, 1.0)


def _training_first(splits: Iterable[str]) -> list[str]:
    """The order that decides ties: the one image of a class is one to learn from."""
    return sorted(splits, key=DRAWING_ORDER.index, reverse=True)


def _fold(number: int) -> str:
    return f"fold {number}"


def _split_of(part: str, splitting: Splitting) -> str:
    if not part.startswith("fold "):
        return part
    return "val" if part == _fold(splitting.fold) else "train"


def _shown(pool: Pool, ids: Sequence[int], stratified: bool) -> np.ndarray:
    """bool [N, K]: what `divide` stratifies by; K is 0 unless ``stratified``."""
    if not stratified:
        return np.zeros((len(ids), 0), bool)
    shown = np.zeros((len(ids), len(pool.labels.category_ids)), bool)
    for row, number in enumerate(ids):
        for record in pool.labels.annotations.get(number, ()):
            shown[row, record["category_id"] - 1] = True
    return shown


def _check_filled(part: str, wanted: int, found: int, whole: bool) -> None:
    if (wanted and not found) or (found < wanted and not whole):
        raise UserError(
            f"{part}: {wanted} images asked for, {found} there; the others are near-duplicates of "
            f"images of other splits"
        )
