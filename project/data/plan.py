"""What a subset is to be made of: the choices of a person, checked before any file is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from project.data.splits import Splitting, check_ratios
from project.errors import UserError

SPLITS = ("train", "val", "test")
RESERVED = {
    "scenes": "the built-in scenes",
    "scenes_person": "the built-in scenes",
    "coco": "the downloaded files of COCO",
}


@dataclass(frozen=True)
class SplitSource:
    """Where a split comes from: a COCO file with its images, or an unlabelled image folder.

    ``count`` is the number of images; None takes all that show one of the classes (all images of
    an unlabelled folder). ``coco`` names the split of COCO, such as "val2017", that the file and
    the images belong to: what is missing of them can then be fetched.
    """

    images: Path
    annotations: Path | None = None
    count: int | None = None
    coco: str | None = None


@dataclass(frozen=True)
class SubsetPlan:
    """What to make. ``negatives`` is the share (0-1) of images without any of the classes.

    Splits that name the same annotation file draw disjoint images from it; ``splitting`` says how
    where it isn't simply by count. With ``keep_empty``, splits without a count also take every
    image without the classes.
    """

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, SplitSource]
    seed: int = 0
    negatives: float = 0.0
    keep_empty: bool = False
    splitting: Splitting | None = None


def check_plan(plan: SubsetPlan) -> None:
    """Raise a `UserError` unless the choices are possible and go together."""
    if not re.fullmatch(r"\w[\w.+-]*", plan.name):
        raise UserError(f"subset name {plan.name!r}: use letters, digits and any of _ . + -")
    if plan.name in RESERVED:
        raise UserError(
            f"subset name {plan.name!r} belongs to {RESERVED[plan.name]}; choose another"
        )
    if not plan.classes:
        raise UserError("no classes: name at least one, in the order they should be numbered")
    if twice := sorted({name for name in plan.classes if plan.classes.count(name) > 1}):
        raise UserError(f"class {twice[0]!r} is named twice")
    if not plan.splits or not set(plan.splits) <= set(SPLITS):
        raise UserError(f"splits {sorted(plan.splits)}: expected at least one of {list(SPLITS)}")
    if not 0 <= plan.negatives < 1:
        raise UserError(f"share of negatives {plan.negatives}: expected 0 up to, not with, 1")
    if plan.keep_empty and plan.negatives:
        raise UserError("a share of negatives can't be asked for where all of them are kept")
    for split, source in plan.splits.items():
        if source.count is not None and source.count < 1:
            raise UserError(f"{split}: {source.count} images asked for; expected at least 1")
    if plan.splitting is not None:
        _check_splitting(plan, plan.splitting)


def check_folders(plan: SubsetPlan) -> None:
    """Raise a `UserError` if an image folder doesn't exist."""
    for split, source in plan.splits.items():
        if not source.images.is_dir():
            raise UserError(f"{split}: image folder {source.images} doesn't exist")


def _check_splitting(plan: SubsetPlan, splitting: Splitting) -> None:
    labelled = {split: s for split, s in plan.splits.items() if s.annotations is not None}
    if len({(s.annotations, s.images) for s in labelled.values()}) != 1:
        raise UserError(
            "ratios, folds, stratified and grouped splits need one annotation file that is split"
        )
    if plan.keep_empty:
        raise UserError("keeping all empty images goes with splits by count only")
    if splitting.total is not None and splitting.total < 1:
        raise UserError(f"{splitting.total} images in total: expected at least 1")
    if splitting.folds:
        if not 1 <= splitting.fold <= splitting.folds or splitting.folds < 2:
            raise UserError(f"fold {splitting.fold} of {splitting.folds}: expected 1 to 2 or more")
        if [s for s in ("train", "val") if s not in labelled or labelled[s].count is not None]:
            raise UserError("with folds, train and val get no number: the folds decide")
    if splitting.ratios:
        if {split for split, s in labelled.items() if s.count is None} != set(splitting.ratios):
            raise UserError(f"ratios are for {sorted(splitting.ratios)}, not {sorted(labelled)}")
        check_ratios(splitting.ratios)
