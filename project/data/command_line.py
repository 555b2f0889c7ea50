"""From the command line of ``datasets/prepare_coco_subset.py`` to plans of subsets."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from project.data.coco_download import CACHE, COCO_ARCHIVES, COCO_BASE_URL, CocoServer
from project.data.download import Policy
from project.data.plan import SPLITS, SplitSource, SubsetPlan
from project.data.splits import Splitting
from project.errors import UserError, unknown_name

import msgspec


def plan_from(args: argparse.Namespace, server: CocoServer | None) -> SubsetPlan:
    """The plan that the command line describes."""
    classes = classes_from(args)
    counts = {split: getattr(args, split) for split in SPLITS}
    splitting, decided = splitting_from(args, counts)
    splits = labelled_sources(args, server, counts, decided)
    if args.test_images:
        if "test" in splits:
            raise UserError("--test-images can't go with --split test or a third ratio")
        splits["test"] = SplitSource(args.test_images, None, whole(counts["test"]))
    for split, count in counts.items():
        if count is not None and split not in splits:
            raise UserError(f"--{split} {count}: no source; add --split {split} FILE DIR")
    if not splits:
        raise UserError("no split: give --coco with --train/--val/--test N, or --split")
    name = args.name or "_".join(classes).replace(" ", "_")
    share = args.negatives or 0.0
    return SubsetPlan(name, classes, splits, args.seed or 0, share, args.keep_empty, splitting)


def classes_from(args: argparse.Namespace) -> tuple[str, ...]:
    """The class names, in the order of their ids."""
    if args.person:
        if args.classes:
            raise UserError("--person stands for --classes person; give one of the two")
        return ("person",)
    if not args.classes:
        raise UserError("--classes is missing: name the classes, e.g. --classes cake 'cell phone'")
    return tuple(args.classes)


def splitting_from(
    args: argparse.Namespace, counts: Mapping[str, int | str | None]
) -> tuple[Splitting | None, tuple[str, ...]]:
    """How one file is split, where not simply by count; and the splits that ratio or folds fill.

    Which fold it is comes later (`make_folds`).
    """
    if args.fold is not None and args.kfold is None:
        raise UserError("--fold goes with --kfold only")
    if args.total is not None and not (args.ratio or args.kfold):
        raise UserError("--total goes with --ratio or --kfold only")
    if args.ratio and args.kfold is not None:
        raise UserError("--ratio can't go with --kfold")
    decided: tuple[str, ...] = ()
    if args.kfold is not None:
        decided = ("train", "val")
    elif args.ratio:
        if len(args.ratio) not in (2, 3):
            raise UserError(f"--ratio has {len(args.ratio)} numbers; expected train val [test]")
        decided = SPLITS[: len(args.ratio)]
    if given := [split for split in decided if counts[split] is not None]:
        raise UserError(f"--{given[0]} can't go with --ratio or --kfold, which decide its size")
    if not (decided or args.stratified or args.group_duplicates):
        return None, ()
    ratios = dict(zip(decided, args.ratio, strict=True)) if args.ratio else {}
    splitting = Splitting(
        ratios, args.total, args.stratified, args.group_duplicates, args.kfold or 0
    )
    return splitting, decided


def labelled_sources(
    args: argparse.Namespace,
    server: CocoServer | None,
    counts: Mapping[str, int | str | None],
    decided: Sequence[str],
) -> dict[str, SplitSource]:
    """The labelled splits: from --split, else --coco, else what --download fetches."""
    if args.coco and (args.split or args.images is None):
        raise UserError("--coco needs --images DIR and can't go with --split")
    if args.images and not args.coco:
        raise UserError("--images goes with --coco only")
    files = {}
    for name, file, folder in args.split:
        if name not in SPLITS or name in files:
            raise UserError(f"--split {name}: expected each of {', '.join(SPLITS)} at most once")
        files[name] = Path(file), Path(folder)
    wanted = [split for split in SPLITS if counts[split] is not None or split in decided]
    if args.test_images and "test" not in decided:
        wanted = [split for split in wanted if split != "test"]
    if args.coco:
        files = dict.fromkeys(wanted, (args.coco, args.images))
    coco = {} if server is None else coco_splits(args.download, files or dict.fromkeys(wanted))
    if server is not None and not files:
        files = {s: (server.annotation_file(coco[s]), server.images_dir(coco[s])) for s in wanted}
    return {
        split: SplitSource(images, file, whole(counts[split]), coco.get(split))
        for split, (file, images) in files.items()
    }


def coco_splits(
    words: Sequence[str], files: Mapping[str, tuple[Path, Path] | None]
) -> dict[str, str]:
    """Our split → split of COCO, from the words after --download, else from file names."""
    named = {}
    for word in words:
        left, equals, right = word.rpartition("=")
        if right not in COCO_ARCHIVES:
            raise UserError(f"--download: {unknown_name('split of COCO', right, COCO_ARCHIVES)}")
        if equals and left not in files:
            raise UserError(f"--download {word}: {unknown_name('split', left, files)}")
        named |= dict.fromkeys([left] if equals else files, right)
    for split, source in files.items():
        if split not in named:
            guess = "val2017" if source is None else source[0].stem.removeprefix("instances_")
            if guess not in COCO_ARCHIVES or (words and source is None):
                raise UserError(
                    f"--download: say what {split} belongs to, e.g. --download {split}=val2017"
                )
            named[split] = guess
    return named


def whole(count: int | str | None) -> int | None:
    """The number; None for "all" and for nothing said."""
    return None if count in (None, "all") else count


def server_from(args: argparse.Namespace, root: Path) -> CocoServer | None:
    """Where to fetch from, or None without --download."""
    given = {"base_url": args.base_url, "connections": args.connections, "max_rate": args.max_rate}
    if args.download is None:
        for option, value in given.items():
            if value is not None:
                raise UserError(f"--{option.replace('_', '-')} goes with --download only")
        return None
    limits = {"connections": args.connections, "rate": args.max_rate}
    policy = Policy(**{key: value for key, value in limits.items() if value is not None})
    return CocoServer(root / CACHE, args.base_url or COCO_BASE_URL, policy)


def make_folds(plan: SubsetPlan, args: argparse.Namespace) -> list[SubsetPlan]:
    """The plan itself, or one for each fold."""
    if args.kfold is None:
        return [plan]
    if args.kfold < 2:
        raise UserError(f"--kfold {args.kfold}: expected 2 folds or more")
    numbers = range(1, args.kfold + 1) if args.fold is None else [args.fold]
    return [
        replace(
            plan,
            name=f"{plan.name}_fold{number}of{args.kfold}",
            splitting=msgspec.structs.replace(plan.splitting, fold=number),
        )
        for number in numbers
    ]


def refuse_choices(args: argparse.Namespace) -> None:
    """A manifest holds all choices: raise a `UserError` if the command line makes one, too."""
    choices = ("coco", "images", "split", "test_images", "classes", *SPLITS, "seed", "negatives")
    choices += ("name", "person", "keep_empty", "ratio", "total", "kfold", "fold", "stratified")
    choices += ("group_duplicates", "download")
    values = {choice: getattr(args, choice) for choice in choices}
    # By identity: 0 is a choice, too, and equals False.
    if given := [c for c, v in values.items() if not (v is None or v is False or v == [])]:
        option = given[0].replace("_", "-")
        raise UserError(f"--{option} can't go with --from-manifest, which holds all choices")
