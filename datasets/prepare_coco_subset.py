#!/usr/bin/env python3
"""Make a COCO subset: classes by name, images per split, contiguous ids, a manifest.

From one annotation file that is to be split (splits are disjoint):
    python datasets/prepare_coco_subset.py --coco instances_val2017.json --images val2017 \\
        --classes cake car dog person --train 300 --val 300 --test 30 --seed 0
From files that are split already (their ids may disagree), with an unlabelled test folder:
    python datasets/prepare_coco_subset.py --split train train.json train/ \\
        --split val val.json val/ --test-images test/ --classes cake car dog person
Once more, identical:
    python datasets/prepare_coco_subset.py --from-manifest datasets/NAME/manifest.json --root other/
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from project.data.manifest import describe
from project.data.root import datasets_root
from project.data.subset import SPLITS, SplitSource, SubsetPlan, build_subset, rebuild_subset
from project.errors import UserError, exits_with_two


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_argument_group("source (one of --coco, --split, --from-manifest)")
    source.add_argument("--coco", type=Path, metavar="FILE", help="COCO instances file to split")
    source.add_argument("--images", type=Path, metavar="DIR", help="image folder of --coco")
    source.add_argument(
        "--split",
        nargs=3,
        action="append",
        default=[],
        metavar=("NAME", "FILE", "DIR"),
        help="train, val or test: its own COCO file and image folder; once for each split",
    )
    source.add_argument("--test-images", type=Path, metavar="DIR", help="unlabelled test images")
    source.add_argument("--from-manifest", type=Path, metavar="FILE", help="re-make this subset")
    source.add_argument(
        "--relocate",
        nargs=2,
        action="append",
        default=[],
        metavar=("OLD", "NEW"),
        help="with --from-manifest: sources below folder OLD are now below NEW",
    )
    choice = parser.add_argument_group("choice")
    choice.add_argument("--classes", nargs="+", metavar="NAME", help="in the order of their ids")
    for split in SPLITS:
        choice.add_argument(
            f"--{split}",
            type=number_of_images,
            metavar="N",
            help=f"{split} images: a number, or 'all' that show one of the classes",
        )
    choice.add_argument("--seed", type=int, help="of the draw (default 0)")
    choice.add_argument(
        "--negatives", type=float, metavar="SHARE", help="0-1, images without the classes (0)"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--name", help="folder name (default: the classes joined by '_')")
    output.add_argument("--root", help="default: $DETECTRON2_DATASETS, else datasets/")
    output.add_argument("--copy", action="store_true", help="copy images instead of linking them")
    output.add_argument("--overwrite", action="store_true", help="replace an older subset")
    return parser


def number_of_images(text: str) -> int | str:
    """A whole number, or the word ``all``."""
    return text if text == "all" else int(text)


def plan_from(args: argparse.Namespace) -> SubsetPlan:
    """The plan that the command line describes."""
    if not args.classes:
        raise UserError("--classes is missing: name the classes, e.g. --classes cake 'cell phone'")
    counts = {split: getattr(args, split) for split in SPLITS}
    splits = {}
    if args.coco:
        if args.split or args.images is None:
            raise UserError("--coco needs --images DIR and can't go with --split")
        for split in SPLITS:
            if counts[split] is not None:
                splits[split] = SplitSource(args.images, args.coco, whole(counts[split]))
    for name, file, folder in args.split:
        if name not in SPLITS or name in splits:
            raise UserError(f"--split {name}: expected each of {', '.join(SPLITS)} at most once")
        splits[name] = SplitSource(Path(folder), Path(file), whole(counts[name]))
    if args.test_images:
        if args.split and "test" in splits:
            raise UserError("--test-images can't go with --split test")
        splits["test"] = SplitSource(args.test_images, None, whole(counts["test"]))
    for split, count in counts.items():
        if count is not None and split not in splits:
            raise UserError(f"--{split} {count}: no source; add --split {split} FILE DIR")
    if not splits:
        raise UserError("no split: give --coco with --train/--val/--test N, or --split")
    name = args.name or "_".join(args.classes).replace(" ", "_")
    return SubsetPlan(name, tuple(args.classes), splits, args.seed or 0, args.negatives or 0.0)


def whole(count: int | str | None) -> int | None:
    return None if count in (None, "all") else count


@exits_with_two
def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    root = datasets_root(args.root)
    how = {"copy": args.copy, "overwrite": args.overwrite}
    if args.from_manifest:
        choices = ("coco", "images", "split", "test_images", "classes", *SPLITS)
        choices += ("seed", "negatives", "name")
        if given := [c for c in choices if getattr(args, c) not in (None, [])]:
            option = given[0].replace("_", "-")
            raise UserError(f"--{option} can't go with --from-manifest, which holds all choices")
        moves = dict(args.relocate)
        manifest = rebuild_subset(args.from_manifest, root, relocate=moves, **how)
    else:
        if args.relocate:
            raise UserError("--relocate goes with --from-manifest only")
        manifest = build_subset(plan_from(args), root, **how)
    print(describe(manifest))
    print(f"Wrote subset {manifest.name!r} to {root / manifest.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
